"""The way out of a SQLite journal and into another."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from meter.errors import JournalError
from meter.events import event_id_for
from meter.journal import sqlite_events
from meter.journal.carried import (
    Carried,
    CarriedCollector,
    CarriedEntry,
    CarriedReceipt,
    CarriedSession,
    CarriedWatched,
    Line,
    Reading,
)
from meter.journal.sqlite_events import from_micros, to_micros
from meter.journal.sqlite_search import conditions

if TYPE_CHECKING:
    from meter.journal.records import Ticket
    from meter.journal.search import Wanted

__all__ = ["SqliteCarried"]

PAGE: Final = 5_000

_SESSIONS: Final = (
    "SELECT provider_id, collector, customer_id, dimensions, model, started_at, expires_at,"
    " lower_micros, state, ended_at FROM sessions ORDER BY started_at, event_id"
)
_QUARANTINE: Final = (
    "SELECT collector, key, reason, provider_id, payload, fetched, state, times, first_at, last_at"
    " FROM quarantine ORDER BY id"
)
_RECEIPTS: Final = (
    "SELECT collector, received_at, query, fields, attempts, first_error_at, last_error"
    " FROM receipts WHERE state = 'open' ORDER BY id"
)
_COLLECTORS: Final = "SELECT name, cursor FROM collectors WHERE cursor IS NOT NULL ORDER BY name"
_WATCHED: Final = (
    "SELECT collector, provider_id, state, created FROM watched ORDER BY collector, provider_id"
)

# Whose end is recorded here is not open; and what is another customer's here stays that one's.
_ADD_SESSION: Final = (
    "INSERT INTO sessions (event_id, provider_id, collector, customer_id, dimensions, model,"
    " started_at, expires_at, lower_micros, state, ended_at)"
    " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, CASE"
    " WHEN EXISTS (SELECT 1 FROM events WHERE event_id = ?1) THEN 'closed'"
    " WHEN EXISTS (SELECT 1 FROM events WHERE event_id = ?1 || ':abandoned') THEN 'abandoned'"
    " ELSE ?10 END, ?11 WHERE NOT EXISTS (SELECT 1 FROM events"
    " WHERE event_id IN (?1, ?1 || ':abandoned') AND json_extract(body, '$.customer_id') <> ?4)"
    " ON CONFLICT DO NOTHING"
)
_ADD_ENTRY: Final = (
    "INSERT INTO quarantine (collector, key, reason, provider_id, payload, fetched, state, times,"
    " first_at, last_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
# The same delivery is there already, open or settled: its time tells it from any other.
_ADD_RECEIPT: Final = (
    "INSERT INTO receipts (collector, received_at, query, fields, attempts, first_error_at,"
    " last_error) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS (SELECT 1 FROM receipts"
    " WHERE collector = ?1 AND received_at = ?2 AND query = ?3 AND fields = ?4)"
)
# A cursor that is there knows more about this journal than one that comes from another.
_ADD_COLLECTOR: Final = (
    "INSERT INTO collectors (name, cursor) VALUES (?, ?)"
    " ON CONFLICT DO UPDATE SET cursor = excluded.cursor WHERE cursor IS NULL"
)
_ADD_WATCHED: Final = "INSERT INTO watched VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"


class SqliteCarried(Carried):
    """See `Carried`."""

    def __init__(
        self,
        journal_id: str,
        snapshot: Callable[[], AbstractContextManager[sqlite3.Connection]],
        call: Callable[[Callable[[sqlite3.Connection], int]], Ticket[int]],
    ) -> None:
        """Work on the journal's own connections."""
        self._journal_id = journal_id
        self._snapshot = snapshot
        self._call = call

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Hold on to one moment, in one read transaction."""
        try:
            with self._snapshot() as connection:
                yield _Reading(connection, self._journal_id)
        except (sqlite3.Error, json.JSONDecodeError) as error:
            raise JournalError(
                f"the journal cannot be read: {error}; look with: meter journal check"
            ) from None

    def take(self, lines: Sequence[Line]) -> Ticket[int]:
        """Take lines in; answers how many were new."""

        def run(connection: sqlite3.Connection) -> int:
            before = connection.total_changes
            for line in lines:
                connection.execute(*_addition(line))
            return connection.total_changes - before

        return self._call(run)


class _Reading(Reading):
    def __init__(self, connection: sqlite3.Connection, journal_id: str) -> None:
        self._connection = connection
        self.journal_id = journal_id
        self.head = sqlite_events.head(connection)

    def bodies(self, wanted: Wanted, after: int) -> Iterator[list[tuple[int, str]]]:
        where, values = conditions(wanted)
        found = self._connection.execute(
            f"SELECT e.offset, e.body FROM events e WHERE {where} AND e.offset > ?"  # noqa: S608  because only words of ours are put in
            " AND e.offset <= ? ORDER BY e.offset",
            (*values, after, self.head),
        )
        while rows := found.fetchmany(PAGE):
            yield rows

    def others(self) -> Iterator[Line]:
        c = self._connection
        for row in c.execute(_SESSIONS):
            session_id, collector, customer, dimensions, model, started, expires, *rest = row
            lower, state, ended = rest
            yield CarriedSession(
                provider_id=session_id,
                collector=collector,
                customer_id=customer,
                dimensions=json.loads(dimensions),
                model=model,
                started_at=from_micros(started),
                expires_at=from_micros(expires),
                lower_micros=lower,
                state=state,
                ended_at=_moment(ended),
            )
        for row in c.execute(_QUARANTINE):
            collector, key, reason, identity, payload, fetched, state, times, first, last = row
            yield CarriedEntry(
                collector=collector,
                key=key,
                reason=reason,
                provider_id=identity,
                payload=payload,
                fetched=bool(fetched),
                state=state,
                times=times,
                first_at=from_micros(first),
                last_at=from_micros(last),
            )
        for collector, received, query, fields, attempts, first, error in c.execute(_RECEIPTS):
            yield CarriedReceipt(
                collector=collector,
                received_at=from_micros(received),
                query=query,
                fields=fields,
                attempts=attempts,
                first_error_at=_moment(first),
                last_error=error,
            )
        for collector, identity, state, created in c.execute(_WATCHED):
            yield CarriedWatched(
                collector=collector,
                provider_id=identity,
                state=state,
                created=from_micros(created),
            )
        # Last: who has a cursor has everything that it passed.
        for name, cursor in c.execute(_COLLECTORS):
            yield CarriedCollector(name=name, cursor=cursor)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def _addition(line: Line) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that takes a line in, and its values."""
    if isinstance(line, CarriedSession):
        return _ADD_SESSION, (
            event_id_for("assemblyai", "session", line.provider_id),
            line.provider_id,
            line.collector,
            line.customer_id,
            json.dumps(line.dimensions, ensure_ascii=False),
            line.model,
            to_micros(line.started_at),
            to_micros(line.expires_at),
            line.lower_micros,
            line.state,
            _micros(line.ended_at),
        )
    if isinstance(line, CarriedEntry):
        return _ADD_ENTRY, (
            line.collector,
            line.key,
            line.reason,
            line.provider_id,
            line.payload,
            line.fetched,
            line.state,
            line.times,
            to_micros(line.first_at),
            to_micros(line.last_at),
        )
    if isinstance(line, CarriedReceipt):
        return _ADD_RECEIPT, (
            line.collector,
            to_micros(line.received_at),
            line.query,
            line.fields,
            line.attempts,
            _micros(line.first_error_at),
            line.last_error,
        )
    if isinstance(line, CarriedWatched):
        created = to_micros(line.created)
        return _ADD_WATCHED, (line.collector, line.provider_id, line.state, created)
    if isinstance(line, CarriedCollector):
        return _ADD_COLLECTOR, (line.name, line.cursor)
    raise TypeError(f"a line that holds nothing to take in: {type(line).__name__}")
