"""Checkpoints, their exceptions and the state of sinks, in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from meter.journal import offsets, sqlite_events
from meter.journal.records import Balance, Settlement, SinkRow
from meter.journal.sqlite_events import from_micros, to_micros
from meter.sinks import StateWrite

if TYPE_CHECKING:
    from meter.journal.records import Ticket

__all__ = [
    "FILTERED",
    "SqliteSinkState",
    "balances",
    "hasten",
    "recall",
    "register",
    "rewind",
    "settle",
    "write_state",
]


def register(
    connection: sqlite3.Connection,
    name: str,
    sink_type: str,
    *,
    skip_existing: bool,
    not_before: datetime | None,
    at: datetime,
) -> SinkRow:
    """Return the sink's row, made on first sight."""
    row = connection.execute(
        "SELECT checkpoint, delivered, not_before, parked, trouble FROM sinks WHERE name = ?",
        (name,),
    ).fetchone()
    if row is None:
        head = sqlite_events.head(connection) if skip_existing else 0
        floor = None if not_before is None else to_micros(not_before)
        skipped = _recorded(connection) if skip_existing else 0
        connection.execute(
            "INSERT INTO sinks (name, type, checkpoint, filtered, not_before)"
            " VALUES (?, ?, ?, ?, ?)",
            (name, sink_type, head, skipped, floor),
        )
        if skipped:
            connection.execute(
                "INSERT INTO deliveries (sink, purpose, first_offset, last_offset, delivered,"
                " filtered, at) VALUES (?, 'start', 1, ?, 0, ?, ?)",
                (name, head, f"1-{head}", to_micros(at)),
            )
        row = (head, 0, floor, None, None)
    else:
        connection.execute(
            "UPDATE sinks SET type = ? WHERE name = ? AND type <> ?", (sink_type, name, sink_type)
        )
    checkpoint, delivered, floor, parked, trouble = row
    not_before = None if floor is None else from_micros(floor)
    return SinkRow(name, sink_type, checkpoint, delivered, not_before, parked, trouble)


def _recorded(connection: sqlite3.Connection) -> int:
    (n,) = connection.execute("SELECT coalesce(sum(n), 0) FROM event_counts").fetchone()
    return int(n)


_HELD_MICROS: Final = (60_000_000, 3_600_000_000)
"""A held event waits as long as it has been held so far, within these bounds."""

_SET_ASIDE: Final = (
    "INSERT INTO exceptions"
    " (sink, offset, state, reason, attempts, first_at, changed_at, next_at, put_off)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state,"
    " reason = excluded.reason, attempts = attempts + excluded.attempts,"
    " first_at = iif(state = 'delivered', excluded.first_at, first_at),"
    " changed_at = excluded.changed_at, next_at = excluded.next_at, put_off = excluded.put_off"
)
_HOLD: Final = (
    "INSERT INTO exceptions (sink, offset, state, reason, attempts, first_at, changed_at, next_at)"
    " VALUES (?1, ?2, 'held', ?3, 0, ?4, ?4, ?4 + ?5)"
    " ON CONFLICT DO UPDATE SET state = 'held', reason = excluded.reason, put_off = 0,"
    " first_at = iif(state = 'held', first_at, ?4), changed_at = excluded.changed_at,"
    " next_at = ?4 + min(max(iif(state = 'held', ?4 - first_at, 0), ?5), ?6)"
)
FILTERED: Final = (
    # Deliveries of what is new follow one another: the range starts in the last that began before.
    "SELECT filtered FROM deliveries WHERE sink = ? AND filtered IS NOT NULL"
    " AND first_offset >= coalesce((SELECT first_offset FROM deliveries WHERE sink = ?"
    " AND first_offset <= ? AND purpose IN ('start', 'new')"
    " ORDER BY first_offset DESC LIMIT 1), 0) AND first_offset <= ? ORDER BY first_offset"
)


