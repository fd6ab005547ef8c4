"""How a SQLite journal stands: queries whose cost does not grow with its events.

What is counted here is what is open or in trouble, through an index that holds nothing else, or a
counter that is kept with each commit. The one exception is what a sink has not been given yet:
that is counted once, in portions, and then only what has come since.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meter.journal import sqlite_events, sqlite_sinks
from meter.journal.standing import Standing, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["QUERIES", "SqliteStandings", "between", "receipts"]

PORTION: Final = 50_000
"""How many offsets are counted of one sink's queue at a time."""

RECORDED: Final = "SELECT kind, n FROM event_counts"
RECEIPTS: Final = (
    "SELECT collector, count(*), min(id) FROM receipts WHERE state = 'open' GROUP BY collector"
)
RECEIVED: Final = "SELECT received_at FROM receipts WHERE id = ?"
QUARANTINED: Final = "SELECT collector, count(*) FROM quarantine GROUP BY collector"
CONFLICTS: Final = (
    "SELECT count(*) FROM quarantine WHERE collector = ?"
    " AND key >= 'conflict:' AND key < 'conflict;'"
)
# `+` and the second condition have SQLite take the index of what is open only.
QUARANTINE_OPEN: Final = (
    "SELECT collector, count(*) FROM quarantine WHERE state = 'open' GROUP BY +collector"
)
SESSIONS: Final = (
    "SELECT collector, count(*) FROM sessions"
    " WHERE state IN ('open', 'quarantined') AND state = 'open' GROUP BY collector"
)
COLLECTORS: Final = "SELECT name, cursor, trouble FROM collectors"
PENDING: Final = "SELECT count(*) FROM events WHERE offset > ? AND offset <= ?"

QUERIES: Final = (
    *(
        sqlite_sinks.SINKS,
        sqlite_sinks.PLACES,
        RECORDED,
        RECEIPTS,
        RECEIVED,
        QUARANTINED,
        CONFLICTS,
        QUARANTINE_OPEN,
        SESSIONS,
    ),
    *(COLLECTORS, PENDING),
)
"""All that is asked; a test looks at how SQLite answers each."""


class _Queue:
    """How many events lie beyond a sink's checkpoint; offsets have gaps, so they are counted."""

    __slots__ = ("_portion", "events", "low", "up_to")

    def __init__(self, checkpoint: int, portion: int) -> None:
        self._portion = portion
        self.low = self.up_to = checkpoint
        self.events = 0

    def move(self, connection: sqlite3.Connection, checkpoint: int, head: int) -> None:
        """Count what came, and take away what was settled; a portion at the most."""
        if checkpoint != self.low:
            if self.low < checkpoint <= min(self.up_to, self.low + self._portion):
                self.events -= between(connection, self.low, checkpoint)
            else:
                self.up_to, self.events = checkpoint, 0
            self.low = checkpoint
        end = min(head, self.up_to + self._portion)
        if end > self.up_to:
            self.events += between(connection, self.up_to, end)
            self.up_to = end


class SqliteStandings:
    """Tells how one journal stands, and remembers what it has counted."""

    def __init__(self, path: Path, *, portion: int = PORTION) -> None:
        """Know the file; nothing is read yet."""
        self._portion = portion
        self._path = path
        self._queues: dict[str, _Queue] = {}
        self._one = threading.Lock()

    def take(self, connection: sqlite3.Connection) -> Standing:
        """Tell how the journal stands, within the caller's read transaction."""
        with self._one:
            events = {str(kind): int(n) for kind, n in connection.execute(RECORDED)}
            head = sqlite_events.head(connection)

            def pending(sink: str, checkpoint: int) -> int:
                queue = self._queues.setdefault(sink, _Queue(checkpoint, self._portion))
                queue.move(connection, checkpoint, head)
                return queue.events + head - queue.up_to

            balances = sqlite_sinks.balances(connection, pending)
            quarantined = _counts(connection.execute(QUARANTINED))
            collectors = connection.execute(COLLECTORS).fetchall()
            return Standing(
                events=events,
                receipts=receipts(connection),
                quarantined=quarantined,
                conflicts={
                    name: connection.execute(CONFLICTS, (name,)).fetchone()[0]
                    for name in quarantined
                },
                quarantine_open=_counts(connection.execute(QUARANTINE_OPEN)),
                sessions_open=_counts(connection.execute(SESSIONS)),
                cursors={name: cursor for name, cursor, _ in collectors if cursor is not None},
                troubles={name: trouble for name, _, trouble in collectors if trouble is not None},
                balances=balances,
                uncounted=frozenset(n for n, queue in self._queues.items() if queue.up_to < head),
                file_bytes={
                    "database": _size(self._path),
                    "log": _size(self._path.with_name(f"{self._path.name}-wal")),
                },
            )


def between(connection: sqlite3.Connection, after: int, up_to: int) -> int:
    """Count the events beyond one offset and up to another, by walking over them."""
    (events,) = connection.execute(PENDING, (after, up_to)).fetchone()
    return int(events)


def _counts(rows: Iterable[tuple[str, int]]) -> dict[str, int]:
    return dict(rows)


def receipts(connection: sqlite3.Connection) -> dict[str, Waiting]:
    """Count the open receipts; ids follow the order of receiving."""
    found = {}
    for collector, count, first in connection.execute(RECEIPTS).fetchall():
        (received_at,) = connection.execute(RECEIVED, (first,)).fetchone()
        found[collector] = Waiting(count, sqlite_events.from_micros(received_at))
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
