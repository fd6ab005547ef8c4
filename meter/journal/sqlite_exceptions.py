"""Exceptions to checkpoints, in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from meter.events import decode_event
from meter.journal import offsets, sqlite_sinks
from meter.journal.exceptions import (
    Delivered,
    ExceptionRow,
    Exceptions,
    Place,
    Reason,
)
from meter.journal.records import SetAside, SinkRow
from meter.journal.sqlite_acts import note
from meter.journal.sqlite_events import from_micros, to_micros
from meter.journal.sqlite_state import write_state

if TYPE_CHECKING:
    from meter.journal.acts import NewAct, What
    from meter.journal.records import Ticket
    from meter.sinks import StateWrite

__all__ = ["SqliteExceptions"]

T = TypeVar("T")
Call = Callable[[Callable[[sqlite3.Connection], T]], "Ticket[T]"]

_COLUMNS: Final = (
    "x.sink, x.offset, e.body, x.state, x.reason, x.attempts, x.first_at, x.changed_at, x.next_at,"
    " x.put_off, x.replay"
)
_IN_ORDER: Final = (
    f"SELECT {_COLUMNS} FROM exceptions x JOIN events e USING (offset)"  # noqa: S608  because only a constant of ours is put in
    " WHERE x.sink = ? AND x.offset > ? ORDER BY x.offset LIMIT ?"
)
# Most that were ever set aside are delivered by now: the index by state passes them by.
_IN_STATES: Final = (
    f"SELECT {_COLUMNS} FROM (SELECT sink, offset FROM exceptions INDEXED BY exceptions_due"  # noqa: S608  because only a constant of ours is put in
    " WHERE sink = ? AND offset > ? AND state IN (SELECT value FROM json_each(?))"
    " ORDER BY offset LIMIT ?)"
    " JOIN exceptions x USING (sink, offset) JOIN events e USING (offset) ORDER BY x.offset"
)
_PLACED: Final = (
    f"SELECT {_COLUMNS} FROM exceptions x JOIN events e USING (offset)"  # noqa: S608  because only a constant of ours is put in
    " WHERE x.sink IN (SELECT name FROM sinks) AND x.offset = ?"
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
            SetAside(offset, decode_event(body), state, attempts, from_micros(tried), bool(replay))
            for offset, body, state, attempts, tried, replay in self._select(
                "SELECT x.offset, e.body, x.state, x.attempts, x.changed_at, x.replay"
                " FROM exceptions x JOIN events e USING (offset)"
                " WHERE x.sink = ? AND x.state IN ('retrying', 'held') AND x.next_at <= ?"
                " ORDER BY x.next_at, x.offset LIMIT ?",
                (sink, to_micros(now), limit),
            )
        ]

    def next_due(self, sink: str, *, put_off: bool = False) -> datetime | None:
        """Return when the next one is due."""
        due = [
            micros
            for state in (("retrying",) if put_off else ("retrying", "held"))
            for (micros,) in self._select(
                "SELECT next_at FROM exceptions WHERE sink = ? AND state = ? AND put_off >= ?"
                " ORDER BY next_at LIMIT 1",
                (sink, state, put_off),
            )
        ]
        return from_micros(min(due)) if due else None

    def hasten(
        self,
        sink: str,
        now: datetime,
        states: Collection[str] = ("retrying",),
        *,
        put_off: bool = True,
    ) -> Ticket[None]:
        """Make events due now; see `Exceptions.hasten`."""
        wanted = list(states)
        return self._call(lambda c: sqlite_sinks.hasten(c, sink, now, wanted, put_off=put_off))

    def recall(
        self, sink: str, reasons: Mapping[str, str], now: datetime, state: Iterable[StateWrite] = ()
    ) -> Ticket[list[str]]:
        """Offer delivered events again; see `Exceptions.recall`."""
        wanted, writes = dict(reasons), list(state)

        def run(connection: sqlite3.Connection) -> list[str]:
            write_state(connection, writes)
            return sqlite_sinks.recall(connection, sink, wanted, now)

        return self._call(run)

    def redrive(
        self, sink: str, wanted: Collection[int], now: datetime, act: NewAct | None = None
    ) -> Ticket[int]:
        """Offer dead letters again; see `Exceptions.redrive`."""
        at = to_micros(now)
        those = json.dumps(sorted(wanted))

        def run(connection: sqlite3.Connection) -> int:
            rows = connection.execute(
                "UPDATE exceptions SET state = 'retrying', changed_at = ?, next_at = ?, put_off = 0"
                " WHERE sink = ? AND state IN ('dead', 'discarded')"
                " AND offset IN (SELECT value FROM json_each(?)) RETURNING offset",
                (at, at, sink, those),
            ).fetchall()
            return _noted(connection, act, "retry", now, sink, rows)

        return self._call(run)

    def discard(
        self, sink: str, wanted: Collection[int], now: datetime, act: NewAct
    ) -> Ticket[int]:
        """Give up dead letters; see `Exceptions.discard`."""
        those = json.dumps(sorted(wanted))

        def run(connection: sqlite3.Connection) -> int:
            rows = connection.execute(
                "UPDATE exceptions SET state = 'discarded', changed_at = ?"
                " WHERE sink = ? AND state = 'dead'"
                " AND offset IN (SELECT value FROM json_each(?)) RETURNING offset",
                (to_micros(now), sink, those),
            ).fetchall()
            return _noted(connection, act, "discard", now, sink, rows)

        return self._call(run)

    def replay(
        self, sink: str, wanted: Collection[int], now: datetime, act: NewAct
    ) -> Ticket[list[int]]:
        """Offer delivered events again, as a replay; see `Exceptions.replay`."""
        those = sorted(wanted)

        def run(connection: sqlite3.Connection) -> list[int]:
            words = f"replayed by {act.who}" + (f": {act.reason}" if act.reason else "")
            found = [
                offset
                for offset in those
                if sqlite_sinks.recall_one(connection, sink, offset, words, now, replay=True)
            ]
            _noted(connection, act, "replay", now, sink, [(offset,) for offset in found])
            return found

        return self._call(run)

    def deliveries(self, sink: str, offset: int) -> list[Delivered]:
        """Return the deliveries that an event was in; see `Exceptions.deliveries`."""
        columns = "at, purpose, first_offset, last_offset, delivered"
        new = self._select(
            f"SELECT id, last_offset, {columns} FROM deliveries WHERE sink = ?"  # noqa: S608  because only a constant of ours is put in
            " AND first_offset <= ? AND purpose IN ('start', 'new')"
            " ORDER BY first_offset DESC LIMIT 1",
            (sink, offset),
        )
        if not new or new[0][1] < offset:
            return []
        again = self._select(
            f"SELECT offsets, {columns} FROM deliveries WHERE sink = ? AND id > ?"  # noqa: S608  because only a constant of ours is put in
            " AND first_offset <= ? AND last_offset >= ? AND offsets IS NOT NULL ORDER BY id",
            (sink, new[0][0], offset, offset),
        )
        rows = [new[0][2:]] + [
            r[1:] for r in again if any(offset in o for o in offsets.unpack(r[0]))
        ]
        return [Delivered(from_micros(at), *rest) for at, *rest in rows]

    def rows(
        self,
        *,
        sinks: Collection[str] = (),
        states: Collection[str] = (),
        after: tuple[str, int] = ("", 0),
        limit: int = 1000,
    ) -> list[ExceptionRow]:
        """Return exceptions in order; see `Exceptions.rows`."""
        names = sinks or [name for (name,) in self._select("SELECT name FROM sinks", ())]
        sql, wanted = (_IN_STATES, (json.dumps(list(states)),)) if states else (_IN_ORDER, ())
        found: list[ExceptionRow] = []
        for name in sorted(name for name in set(names) if name >= after[0]):
            beyond = after[1] if name == after[0] else 0
            rows = self._select(sql, (name, beyond, *wanted, limit - len(found)))
            found += [_row(row) for row in rows]
        return found

    def reasons(self, limit: int = 20) -> list[Reason]:
        """Count by reason; see `Exceptions.reasons`."""
        rows = self._select(
            "SELECT g.sink, g.state, g.reason, g.n, g.put_off, e.event_id FROM ("
            "SELECT *, row_number() OVER ("
            "PARTITION BY sink, state ORDER BY put_off, n DESC, reason) AS place FROM ("
            "SELECT sink, state, reason, put_off, count(*) AS n, min(offset) AS first"
            " FROM exceptions WHERE sink IN (SELECT name FROM sinks)"
            " AND state IN ('held', 'retrying', 'dead') GROUP BY sink, state, reason, put_off))"
            " g JOIN events e ON e.offset = g.first"
            " WHERE g.place <= ? ORDER BY g.sink, g.state, g.put_off, g.n DESC, g.reason",
            (limit,),
        )
        return [
            Reason(sink, state, reason, count, bool(put_off), first)
            for sink, state, reason, count, put_off, first in rows
        ]

    def places(self, event_id: str) -> list[Place]:
        """Return where an event stands; see `Exceptions.places`."""
        found = self._select("SELECT offset FROM events WHERE event_id = ?", (event_id,))
        if not found:
            return []
        (offset,) = found[0]
        # The checkpoints first: what moves past one in between then still counts as pending.
        sinks = self._select("SELECT name, checkpoint FROM sinks ORDER BY 1", ())
        exceptions = {row[0]: _row(row) for row in self._select(_PLACED, (offset,))}
        places = []
        for sink, checkpoint in sinks:
            row = exceptions.get(sink)
            if row is not None:
                state: str = row.state
            elif offset > checkpoint:
                state = "pending"
            else:
                filtered = any(self.filtered(sink, offset, offset))
                state = "filtered" if filtered else "delivered"
            places.append(Place(sink, state, row))
        return places

    def sink(self, name: str) -> SinkRow | None:
        """Return what the journal keeps of a sink."""
        rows = self._select(
            "SELECT name, type, checkpoint, delivered, not_before, parked, trouble FROM sinks"
            " WHERE name = ?",
            (name,),
        )
        for sink, sink_type, checkpoint, delivered, floor, parked, trouble in rows:
            not_before = None if floor is None else from_micros(floor)
            return SinkRow(sink, sink_type, checkpoint, delivered, not_before, parked, trouble)
        return None

    def start(self, name: str) -> int:
        """Return where the sink started."""
        rows = self._select(
            "SELECT coalesce(max(last_offset), 0) FROM deliveries"
            " WHERE sink = ? AND purpose = 'start'",
            (name,),
        )
        return int(rows[0][0])

    def filtered(self, name: str, first: int, last: int) -> Iterator[range]:
        """Yield what was filtered out; see `Exceptions.filtered`."""
        packed = self._select(sqlite_sinks.FILTERED, (name, name, first, last))
        for (text,) in packed:
            yield from offsets.within(text, first, last)


def _row(row: tuple[Any, ...]) -> ExceptionRow:
    sink, offset, body, state, reason, attempts, first_at, changed_at, next_at, *flags = row
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
        *map(bool, flags),
    )


def _noted(
    connection: sqlite3.Connection,
    act: NewAct | None,
    what: What,
    now: datetime,
    sink: str,
    rows: Sequence[tuple[int]],
) -> int:
    """Record the act, if anything was done; answer to how many events."""
    if act is not None and rows:
        note(connection, act, what, now, sink=sink, touched=[offset for (offset,) in rows])
    return len(rows)