def settle(connection: sqlite3.Connection, settlement: Settlement) -> None:
    """Write one delivery's outcome: counters, checkpoint, exceptions, audit row, sink state."""
    s = settlement
    at = to_micros(s.at)
    connection.execute(
        "UPDATE sinks SET delivered = delivered + ?, filtered = filtered + ?,"
        " checkpoint = coalesce(?, checkpoint) WHERE name = ?",
        (
            0 if s.purpose == "replay" else len(s.delivered),
            len(s.filtered),
            s.checkpoint,
            s.sink,
        ),
    )
    if s.purpose == "retry":
        connection.executemany(
            "UPDATE exceptions SET state = 'delivered', changed_at = ?, next_at = NULL,"
            " attempts = attempts + 1 WHERE sink = ? AND offset = ?",
            [(at, s.sink, offset) for offset in s.delivered],
        )
    connection.executemany(
        _HOLD, [(s.sink, o, reason, at, *_HELD_MICROS) for o, reason in s.held.items()]
    )
    connection.executemany(
        _SET_ASIDE,
        [
            (s.sink, o, "retrying", r.reason, 1 - put_off, at, at, to_micros(r.next_at), put_off)
            for put_off, waiting in ((0, s.retrying), (1, s.later))
            for o, r in waiting.items()
        ]
        + [(s.sink, o, "dead", reason, 1, at, at, None, 0) for o, reason in s.rejected.items()],
    )
    # What was offered again in vain needs no row: its exception says it all.
    if s.purpose == "new" or s.delivered or s.rejected:
        _note(connection, s, at)
    write_state(connection, s.state)
    if s.recall:
        recall(connection, s.sink, s.recall, s.at)
    if s.hasten:
        hasten(connection, s.sink, s.at, ("retrying", "held"))


def _note(connection: sqlite3.Connection, s: Settlement, at: int) -> None:
    """Add the row that says which offsets a delivery was about."""
    touched = [*s.delivered, *s.filtered, *s.held, *s.retrying, *s.later, *s.rejected]
    connection.execute(
        "INSERT INTO deliveries (sink, purpose, first_offset, last_offset, delivered, filtered, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            s.sink,
            s.purpose,
            min(touched),
            max(touched),
            len(s.delivered),
            offsets.pack(sorted(s.filtered)),
            at,
        ),
    )


def recall(
    connection: sqlite3.Connection, sink: str, reasons: Mapping[str, str], now: datetime
) -> list[str]:
    """Turn delivered events into retrying ones that are due now; answer which were delivered."""
    at = to_micros(now)
    recalled = []
    for event_id, reason in reasons.items():
        row = connection.execute(
            "SELECT e.offset, x.state FROM events e JOIN sinks s ON s.name = ?"
            " LEFT JOIN exceptions x ON x.sink = s.name AND x.offset = e.offset"
            " WHERE e.event_id = ? AND e.offset <= s.checkpoint",
            (sink, event_id),
        ).fetchone()
        if row is None or row[1] not in (None, "delivered"):
            continue
        offset, state = row
        if state is None and any(
            any(offsets.within(packed, offset, offset))
            for (packed,) in connection.execute(FILTERED, (sink, sink, offset, offset))
        ):
            continue
        connection.execute(_SET_ASIDE, (sink, offset, "retrying", reason, 0, at, at, at, 0))
        connection.execute("UPDATE sinks SET delivered = delivered - 1 WHERE name = ?", (sink,))
        recalled.append(event_id)
    return recalled


def rewind(connection: sqlite3.Connection, name: str, wanted: int) -> int:
    """Take a sink back to an offset and count afresh what stands at or below it.

    Never below where the sink started; answers the checkpoint from now on.
    """
    (start,) = connection.execute(
        "SELECT coalesce(max(last_offset), 0) FROM deliveries WHERE sink = ? AND purpose = 'start'",
        (name,),
    ).fetchone()
    checkpoint = max(wanted, int(start))
    connection.execute("DELETE FROM exceptions WHERE sink = ? AND offset > ?", (name, checkpoint))
    connection.execute(
        "UPDATE exceptions SET state = 'retrying', next_at = 0, put_off = 0,"
        " reason = 'the destination went back; offered again'"
        " WHERE sink = ? AND state = 'delivered'",
        (name,),
    )
    connection.execute(
        "DELETE FROM deliveries WHERE sink = ? AND first_offset > ?", (name, checkpoint)
    )
    filtered = 0
    for row_id, last, packed in connection.execute(
        "SELECT id, last_offset, filtered FROM deliveries"
        " WHERE sink = ? AND (filtered IS NOT NULL OR last_offset > ?)",
        (name, checkpoint),
    ).fetchall():
        kept = packed
        if last > checkpoint:
            kept = offsets.pack(o for r in offsets.unpack(packed) for o in r if o <= checkpoint)
            connection.execute(
                "UPDATE deliveries SET last_offset = ?, filtered = ? WHERE id = ?",
                (checkpoint, kept, row_id),
            )
        filtered += offsets.count_up_to(kept, checkpoint)
    (events,) = connection.execute(
        "SELECT count(*) FROM events WHERE offset <= ?", (checkpoint,)
    ).fetchone()
    (exceptions,) = connection.execute(
        "SELECT count(*) FROM exceptions WHERE sink = ? AND state <> 'delivered'", (name,)
    ).fetchone()
    connection.execute(
        "UPDATE sinks SET checkpoint = ?, filtered = ?, delivered = ? WHERE name = ?",
        (checkpoint, filtered, events - filtered - exceptions, name),
    )
    return checkpoint


