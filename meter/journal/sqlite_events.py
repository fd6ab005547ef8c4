"""Events in SQLite: recorded once by a UNIQUE constraint, duplicates told from conflicts."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from meter.events import Event, decode_event, encode_event
from meter.journal.records import Quarantined, Recorded, StoredEvent

__all__ = ["find", "from_micros", "head", "insert", "put_quarantined", "read", "to_micros"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CHUNK: Final = 500

_INSERT: Final = "INSERT INTO events (event_id, body) VALUES (?, ?) ON CONFLICT DO NOTHING"


def to_micros(moment: datetime) -> int:
    """Write a UTC time as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Read a UTC time from microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=micros)


def insert(connection: sqlite3.Connection, events: Sequence[Event]) -> list[Recorded]:
    """Record events within the caller's transaction; answers are in the same order."""
    rows = [(event.event_id, encode_event(event).decode()) for event in events]
    before = head(connection)
    changes = connection.total_changes
    connection.executemany(_INSERT, rows)
    if connection.total_changes - changes == len(rows):
        answers = [Recorded.RECORDED] * len(rows)
        _count(connection, events)
        return answers
    known = dict(_known(connection, [event.event_id for event in events], before))
    answers = []
    recorded: list[Event] = []
    conflicts: list[Quarantined] = []
    for event in events:
        first = known.get(event.event_id)
        if first is None:
            known[event.event_id] = event
            recorded.append(event)
            answers.append(Recorded.RECORDED)
        elif event.same_substance(first):
            answers.append(Recorded.DUPLICATE)
        else:
            answers.append(Recorded.CONFLICT)
            conflicts.append(_conflict(event, first))
    _count(connection, recorded)
    if conflicts:
        put_quarantined(connection, conflicts, events[0].recorded_at)
    return answers


def _known(
    connection: sqlite3.Connection, ids: Sequence[str], up_to: int
) -> Iterator[tuple[str, Event]]:
    """Yield the events with these ids that stood before this transaction added its own."""
    for start in range(0, len(ids), _CHUNK):
        some = ids[start : start + _CHUNK]
        marks = ",".join("?" * len(some))
        yield from (
            (event_id, decode_event(body))
            for event_id, body in connection.execute(
                "SELECT event_id, body FROM events"
                f" WHERE event_id IN ({marks}) AND offset <= ?",  # noqa: S608  question marks
                (*some, up_to),
            )
        )


def _conflict(event: Event, first: Event) -> Quarantined:
    differs = " and ".join(
        name
        for name, same in (
            ("customer", event.customer_id == first.customer_id),
            ("quantity", event.billed_seconds == first.billed_seconds),
        )
        if not same
    )
    return Quarantined(
        collector=event.collector,
        key=f"conflict:{event.event_id}:{event.customer_id}:{event.billed_seconds}",
        reason=f"conflict: {event.event_id} is recorded with another {differs}; the first stands",
        payload=encode_event(event).decode(),
        provider_id=event.provider_id,
    )


def _count(connection: sqlite3.Connection, events: Iterable[Event]) -> None:
    connection.executemany(
        "INSERT INTO event_counts VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
        Counter(event.kind for event in events).items(),
    )


def put_quarantined(
    connection: sqlite3.Connection, items: Iterable[Quarantined], at: datetime
) -> int:
    """Keep things that cannot become events; the same thing again only counts up."""
    new = 0
    moment = to_micros(at)
    for item in items:
        (times,) = connection.execute(
            "INSERT INTO quarantine"
            " (collector, key, reason, provider_id, payload, first_at, last_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET times = times + 1, last_at = excluded.last_at"
            " RETURNING times",
            (item.collector, item.key, item.reason, item.provider_id, item.payload, moment, moment),
        ).fetchone()
        new += times == 1
    return new


def head(connection: sqlite3.Connection) -> int:
    """Return the highest offset, 0 when there is none."""
    (offset,) = connection.execute("SELECT coalesce(max(offset), 0) FROM events").fetchone()
    return int(offset)


def read(connection: sqlite3.Connection, after: int, limit: int) -> list[StoredEvent]:
    """Return events beyond an offset, in order."""
    return [
        StoredEvent(offset, decode_event(body))
        for offset, body in connection.execute(
            "SELECT offset, body FROM events WHERE offset > ? ORDER BY offset LIMIT ?",
            (after, limit),
        )
    ]


def find(connection: sqlite3.Connection, event_id: str) -> Event | None:
    """Return one event by its id."""
    row = connection.execute("SELECT body FROM events WHERE event_id = ?", (event_id,)).fetchone()
    return decode_event(row[0]) if row else None
