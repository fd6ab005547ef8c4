"""The journal: the append-only, durable truth (DESIGN §5)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from meter.errors import JournalError
from meter.journal.acts import Act, Acts, NewAct
from meter.journal.aside import Aside, Entry, NotDone
from meter.journal.exceptions import (
    Delivered,
    ExceptionRow,
    Exceptions,
    ExceptionState,
    Place,
    Reason,
)
from meter.journal.interface import Journal
from meter.journal.records import (
    Balance,
    JournalTotals,
    NewReceipt,
    Quarantined,
    Receipt,
    Recorded,
    Retry,
    SetAside,
    Settlement,
    SinkRow,
    StoredEvent,
    Ticket,
    Watched,
)
from meter.journal.search import STATES, Came, Search, State, Wanted
from meter.journal.sessions import NewSession, Opening, Session, Sessions, SessionState
from meter.journal.standing import Commits, Standing, Waiting

if TYPE_CHECKING:
    from meter.clock import Clock

__all__ = [
    "STATES",
    "Act",
    "Acts",
    "Aside",
    "Balance",
    "Came",
    "Commits",
    "Delivered",
    "Entry",
    "ExceptionRow",
    "ExceptionState",
    "Exceptions",
    "Journal",
    "JournalTotals",
    "NewAct",
    "NewReceipt",
    "NewSession",
    "NotDone",
    "Opening",
    "Place",
    "Quarantined",
    "Reason",
    "Receipt",
    "Recorded",
    "Retry",
    "Search",
    "Session",
    "SessionState",
    "Sessions",
    "SetAside",
    "Settlement",
    "SinkRow",
    "Standing",
    "State",
    "StoredEvent",
    "Ticket",
    "Waiting",
    "Wanted",
    "Watched",
    "open_journal",
]


def open_journal(location: str, clock: Clock, *, run: bool = False, create: bool = True) -> Journal:
    """Open the journal that `journal:` names.

    Args:
        location: a file's path.
        clock: passed on to the journal.
        run: be the one process that runs on it.
        create: make it if there is none; commands that only look must not.

    Raises:
        JournalLocked: `run`, and another process runs on it.
        JournalError: it cannot be used; the text says why and what to do.
    """
    path = Path(location)
    if not create and not path.exists():
        raise JournalError(f"there is no journal at {path}; `meter run` makes it")
    from meter.journal.sqlite_journal import SqliteJournal

    if create:
        _make(path)
    return SqliteJournal(path, clock, run=run)


def _make(path: Path) -> None:
    """Make the file where there is none: only its owner may read it.

    Its folder is not made: one that is missing may be a disk that is not there.
    """
    with contextlib.suppress(OSError):  # opening it says what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
