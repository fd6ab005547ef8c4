"""The journal: the append-only, durable truth (DESIGN §5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meter.errors import JournalError
from meter.journal.exceptions import ExceptionRow, Exceptions, ExceptionState, Place, Reason
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
from meter.journal.sessions import NewSession, Opening, Session, Sessions, SessionState

if TYPE_CHECKING:
    from meter.clock import Clock

__all__ = [
    "Balance",
    "ExceptionRow",
    "ExceptionState",
    "Exceptions",
    "Journal",
    "JournalTotals",
    "NewReceipt",
    "NewSession",
    "Opening",
    "Place",
    "Quarantined",
    "Reason",
    "Receipt",
    "Recorded",
    "Retry",
    "Session",
    "SessionState",
    "Sessions",
    "SetAside",
    "Settlement",
    "SinkRow",
    "StoredEvent",
    "Ticket",
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

    return SqliteJournal(path, clock, run=run)