def hasten(
    connection: sqlite3.Connection,
    name: str,
    now: datetime,
    states: Collection[str],
    *,
    put_off: bool = True,
) -> None:
    """Make a sink's events of these states due now; see `Exceptions.hasten`."""
    at = to_micros(now)
    connection.executemany(
        "UPDATE exceptions SET next_at = ?"
        " WHERE sink = ? AND state = ? AND next_at > ? AND put_off <= ?",
        [(at, name, state, at, put_off) for state in states],
    )


_NONE: Final = (0, 0)


def balances(connection: sqlite3.Connection) -> list[Balance]:
    """Count each place of each sink on its own, within the caller's read transaction."""
    recorded = _recorded(connection)
    found = []
    for name, sink_type, checkpoint, delivered, filtered, parked, trouble in connection.execute(
        "SELECT name, type, checkpoint, delivered, filtered, parked, trouble FROM sinks"
        " ORDER BY name"
    ).fetchall():
        places = {
            state: (count, first)
            for state, count, first in connection.execute(
                "SELECT state, count(*), min(offset) FROM exceptions WHERE sink = ?"
                " AND state IN ('held', 'retrying', 'dead') GROUP BY state",
                (name,),
            )
        }
        (pending,) = connection.execute(
            "SELECT count(*) FROM events WHERE offset > ?", (checkpoint,)
        ).fetchone()
        # Offsets follow the order of recording, and exceptions lie below the checkpoint.
        unsettled = [places[state][1] for state in ("held", "retrying") if state in places]
        oldest = sqlite_events.read(connection, min(unsettled, default=checkpoint + 1) - 1, 1)
        found.append(
            Balance(
                sink=name,
                type=sink_type,
                checkpoint=checkpoint,
                recorded=recorded,
                delivered=delivered,
                filtered=filtered,
                dead_lettered=places.get("dead", _NONE)[0],
                held=places.get("held", _NONE)[0],
                retrying=places.get("retrying", _NONE)[0],
                pending=pending,
                oldest_unsettled=oldest[0].event.recorded_at if oldest else None,
                parked=parked,
                trouble=trouble,
            )
        )
    return found


def write_state(connection: sqlite3.Connection, writes: Iterable[StateWrite]) -> None:
    """Apply writes to the state of sinks, in order."""
    for write in writes:
        if write.value is None:
            connection.execute(
                "DELETE FROM sink_state WHERE scope = ? AND key = ?", (write.scope, write.key)
            )
        else:
            connection.execute(
                "INSERT INTO sink_state VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                (write.scope, write.key, write.value),
            )


@dataclass(frozen=True, slots=True)
class SqliteSinkState:
    """`meter.sinks.SinkState` on the journal's own file."""

    scope: str
    sink_type: str
    select: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
    submit: Callable[[Callable[[sqlite3.Connection], None]], Ticket[None]]

    def get(self, key: str) -> str | None:
        """Return the value under a key, or None."""
        rows = self.select(
            "SELECT value FROM sink_state WHERE scope = ? AND key = ?", (self.scope, key)
        )
        return str(rows[0][0]) if rows else None

    def get_many(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of those keys that are there."""
        return dict(
            self.select(
                "SELECT key, value FROM sink_state WHERE scope = ?"
                " AND key IN (SELECT value FROM json_each(?))",
                (self.scope, json.dumps(list(keys))),
            )
        )

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> list[tuple[str, str]]:
        """Return up to `limit` pairs in key order: keys with the prefix, beyond `after`."""
        # One bound on each side, or SQLite would walk the whole scope.
        lower, beyond = (after, ">") if after >= prefix else (prefix, ">=")
        rows = self.select(
            f"SELECT key, value FROM sink_state WHERE scope = ? AND key {beyond} ?"  # noqa: S608  because only an operator of ours is put in
            " AND key < ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?",
            (self.scope, lower, f"{prefix}\U0010ffff", len(prefix), prefix, limit),
        )
        return [(str(key), str(value)) for key, value in rows]

    def put(self, key: str, value: str) -> StateWrite:
        """Make a write; nothing is stored yet."""
        return StateWrite(self.scope, key, value)

    def delete(self, key: str) -> StateWrite:
        """Make a deletion; nothing is stored yet."""
        return StateWrite(self.scope, key, None)

    def commit(self, writes: Iterable[StateWrite]) -> None:
        """Store writes in one transaction of their own; durable when this returns."""
        wanted = list(writes)
        self.submit(lambda connection: write_state(connection, wanted)).wait()

    def scoped(self, scope: str) -> SqliteSinkState:
        """Return the state of another scope of this sink's type."""
        return SqliteSinkState(
            f"type:{self.sink_type}:{scope}", self.sink_type, self.select, self.submit
        )
