"""How a SQLite journal stands: queries whose cost does not grow with its events.

What is counted here is what is open or in trouble, through an index that holds nothing else, or a
counter that is kept with each commit, or, for what a sink has not been given yet, by portions of
offsets that were counted before.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meter.journal import sqlite_events, sqlite_sinks
from meter.journal.standing import Standing, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["QUERIES", "receipts", "standing"]

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
    *(COLLECTORS, sqlite_sinks.PORTIONS, sqlite_sinks.PENDING),
)
"""All that is asked; a test looks at how SQLite answers each."""


def standing(connection: sqlite3.Connection, path: Path) -> Standing:
    """Tell how the journal at a path stands, within the caller's read transaction."""
    quarantined = _counts(connection.execute(QUARANTINED))
    collectors = connection.execute(COLLECTORS).fetchall()
    return Standing(
        events={str(kind): int(n) for kind, n in connection.execute(RECORDED)},
        receipts=receipts(connection),
        quarantined=quarantined,
        conflicts={
            name: connection.execute(CONFLICTS, (name,)).fetchone()[0] for name in quarantined
        },
        quarantine_open=_counts(connection.execute(QUARANTINE_OPEN)),
        sessions_open=_counts(connection.execute(SESSIONS)),
        cursors={name: cursor for name, cursor, _ in collectors if cursor is not None},
        troubles={name: trouble for name, _, trouble in collectors if trouble is not None},
        balances=sqlite_sinks.balances(connection),
        file_bytes={
            "database": _size(path),
            "log": _size(path.with_name(f"{path.name}-wal")),
        },
    )


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
