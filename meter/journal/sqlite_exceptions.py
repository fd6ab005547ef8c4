"""Exceptions to checkpoints, in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from meter.events import decode_event
from meter.journal import offsets, sqlite_sinks
from meter.journal.exceptions import (
    ExceptionRow,
    Exceptions,
    Place,
    Reason,
)
from meter.journal.records import SetAside, SinkRow
from meter.journal.sqlite_events import from_micros, to_micros

if TYPE_CHECKING:
    from meter.journal.records import Ticket
    from meter.sinks import StateWrite

__all__ = ["SqliteExceptions"]

T = TypeVar("T")
Call = Callable[[Callable[[sqlite3.Connection], T]], "Ticket[T]"]

_COLUMNS: Final = (
    "x.sink, x.offset, e.body, x.state, x.reason, x.attempts, x.first_at, x.changed_at, x.next_at"
)


class SqliteExceptions(Exceptions):
    """The exceptions of a SQLite journal."""

    def __init__(
        self,
        select: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]],
        call: Call[Any],
    ) -> None:
        """Read with `select`, write with `call`: the journal's own."""
        self._select = select
        self._call = call

    def due(self, sink: str, now: datetime, limit: int) -> list[SetAside]:
        """Return what is due; see `Exceptions.due`."""
        return [
            SetAside(offset, decode_event(body), state, attempts, from_micros(tried))
            for offset, body, state, attempts, tried in self._select(
                "SELECT x.offset, e.body, x.state, x.attempts, x.changed_at"
                " FROM exceptions x JOIN events e USING (offset)"
                " WHERE x.sink = ? AND x.state IN ('retrying', 'held') AND x.next_at <= ?"
                " ORDER BY x.next_at, x.offset LIMIT ?",
                (sink, to_micros(now), limit),
            )
        ]

    def next_due(self, sink: str) -> datetime | None:
        """Return when the next one is due."""
        rows = self._select(
            "SELECT min(next_at) FROM exceptions WHERE sink = ? AND state IN ('retrying', 'held')",
            (sink,),
        )
        return None if rows[0][0] is None else from_micros(rows[0][0])

    def hasten(
        self, sink: str, now: datetime, states: Collection[str] = ("retrying",)
    ) -> Ticket[None]:
        """Make events due now; see `Exceptions.hasten`."""
        return self._call(lambda c: sqlite_sinks.hasten(c, sink, now, states))

    def recall(
        self, sink: str, reasons: Mapping[str, str], now: datetime, state: Iterable[StateWrite] = ()
    ) -> Ticket[list[str]]:
        """Offer delivered events again; see `Exceptions.recall`."""
        wanted, writes = dict(reasons), list(state)

        def run(connection: sqlite3.Connection) -> list[str]:
            sqlite_sinks.write_state(connection, writes)
            return sqlite_sinks.recall(connection, sink, wanted, now)

        return self._call(run)

    def redrive(self, sink: str, wanted: Collection[int], now: datetime) -> Ticket[int]:
        """Offer dead letters again; see `Exceptions.redrive`."""
        at = to_micros(now)
        those = json.dumps(sorted(wanted))

        def run(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE exceptions SET state = 'retrying', changed_at = ?, next_at = ?"
                " WHERE sink = ? AND state = 'dead'"
                " AND offset IN (SELECT value FROM json_each(?))",
                (at, at, sink, those),
            ).rowcount

        return self._call(run)

    def rows(
        self,
        *,
        sinks: Collection[str] = (),
        states: Collection[str] = (),
        after: tuple[str, int] = ("", 0),
        limit: int = 1000,
    ) -> list[ExceptionRow]:
        """Return exceptions in order; see `Exceptions.rows`."""
        rows = self._select(
            f"SELECT {_COLUMNS} FROM exceptions x JOIN events e USING (offset)"  # noqa: S608  because only a constant of ours is put in
            " WHERE (?1 OR x.sink IN (SELECT value FROM json_each(?2)))"
            " AND (?3 OR x.state IN (SELECT value FROM json_each(?4)))"
            " AND (x.sink, x.offset) > (?5, ?6) ORDER BY x.sink, x.offset LIMIT ?7",
            (
                not sinks,
                json.dumps(list(sinks)),
                not states,
                json.dumps(list(states)),
                *after,
                limit,
            ),
        )
        return [_row(row) for row in rows]

    def reasons(self, limit: int = 20) -> list[Reason]:
        """Count by reason; see `Exceptions.reasons`."""
        rows = self._select(
            "SELECT sink, state, reason, n FROM (SELECT *, row_number() OVER ("
            "PARTITION BY sink, state ORDER BY n DESC, reason) AS place FROM ("
            "SELECT sink, state, reason, count(*) AS n FROM exceptions"
            " WHERE state <> 'delivered' GROUP BY sink, state, reason)) WHERE place <= ?"
            " ORDER BY sink, state, n DESC, reason",
            (limit,),
        )
        return [Reason(*row) for row in rows]

    def places(self, event_id: str) -> list[Place]:
        """Return where an event stands; see `Exceptions.places`."""
        found = self._select("SELECT offset FROM events WHERE event_id = ?", (event_id,))
        if not found:
            return []
        (offset,) = found[0]
        exceptions = {
            row[0]: _row(row)
            for row in self._select(
                f"SELECT {_COLUMNS} FROM exceptions x JOIN events e USING (offset)"  # noqa: S608  because only a constant of ours is put in
                " WHERE x.offset = ?",
                (offset,),
            )
        }
        places = []
        for sink, checkpoint in self._select("SELECT name, checkpoint FROM sinks ORDER BY 1", ()):
            row = exceptions.get(sink)
            if row is not None:
                state: str = row.state
            elif offset > checkpoint:
                state = "pending"
            else:
                state = "filtered" if self.is_filtered(sink, offset) else "delivered"
            places.append(Place(sink, state, row))
        return places

    def sink(self, name: str) -> SinkRow | None:
        """Return what the journal keeps of a sink."""
        rows = self._select(
            "SELECT name, type, checkpoint, delivered, not_before, parked FROM sinks"
            " WHERE name = ?",
            (name,),
        )
        for sink, sink_type, checkpoint, delivered, floor, parked in rows:
            not_before = None if floor is None else from_micros(floor)
            return SinkRow(sink, sink_type, checkpoint, delivered, not_before, parked)
        return None

    def start(self, name: str) -> int:
        """Return where the sink started."""
        rows = self._select(
            "SELECT coalesce(max(last_offset), 0) FROM deliveries"
            " WHERE sink = ? AND purpose = 'start'",
            (name,),
        )
        return int(rows[0][0])

    def is_filtered(self, name: str, offset: int) -> bool:
        """Tell whether an event was filtered out."""
        return any(
            offsets.contains(packed, offset)
            for (packed,) in self._select(sqlite_sinks.FILTERED_AROUND, (name, offset, offset))
        )


def _row(row: tuple[Any, ...]) -> ExceptionRow:
    sink, offset, body, state, reason, attempts, first_at, changed_at, next_at = row
    return ExceptionRow(
        sink,
        offset,
        decode_event(body),
        state,
        reason,
        attempts,
        from_micros(first_at),
        from_micros(changed_at),
        None if next_at is None else from_micros(next_at),
    )
