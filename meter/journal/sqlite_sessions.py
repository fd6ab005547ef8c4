"""Streaming sessions in SQLite; a session's key is the id of the event that it is to become."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

from meter.events import StreamAbandoned, decode_event, event_id_for, exact_seconds
from meter.journal import sqlite_events
from meter.journal.records import Quarantined, Recorded
from meter.journal.sessions import NewSession, Opening, Session, Sessions, SessionState
from meter.journal.sqlite_events import from_micros, to_micros

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.events import Event
    from meter.journal.records import Ticket

__all__ = ["SqliteSessions", "open_session"]

T = TypeVar("T")
Call = Callable[[Callable[[sqlite3.Connection], T]], "Ticket[T]"]

_COLUMNS: Final = (
    "s.provider_id, s.collector, s.customer_id, s.dimensions, s.model, s.started_at,"
    " s.expires_at, s.lower_micros, s.state, s.ended_at, e.body, a.body"
)
_FROM: Final = (
    "FROM sessions s LEFT JOIN events e ON e.event_id = s.event_id"
    " LEFT JOIN events a ON a.event_id = s.event_id || ':abandoned' AND s.state = 'abandoned'"
)
_MICROS: Final = 1_000_000
_NEVER: Final = 2**63 - 1
_UNENDED: Final = frozenset({"open", "quarantined"})
_BY_INDEX: Final = "s.state IN ('open', 'quarantined')"
"""In the words of the index of those: SQLite takes it for no others."""


class SqliteSessions(Sessions):
    """The sessions of a SQLite journal."""

    def __init__(
        self,
        select: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]],
        call: Call[Any],
        clock: Clock,
    ) -> None:
        """Read with `select`, write with `call`: the journal's own."""
        self._select = select
        self._call = call
        self._clock = clock

    def add_opening(self, opening: Opening) -> Ticket[int | None]:
        """Note that a session is about to be opened; see `Sessions.add_opening`."""
        return self._call(lambda c: _add_opening(c, opening))

    def drop_opening(self, opening: int) -> Ticket[None]:
        """Forget an opening that came to nothing."""
        return self._call(lambda c: _drop_opening(c, opening))

    def open(self, session: NewSession) -> Ticket[Recorded]:
        """Open a session, and settle its opening; see `Sessions.open`."""
        now = self._clock.now()
        return self._call(lambda c: open_session(c, session, now))

    def lengthen(self, bounds: Iterable[tuple[str, Decimal]]) -> Ticket[None]:
        """Raise lower bounds; they never sink."""
        rows = [(int(seconds * _MICROS), _key(provider_id)) for provider_id, seconds in bounds]

        def raise_all(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE sessions SET lower_micros = ?1 WHERE event_id = ?2 AND lower_micros < ?1",
                rows,
            )

        return self._call(raise_all)

    def abandon(self, event: StreamAbandoned) -> Ticket[Recorded | None]:
        """Record that no Termination will come, if the session is open still."""

        def record(connection: sqlite3.Connection) -> Recorded | None:
            still_open = connection.execute(
                "SELECT 1 FROM sessions WHERE event_id = ? AND state = 'open' AND customer_id = ?",
                (_key(event.provider_id), event.customer_id),
            ).fetchone()
            if not still_open:
                return None
            answer = sqlite_events.insert(connection, event, event.recorded_at)
            # Recording it does this already, but an event that was known before does not.
            connection.execute(
                "UPDATE sessions SET state = 'abandoned', ended_at = ?"
                " WHERE event_id = ? AND state = 'open'",
                (to_micros(event.recorded_at), _key(event.provider_id)),
            )
            return answer

        return self._call(record)

    def set_aside(
        self, provider_id: str, item: Quarantined, *, customer_id: str | None = None
    ) -> Ticket[None]:
        """Quarantine what ended a session; see `Sessions.set_aside`."""
        now = self._clock.now()

        def put(connection: sqlite3.Connection) -> None:
            sqlite_events.put_quarantined(connection, [item], now)
            connection.execute(
                "UPDATE sessions SET state = 'quarantined', ended_at = ?"
                " WHERE event_id = ? AND state = 'open' AND customer_id = coalesce(?, customer_id)",
                (to_micros(now), _key(provider_id), customer_id),
            )

        return self._call(put)

    def openings(self, collector: str) -> list[tuple[int, Opening]]:
        """Return the openings that are not settled, with their ids."""
        rows = self._select(
            "SELECT id, customer_id, dimensions, at FROM openings WHERE collector = ? ORDER BY id",
            (collector,),
        )
        return [
            (row[0], Opening(collector, row[1], json.loads(row[2]), from_micros(row[3])))
            for row in rows
        ]

    def set_opening_aside(self, opening: int, item: Quarantined) -> Ticket[None]:
        """Quarantine what an opening came to; its token stays used."""
        now = self._clock.now()

        def put(connection: sqlite3.Connection) -> None:
            sqlite_events.put_quarantined(connection, [item], now)
            connection.execute("DELETE FROM openings WHERE id = ?", (opening,))

        return self._call(put)

    def find(self, provider_id: str) -> Session | None:
        """Return one session by the provider's id."""
        rows = self._select(
            f"SELECT {_COLUMNS} {_FROM} WHERE s.event_id = ?",
            (_key(provider_id),),
        )
        return _session(rows[0]) if rows else None

    def list(
        self,
        *,
        states: Sequence[SessionState] = (),
        collector: str | None = None,
        customer_id: str | None = None,
        limit: int,
    ) -> list[Session]:
        """Return sessions, the newest first; no states means all."""
        where = ["true"]
        values: list[str] = []
        if states:
            if _UNENDED.issuperset(states):
                where.append(_BY_INDEX)
            where.append(f"s.state IN ({','.join('?' * len(states))})")
            values += states
        for column, value in (("collector", collector), ("customer_id", customer_id)):
            if value is not None:
                where.append(f"s.{column} = ?")
                values.append(value)
        rows = self._select(
            f"SELECT {_COLUMNS} {_FROM} WHERE {' AND '.join(where)}"
            " ORDER BY s.started_at DESC LIMIT ?",
            (*values, limit),
        )
        return [_session(row) for row in rows]

    def collectors(self) -> frozenset[str]:
        """Return the names of all collectors that ever had a session."""
        return frozenset(n for (n,) in self._select("SELECT DISTINCT collector FROM sessions", ()))

    def overdue(self, before: datetime, *, limit: int) -> Sequence[Session]:
        """Return open sessions that expired before a time, the longest ago first."""
        rows = self._select(
            f"SELECT {_COLUMNS} {_FROM} WHERE {_BY_INDEX} AND s.state = 'open'"
            " AND s.expires_at < ? ORDER BY s.expires_at LIMIT ?",
            (to_micros(before), limit),
        )
        return [_session(row) for row in rows]


