"""Let go of rows of a SQLite journal that only tell how something came about, long ago.

Never an event, nor anything that an event's uniqueness, a balance or a conflict rests on. Two kinds
of row may go: receipts that are settled (the event, or the entry in quarantine, says what each
became), and exceptions that were delivered in the end (an event below the checkpoint without an
exception is delivered). What is let go is counted by kind, so that every sum can still be checked.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from meter.errors import JournalError, JournalUnavailable
from meter.journal.sqlite_acts import note
from meter.journal.sqlite_events import to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from meter.journal.acts import NewAct

__all__ = ["Prunable", "prunable", "prune", "pruned_receipts"]

BATCH: Final = 2_000
"""Rows that go in one short transaction; a `meter run` beside it commits in between."""
_KEY: Final = "pruned:receipts"

_COUNT_RECEIPTS: Final = "SELECT count(*) FROM receipts WHERE state = 'settled' AND received_at < ?"
_COUNT_EXCEPTIONS: Final = (
    "SELECT count(*) FROM exceptions WHERE state = 'delivered' AND changed_at < ?"
)
_DROP_RECEIPTS: Final = (
    "DELETE FROM receipts WHERE id IN (SELECT id FROM receipts WHERE state = 'settled'"
    " AND received_at < ?1 ORDER BY id LIMIT ?2) RETURNING outcome"
)
_DROP_EXCEPTIONS: Final = (
    "DELETE FROM exceptions WHERE (sink, offset) IN (SELECT sink, offset FROM exceptions"
    " WHERE state = 'delivered' AND changed_at < ?1 ORDER BY sink, offset LIMIT ?2) RETURNING sink"
)


class Prunable(NamedTuple):
    """How many rows may go."""

    receipts: int
    exceptions: int

    @property
    def rows(self) -> int:
        """All of them."""
        return self.receipts + self.exceptions


def prunable(location: str, before: datetime) -> Prunable:
    """Count what may go: settled receipts of before a time, and what was delivered before it.

    Raises:
        JournalError: there is no journal, or it cannot be read.
    """
    path = _existing(location)
    try:
        with closing(_connect(path)) as connection:
            at = (to_micros(before),)
            (receipts,) = connection.execute(_COUNT_RECEIPTS, at).fetchone()
            (exceptions,) = connection.execute(_COUNT_EXCEPTIONS, at).fetchone()
    except sqlite3.Error as error:
        raise JournalError(f"{path} cannot be read: {error}") from None
    return Prunable(receipts, exceptions)


def prune(
    location: str,
    before: datetime,
    now: datetime,
    act: NewAct,
    tell: Callable[[int], None],
) -> Prunable:
    """Let it go, some rows at a time, and note who had it done; answer what went.

    Interrupted, what went is gone and counted, and the rest stays.

    Args:
        location: what `journal:` names.
        before: as for `prunable`.
        now: the time.
        act: who, and why.
        tell: hears how many rows went so far.

    Raises:
        JournalUnavailable: the journal could not be written.
    """
    path = _existing(location)
    at = to_micros(before)
    went = {_DROP_RECEIPTS: 0, _DROP_EXCEPTIONS: 0}
    noted = False
    try:
        with closing(_connect(path)) as connection:
            for statement in went:
                while True:
                    connection.execute("BEGIN IMMEDIATE")
                    rows = connection.execute(statement, (at, BATCH)).fetchall()
                    if statement is _DROP_RECEIPTS and rows:
                        _count(connection, Counter(outcome for (outcome,) in rows))
                    if rows and not noted:
                        note(connection, act, "prune", now)
                        noted = True
                    connection.execute("COMMIT")
                    went[statement] += len(rows)
                    tell(sum(went.values()))
                    if len(rows) < BATCH:
                        break
    except sqlite3.Error as error:
        raise JournalUnavailable(f"{path}: {error}; {sum(went.values())} rows went") from None
    return Prunable(*went.values())


def pruned_receipts(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many receipts were let go, by what they had become."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
    return dict(json.loads(row[0])) if row else {}


def _count(connection: sqlite3.Connection, more: Mapping[str, int]) -> None:
    counts = Counter(pruned_receipts(connection))
    counts.update(more)
    connection.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        (_KEY, json.dumps(counts)),
    )


def _existing(location: str) -> Path:
    path = Path(location)
    if not path.exists():
        raise JournalError(f"there is no journal at {path}; `meter run` makes it")
    return path


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=10, isolation_level=None
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection
