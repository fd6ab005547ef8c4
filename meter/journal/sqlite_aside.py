"""What is in quarantine, in SQLite, and what people do to it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from meter.journal import sqlite_events
from meter.journal.aside import Aside, Entry, NotDone
from meter.journal.records import Recorded
from meter.journal.sqlite_acts import note
from meter.journal.sqlite_events import from_micros, to_micros
from meter.journal.sqlite_sessions import open_session

if TYPE_CHECKING:
    from meter.events import Event
    from meter.journal.acts import NewAct
    from meter.journal.records import NewReceipt, Ticket
    from meter.journal.sessions import NewSession

__all__ = ["SqliteAside"]

T = TypeVar("T")
Call = Callable[[Callable[[sqlite3.Connection], T]], "Ticket[T]"]

_COLUMNS: Final = (
    "id, collector, key, reason, provider_id, payload, fetched, state, times, first_at, last_at"
    " FROM quarantine"
)


class SqliteAside(Aside):
    """What is in quarantine in a SQLite journal."""

    def __init__(
        self,
        select: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]],
        call: Call[Any],
    ) -> None:
        """Read with `select`, write with `call`: the journal's own."""
        self._select = select
        self._call = call

    def entries(
        self,
        *,
        states: Collection[str] = ("open",),
        collector: str | None = None,
        why: str | None = None,
        provider_id: str | None = None,
        limit: int,
    ) -> list[Entry]:
        """Return entries, the newest first; see `Aside.entries`."""
        where = ["true"]
        values: list[Any] = []
        if states:
            where.append("state IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(states)))
        if why is not None:
            where.append("instr(lower(reason), lower(?))")
            values.append(why)
        for column, value in (("collector", collector), ("provider_id", provider_id)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        rows = self._select(
            f"SELECT {_COLUMNS} WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
            (*values, limit),
        )
        return [_entry(row) for row in rows]

    def find(self, entry: int) -> Entry | None:
        """Return one entry."""
        rows = self._select(f"SELECT {_COLUMNS} WHERE id = ?", (entry,))
        return _entry(rows[0]) if rows else None

    def nearest(self, entry: int) -> list[Entry]:
        """Return the entries next to an id."""
        rows = self._select(
            f"SELECT * FROM (SELECT {_COLUMNS} WHERE id < ?1 ORDER BY id DESC LIMIT 1)"  # noqa: S608  because only a constant of ours is put in
            f" UNION ALL SELECT * FROM (SELECT {_COLUMNS} WHERE id > ?1 ORDER BY id LIMIT 1)",
            (entry,),
        )
        return [_entry(row) for row in rows]

    def discard(self, entry: int, now: datetime, act: NewAct) -> Ticket[None]:
        """Close an entry that is nobody's usage."""

        def run(connection: sqlite3.Connection) -> None:
            _close(connection, entry, "discarded")
            note(connection, act, "discard", now, entry=entry)

        return self._call(run)

    def assign(self, entry: int, event: Event, now: datetime, act: NewAct) -> Ticket[Recorded]:
        """Record the event that an entry turned out to be, and close it."""

        def run(connection: sqlite3.Connection) -> Recorded:
            _close(connection, entry, "assigned")
            answer = sqlite_events.insert(connection, event, now)
            if answer is Recorded.CONFLICT:  # raising takes its new entry back too
                raise NotDone(_conflict(connection, event))
            _assigned(connection, entry, act, now, event.event_id)
            return answer

        return self._call(run)

    def begin(self, entry: int, session: NewSession, now: datetime, act: NewAct) -> Ticket[None]:
        """Open the session whose Begin an entry is, and close it."""

        def run(connection: sqlite3.Connection) -> None:
            _close(connection, entry, "assigned")
            if open_session(connection, session, now) is Recorded.CONFLICT:
                raise NotDone(f"session {session.provider_id} belongs to another customer")
            _assigned(connection, entry, act, now, None)

        return self._call(run)

    def ask_again(
        self, entry: int, receipt: NewReceipt, now: datetime, act: NewAct
    ) -> Ticket[None]:
        """Have the receipt of an entry worked on again; see `Aside.ask_again`."""
        given = (receipt.collector, receipt.query, receipt.fields)
        at = to_micros(receipt.received_at)

        def run(connection: sqlite3.Connection) -> None:
            _must_be_open(connection, entry)
            busy = connection.execute(
                "SELECT attempts FROM receipts WHERE state = 'open' AND collector = ?"
                " AND query = ? AND fields = ?",
                given,
            ).fetchone()
            if busy is not None:
                raise NotDone(f"it is being asked for already, after {busy[0]} attempts so far")
            connection.execute(
                "INSERT INTO receipts (collector, query, fields, received_at) VALUES (?, ?, ?, ?)",
                (*given, at),
            )
            note(connection, act, "retry", now, entry=entry)

        return self._call(run)


def _must_be_open(connection: sqlite3.Connection, entry: int) -> None:
    row = connection.execute("SELECT state FROM quarantine WHERE id = ?", (entry,)).fetchone()
    if row is None or row[0] != "open":
        raise NotDone(f"it is {row[0]} by now" if row else "there is no such entry")


def _close(connection: sqlite3.Connection, entry: int, state: str) -> None:
    _must_be_open(connection, entry)
    connection.execute("UPDATE quarantine SET state = ? WHERE id = ?", (state, entry))


def _assigned(
    connection: sqlite3.Connection, entry: int, act: NewAct, now: datetime, event_id: str | None
) -> None:
    row = connection.execute("SELECT offset FROM events WHERE event_id = ?", (event_id,)).fetchone()
    note(connection, act, "assign", now, entry=entry, touched=row or ())


def _conflict(connection: sqlite3.Connection, event: Event) -> str:
    first = sqlite_events.find(connection, event.event_id)
    if first is None:
        return f"the session {event.provider_id} began for another customer; the first stands"
    return f"{event.event_id} is recorded, for {first.customer_id}; the first stands"


def _entry(row: tuple[Any, ...]) -> Entry:
    number, collector, key, reason, provider_id, payload, fetched, state, times, first, last = row
    return Entry(
        number,
        collector,
        key,
        reason,
        provider_id,
        payload,
        bool(fetched),
        state,
        times,
        from_micros(first),
        from_micros(last),
    )