def _key(provider_id: str) -> str:
    return event_id_for("assemblyai", "session", provider_id)


def _session(row: tuple[Any, ...]) -> Session:
    return Session(
        provider_id=row[0],
        collector=row[1],
        customer_id=row[2],
        dimensions=json.loads(row[3]),
        model=row[4],
        started_at=from_micros(row[5]),
        expires_at=from_micros(row[6]),
        lower_seconds=exact_seconds(Decimal(row[7]) / _MICROS),
        state=row[8],
        ended_at=None if row[9] is None else from_micros(row[9]),
        seconds=None if row[10] is None else decode_event(row[10]).billed_seconds,
        upper_seconds=None if row[11] is None else _upper(decode_event(row[11])),
    )


def _upper(event: Event) -> Decimal | None:
    return event.upper_seconds if isinstance(event, StreamAbandoned) else None


def _add_opening(connection: sqlite3.Connection, opening: Opening) -> int | None:
    token = None
    if opening.token_id is not None:
        token = f"{opening.collector}:{opening.token_id}"
        at = to_micros(opening.at)
        connection.execute("DELETE FROM used_tokens WHERE until < ?", (at,))
        until = _NEVER if opening.token_until is None else to_micros(opening.token_until)
        taken = connection.execute(
            "INSERT INTO used_tokens VALUES (?, ?) ON CONFLICT DO NOTHING", (token, until)
        )
        if not taken.rowcount:
            return None
    return connection.execute(
        "INSERT INTO openings (collector, customer_id, dimensions, at, token)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            opening.collector,
            opening.customer_id,
            _json(opening.dimensions),
            to_micros(opening.at),
            token,
        ),
    ).lastrowid


def _drop_opening(connection: sqlite3.Connection, opening: int) -> None:
    connection.execute(
        "DELETE FROM used_tokens WHERE token = (SELECT token FROM openings WHERE id = ?)",
        (opening,),
    )
    connection.execute("DELETE FROM openings WHERE id = ?", (opening,))


def open_session(connection: sqlite3.Connection, session: NewSession, now: datetime) -> Recorded:
    """Open a session within the caller's transaction; see `Sessions.open`."""
    if session.opening is not None:
        connection.execute("DELETE FROM openings WHERE id = ?", (session.opening,))
    key = _key(session.provider_id)
    owners = {
        customer
        for (customer,) in connection.execute(
            "SELECT customer_id FROM sessions WHERE event_id = ?", (key,)
        )
    }
    state = "open"
    for ended, suffix in (("abandoned", ":abandoned"), ("closed", "")):
        if (event := sqlite_events.find(connection, key + suffix)) is not None:
            owners.add(event.customer_id)
            state = ended
    if owners - {session.customer_id}:
        sqlite_events.put_quarantined(connection, [_conflict(session)], now)
        return Recorded.CONFLICT
    added = connection.execute(
        "INSERT INTO sessions (event_id, provider_id, collector, customer_id, dimensions, model,"
        " started_at, expires_at, state, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (
            key,
            session.provider_id,
            session.collector,
            session.customer_id,
            _json(session.dimensions),
            session.model,
            to_micros(session.started_at),
            to_micros(session.expires_at),
            state,
            None if state == "open" else to_micros(now),
        ),
    )
    return Recorded.RECORDED if added.rowcount else Recorded.DUPLICATE


def _conflict(session: NewSession) -> Quarantined:
    payload = {
        "type": "Begin",
        "id": session.provider_id,
        "customer_id": session.customer_id,
        "dimensions": dict(session.dimensions),
    }
    return Quarantined(
        collector=session.collector,
        key=f"conflict:session:{session.provider_id}:{session.customer_id}",
        reason=f"conflict: session {session.provider_id} belongs to another customer; the first "
        "stands",
        payload=json.dumps(payload, ensure_ascii=False),
        provider_id=session.provider_id,
    )


def _json(dimensions: Any) -> str:
    return json.dumps(dict(dimensions), ensure_ascii=False)
