"""Events in SQLite: recorded once by a UNIQUE constraint, duplicates told from conflicts."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from meter.events import (
    Event,
    StreamAbandoned,
    StreamTerminated,
    decode_event,
    encode_event,
    event_id_for,
    format_seconds,
)
from meter.journal.records import Quarantined, Recorded, StoredEvent

__all__ = [
    "Row",
    "find",
    "from_micros",
    "head",
    "insert",
    "insert_rows",
    "locate",
    "put_quarantined",
    "read",
    "row_of",
    "to_micros",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CHUNK: Final = 500

_INSERT: Final = "INSERT INTO events (event_id, body) VALUES (?, ?) ON CONFLICT DO NOTHING"
_INSERT_CHUNK: Final = _INSERT.replace("(?, ?)", ",".join(["(?, ?)"] * _CHUNK))


def to_micros(moment: datetime) -> int:
    """Write a UTC time as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Read a UTC time from microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=micros)


Row = tuple[str, str, Event]
"""An event on its way into the table: its id, its body, and itself."""


def row_of(event: Event) -> Row:
    """Encode an event for the table.

    Raises:
        InvalidEvent: a text holds what UTF-8 cannot.
    """
    return event.event_id, encode_event(event).decode(), event


def insert(connection: sqlite3.Connection, event: Event, at: datetime) -> Recorded:
    """Record one event within the caller's transaction."""
    (answer,) = insert_rows(connection, [row_of(event)], at)
    return answer


def insert_rows(
    connection: sqlite3.Connection, rows: Sequence[Row], at: datetime
) -> list[Recorded]:
    """Record events within the caller's transaction; answers are in the same order."""
    if foreign := _of_others_sessions(connection, rows):
        put_quarantined(connection, foreign.values(), at)
        ours = [row for number, row in enumerate(rows) if number not in foreign]
        rest = iter(insert_rows(connection, ours, at))
        return [Recorded.CONFLICT if n in foreign else next(rest) for n in range(len(rows))]
    before = head(connection)
    changes = connection.total_changes
    _insert_all(connection, rows)
    if connection.total_changes - changes == len(rows):
        _recorded(connection, [row[2] for row in rows])
        return [Recorded.RECORDED] * len(rows)
    known = dict(_known(connection, [row[0] for row in rows], before))
    answers = []
    recorded: list[Event] = []
    conflicts: list[Quarantined] = []
    for _, _, event in rows:
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
    _recorded(connection, recorded)
    if conflicts:
        put_quarantined(connection, conflicts, at)
    return answers


def _of_others_sessions(
    connection: sqlite3.Connection, rows: Sequence[Row]
) -> dict[int, Quarantined]:
    """Return, by position, what speaks of a session that began for another customer."""
    found: dict[int, Quarantined] = {}
    for number, (_, _, event) in enumerate(rows):
        if isinstance(event, StreamTerminated | StreamAbandoned):
            owner = connection.execute(
                "SELECT customer_id FROM sessions WHERE event_id = ?", (_session_of(event),)
            ).fetchone()
            if owner is not None and owner[0] != event.customer_id:
                found[number] = _quarantined(event, "began for another customer")
    return found


def _session_of(event: Event) -> str:
    return event_id_for(event.provider, "session", event.provider_id)


def _insert_all(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert a small group row by row and a large one in few statements.

    `executemany` gives the interpreter away at each row; in a large group it waits longer for
    winning it back from the threads that collect and deliver than it needs for the rows.
    """
    whole = len(rows) // _CHUNK * _CHUNK
    for start in range(0, whole, _CHUNK):
        values = [value for row in rows[start : start + _CHUNK] for value in row[:2]]
        connection.execute(_INSERT_CHUNK, values)
    connection.executemany(_INSERT, [row[:2] for row in rows[whole:]])


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
                "SELECT event_id, body FROM events"  # noqa: S608  only question marks are put in
                f" WHERE event_id IN ({marks}) AND offset <= ?",
                (*some, up_to),
            )
        )


def _conflict(event: Event, first: Event) -> Quarantined:
    differs = []
    if event.customer_id != first.customer_id:
        differs.append(f"another customer ({first.customer_id!r}, not {event.customer_id!r})")
    if event.billed_seconds != first.billed_seconds:
        differs.append(f"another quantity ({_quantity(first)}, not {_quantity(event)})")
    return _quarantined(event, f"is recorded with {' and '.join(differs)}")


def _quantity(event: Event) -> str:
    seconds = event.billed_seconds
    return "none" if seconds is None else f"{format_seconds(seconds)} s"


def _quarantined(event: Event, why: str) -> Quarantined:
    return Quarantined(
        collector=event.collector,
        key=f"conflict:{event.event_id}:{event.customer_id}:{event.billed_seconds}",
        reason=f"conflict: {event.event_id} {why}; the first stands",
        payload=encode_event(event).decode(),
        provider_id=event.provider_id,
    )


def _recorded(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    """Count new events, end their sessions, and close what waited in quarantine for them."""
    ended = [
        (
            "closed" if isinstance(event, StreamTerminated) else "abandoned",
            to_micros(event.recorded_at),
            _session_of(event),
        )
        for event in events
        if isinstance(event, StreamTerminated | StreamAbandoned)
    ]
    if ended:
        connection.executemany(
            "UPDATE sessions SET state = ?1, ended_at = ?2 WHERE event_id = ?3"
            " AND (state = 'open' OR ?1 = 'closed')",
            ended,
        )
    if connection.execute("SELECT 1 FROM quarantine WHERE state = 'open' LIMIT 1").fetchone():
        connection.executemany(
            "UPDATE quarantine SET state = 'recorded'"
            " WHERE state = 'open' AND provider_id = ? AND key NOT LIKE 'conflict:%'",
            [(event.provider_id,) for event in events],
        )
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
            " (collector, key, reason, provider_id, payload, fetched, first_at, last_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET times = times + 1, last_at = excluded.last_at,"
            # What the provider told at last says more than that it did not.
            " reason = iif(fetched, reason, excluded.reason),"
            " payload = iif(fetched, payload, excluded.payload),"
            " fetched = max(fetched, excluded.fetched)"
            " RETURNING times",
            (
                item.collector,
                item.key,
                item.reason,
                item.provider_id,
                item.payload,
                item.fetched,
                moment,
                moment,
            ),
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
    found = locate(connection, event_id)
    return None if found is None else found.event


def locate(connection: sqlite3.Connection, event_id: str) -> StoredEvent | None:
    """Return one event by its id, with its offset."""
    row = connection.execute(
        "SELECT offset, body FROM events WHERE event_id = ?", (event_id,)
    ).fetchone()
    return StoredEvent(row[0], decode_event(row[1])) if row else None
