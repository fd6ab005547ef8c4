"""What people did, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from meter.journal import offsets
from meter.journal.acts import Act, Acts, NewAct, What
from meter.journal.sqlite_events import from_micros, to_micros

if TYPE_CHECKING:
    from meter.journal.records import Ticket

__all__ = ["SqliteActs", "note"]

_COLUMNS: Final = (
    "a.at, a.who, a.what, a.sink, a.entry, a.offsets, e.event_id, a.reason"
    " FROM acts a LEFT JOIN events e ON e.offset = a.first_offset"
)


def note(
    connection: sqlite3.Connection,
    act: NewAct,
    what: What | str,
    at: datetime,
    *,
    sink: str | None = None,
    entry: int | None = None,
    touched: Iterable[int] = (),
) -> None:
    """Record an act within the transaction that does it."""
    those = sorted(touched)
    connection.execute(
        "INSERT INTO acts (at, who, what, sink, entry, first_offset, last_offset, offsets, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            to_micros(at),
            act.who,
            what,
            sink,
            entry,
            those[0] if those else None,
            those[-1] if those else None,
            offsets.pack(those),
            act.reason,
        ),
    )


class SqliteActs(Acts):
    """The acts in a SQLite journal."""

    def __init__(
        self,
        select: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]],
        call: Callable[[Callable[[sqlite3.Connection], None]], Ticket[None]],
    ) -> None:
        """Read with `select`, and write with `call`, the journal's own."""
        self._select = select
        self._call = call

    def record(
        self, act: NewAct, what: str, at: datetime, *, sink: str, touched: Collection[int]
    ) -> Ticket[None]:
        """Record what was done for a sink; see `Acts.record`."""
        return self._call(lambda c: note(c, act, what, at, sink=sink, touched=touched))

    def newest(self, limit: int, *, sink: str | None = None) -> list[Act]:
        """Return what was done last, the newest first."""
        rows = self._select(
            f"SELECT {_COLUMNS} WHERE ?1 IS NULL OR a.sink = ?1 ORDER BY a.id DESC LIMIT ?2",
            (sink, limit),
        )
        return [_act(row) for row in rows]

    def of_event(self, offset: int) -> list[Act]:
        """Return what was done to one event, the oldest first."""
        rows = self._select(
            f"SELECT {_COLUMNS} WHERE a.last_offset >= ?1 AND a.first_offset <= ?1 ORDER BY a.id",
            (offset,),
        )
        return [_act(row) for row in rows if any(offset in r for r in offsets.unpack(row[5]))]

    def of_entry(self, entry: int) -> list[Act]:
        """Return what was done to something in quarantine, the oldest first."""
        rows = self._select(
            f"SELECT {_COLUMNS} WHERE a.entry = ? ORDER BY a.id",
            (entry,),
        )
        return [_act(row) for row in rows]


def _act(row: tuple[Any, ...]) -> Act:
    at, who, what, sink, entry, packed, first, reason = row
    events = sum(len(some) for some in offsets.unpack(packed))
    return Act(from_micros(at), who, what, sink, entry, events, first, reason)
