"""Finding events in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from meter.errors import JournalUnavailable
from meter.events import Event, decode_event, event_id_for
from meter.journal import offsets, sqlite_sinks
from meter.journal.records import StoredEvent
from meter.journal.search import Came, Search, Wanted
from meter.journal.sqlite_events import from_micros

__all__ = ["SqliteSearch", "conditions"]

PAGE: Final = 500
"""How many events are looked at together, where SQL cannot tell which are filtered."""
_SUFFIXES: Final = ("", ":failed", ":abandoned")
_SETTLED: Final = (
    "e.offset <= (SELECT checkpoint FROM sinks WHERE name = ?) AND NOT EXISTS (SELECT 1"
    " FROM exceptions x WHERE x.sink = ? AND x.offset = e.offset AND x.state <> 'delivered')"
)


class SqliteSearch(Search):
    """Looks through a SQLite journal."""

    def __init__(self, select: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]) -> None:
        """Read with `select`, the journal's own."""
        self._journal_select = select

    def newest(self, wanted: Wanted, limit: int, *, before: int | None = None) -> list[StoredEvent]:
        """Return events, the newest first; see `Search.newest`."""
        where, values = conditions(wanted)
        at = 2**63 - 1 if before is None else before
        unsure = wanted.state in ("delivered", "filtered")
        found: list[StoredEvent] = []
        while len(found) < limit:
            size = max(PAGE, limit) if unsure else limit
            rows = self._select(
                f"SELECT e.offset, e.body FROM events e WHERE {where} AND e.offset < ?"  # noqa: S608  because only words of ours are put in
                " ORDER BY e.offset DESC LIMIT ?",
                (*values, at, size),
            )
            found += self._sure(wanted, [StoredEvent(o, decode_event(body)) for o, body in rows])
            if len(rows) < size or not unsure:
                break
            at = rows[-1][0]
        return found[:limit]

    def after(self, wanted: Wanted, offset: int, limit: int) -> tuple[list[StoredEvent], int]:
        """Return events beyond an offset, in order; see `Search.after`."""
        ((end,),) = self._select(
            "SELECT coalesce(max(offset), ?1) FROM"
            " (SELECT offset FROM events WHERE offset > ?1 ORDER BY offset LIMIT ?2)",
            (offset, limit),
        )
        where, values = conditions(wanted)
        rows = self._select(
            f"SELECT e.offset, e.body FROM events e WHERE {where} AND e.offset > ?"  # noqa: S608  because only words of ours are put in
            " AND e.offset <= ? ORDER BY e.offset",
            (*values, offset, end),
        )
        found = [StoredEvent(o, decode_event(body)) for o, body in rows]
        return self._sure(wanted, found), int(end)

    def nearest(self, event_id: str, limit: int = 3) -> list[str]:
        """Return ids that begin alike; see `Search.nearest`."""
        if ":" not in event_id:
            event_id = f"assemblyai:transcript:{event_id}"
        least = event_id.rfind(":") + 1
        for length in range(len(event_id), least, -1):
            begin = event_id[:length]
            rows = self._select(
                "SELECT event_id FROM events WHERE event_id >= ? AND event_id < ?"
                " ORDER BY event_id LIMIT ?",
                (begin, f"{begin}\U0010ffff", limit),
            )
            if rows:
                return [found for (found,) in rows]
        return []

    def receipts(self, event: Event) -> list[Came]:
        """Return the receipts that spoke of an event; see `Search.receipts`."""
        ids = [
            event_id_for(event.provider, "transcript", event.provider_id, suffix)
            for suffix in _SUFFIXES
        ]
        columns = "id, collector, received_at, coalesce(outcome, state), attempts, last_error"
        # Not one UNION: SQLite walks the whole table for its order.
        settled = self._select(
            f"SELECT {columns} FROM receipts WHERE event_id IN (?, ?, ?)",  # noqa: S608  because only a constant of ours is put in
            tuple(ids),
        )
        waiting = self._select(
            f"SELECT {columns} FROM receipts WHERE state = 'open'"  # noqa: S608  because only a constant of ours is put in
            " AND json_extract(fields, '$.transcript_id') = ?",
            (event.provider_id,),
        )
        rows = sorted({*settled, *waiting})
        return [Came(n, name, from_micros(at), *rest) for n, name, at, *rest in rows]

    def _sure(self, wanted: Wanted, found: list[StoredEvent]) -> list[StoredEvent]:
        """Leave out what only the record of deliveries tells apart: delivered, or filtered."""
        sink = wanted.sink
        if not found or sink is None or wanted.state not in ("delivered", "filtered"):
            return found
        ends = found[0].offset, found[-1].offset
        first, last = min(ends), max(ends)
        packed = self._select(sqlite_sinks.FILTERED, (sink, sink, first, last))
        left_out = {
            offset
            for (text,) in packed
            for some in offsets.within(text, first, last)
            for offset in some
        }
        return [e for e in found if (e.offset in left_out) == (wanted.state == "filtered")]

    def _select(self, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._journal_select(sql, parameters)
        except sqlite3.OperationalError as error:
            raise JournalUnavailable(f"the journal cannot be read: {error}") from None


def conditions(wanted: Wanted) -> tuple[str, tuple[Any, ...]]:
    """Return what is wanted of `events e`, as SQL, and its values."""
    where = ["true"]
    values: list[Any] = []
    for name in ("customer_id", "kind", "model"):
        value = getattr(wanted, name)
        if value is not None:
            where.append(f"json_extract(e.body, '$.{name}') = ?")
            values.append(value)
    for moment, comparison in ((wanted.since, ">="), (wanted.until, "<")):
        if moment is not None:
            where.append(f"json_extract(e.body, '$.occurred_at') {comparison} ?")
            values.append(_second(moment))
    if wanted.sink is not None:
        condition, given = _standing(wanted.sink, wanted.state)
        where.append(condition)
        values += given
    return " AND ".join(where), tuple(values)


def _standing(sink: str, state: str | None) -> tuple[str, tuple[Any, ...]]:
    if state in ("delivered", "filtered"):
        return _SETTLED, (sink, sink)
    if state == "pending":
        return "e.offset > (SELECT checkpoint FROM sinks WHERE name = ?)", (sink,)
    if state is None:
        return "true", ()
    return (
        "e.offset IN (SELECT offset FROM exceptions WHERE sink = ? AND state = ?)",
        (sink, state),
    )


def _second(moment: datetime) -> str:
    """Write a bound so that it is before every time of its second, whatever that time's width."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}"
