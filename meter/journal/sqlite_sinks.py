"""Checkpoints, their exceptions and the state of sinks, in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from meter.journal import offsets, sqlite_events
from meter.journal.records import Balance, Settlement, SinkRow
from meter.journal.sqlite_events import from_micros, to_micros
from meter.journal.sqlite_state import write_state

__all__ = [
    "FILTERED",
    "PENDING",
    "PLACES",
    "PORTIONS",
    "SINKS",
    "balances",
    "hasten",
    "recall",
    "recall_one",
    "register",
    "rewind",
    "settle",
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
    gained = len(s.delivered)
    if s.purpose != "new":  # what counts as delivered already changes place, or stays
        gained = connection.executemany(
            "UPDATE exceptions SET state = 'delivered', changed_at = ?, next_at = NULL,"
            " attempts = attempts + 1, replay = 0"
            " WHERE sink = ? AND offset = ? AND state <> 'delivered'",
            [(at, s.sink, offset) for offset in s.delivered],
        ).rowcount
        gained = max(0, gained) - _delivered_once(connection, s)
    connection.execute(
        "UPDATE sinks SET delivered = delivered + ?, filtered = filtered + ?,"
        " checkpoint = coalesce(?, checkpoint) WHERE name = ?",
        (gained, len(s.filtered), s.checkpoint, s.sink),
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


def _delivered_once(connection: sqlite3.Connection, s: Settlement) -> int:
    """Count what counts as delivered, and is set aside from now on."""
    aside = [*s.held, *s.retrying, *s.later, *s.rejected]
    if not aside:
        return 0
    (known,) = connection.execute(
        "SELECT count(*) FROM exceptions WHERE sink = ? AND state <> 'delivered'"
        " AND offset IN (SELECT value FROM json_each(?))",
        (s.sink, json.dumps(aside)),
    ).fetchone()
    return len(aside) - int(known)


def _note(connection: sqlite3.Connection, s: Settlement, at: int) -> None:
    """Add the row that says which offsets a delivery was about."""
    touched = [*s.delivered, *s.filtered, *s.held, *s.retrying, *s.later, *s.rejected]
    connection.execute(
        "INSERT INTO deliveries (sink, purpose, first_offset, last_offset, delivered, filtered, at,"
        " offsets) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            s.sink,
            s.purpose,
            min(touched),
            max(touched),
            len(s.delivered),
            offsets.pack(sorted(s.filtered)),
            at,
            None if s.purpose == "new" else offsets.pack(sorted(s.delivered)),
        ),
    )


def recall(
    connection: sqlite3.Connection, sink: str, reasons: Mapping[str, str], now: datetime
) -> list[str]:
    """Turn delivered events into retrying ones that are due now; answer which were delivered."""
    recalled = []
    for event_id, reason in reasons.items():
        row = connection.execute(
            "SELECT offset FROM events WHERE event_id = ?", (event_id,)
        ).fetchone()
        if row is not None and recall_one(connection, sink, row[0], reason, now):
            recalled.append(event_id)
    return recalled


def recall_one(
    connection: sqlite3.Connection,
    sink: str,
    offset: int,
    reason: str,
    now: datetime,
    *,
    replay: bool = False,
) -> bool:
    """Turn one event into a retrying one that is due now, if it was delivered; tell if it was."""
    at = to_micros(now)
    row = connection.execute(
        "SELECT x.state FROM sinks s"
        " LEFT JOIN exceptions x ON x.sink = s.name AND x.offset = ?1"
        " WHERE s.name = ?2 AND s.checkpoint >= ?1",
        (offset, sink),
    ).fetchone()
    if row is None or row[0] not in (None, "delivered"):
        return False
    if row[0] is None and any(
        any(offsets.within(packed, offset, offset))
        for (packed,) in connection.execute(FILTERED, (sink, sink, offset, offset))
    ):
        return False
    connection.execute(_SET_ASIDE, (sink, offset, "retrying", reason, 0, at, at, at, 0))
    connection.execute(
        "UPDATE exceptions SET replay = ? WHERE sink = ? AND offset = ?", (replay, sink, offset)
    )
    connection.execute("UPDATE sinks SET delivered = delivered - 1 WHERE name = ?", (sink,))
    return True


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
        "UPDATE exceptions SET state = 'retrying', next_at = 0, put_off = 0, replay = 0,"
        " reason = 'the destination went back; offered again'"
        " WHERE sink = ? AND state = 'delivered'",
        (name,),
    )
    connection.execute(
        "DELETE FROM deliveries WHERE sink = ? AND first_offset > ?", (name, checkpoint)
    )
    filtered = _events_up_to(connection, int(start))  # its range is of offsets, which have gaps
    for row_id, last, packed in connection.execute(
        "SELECT id, last_offset, filtered FROM deliveries WHERE sink = ? AND purpose <> 'start'"
        " AND (filtered IS NOT NULL OR last_offset > ?)",
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
    events = _events_up_to(connection, checkpoint)
    (exceptions,) = connection.execute(
        "SELECT count(*) FROM exceptions WHERE sink = ? AND state <> 'delivered'", (name,)
    ).fetchone()
    connection.execute(
        "UPDATE sinks SET checkpoint = ?, filtered = ?, delivered = ? WHERE name = ?",
        (checkpoint, filtered, events - filtered - exceptions, name),
    )
    return checkpoint


def _events_up_to(connection: sqlite3.Connection, offset: int) -> int:
    (events,) = connection.execute(
        "SELECT count(*) FROM events WHERE offset <= ?", (offset,)
    ).fetchone()
    return int(events)


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


SINKS: Final = (
    "SELECT name, type, checkpoint, delivered, filtered, parked, trouble FROM sinks ORDER BY name"
)
PLACES: Final = (
    "SELECT state, count(*), min(offset) FROM exceptions WHERE sink = ?"
    " AND state IN ('held', 'retrying', 'dead', 'discarded') GROUP BY state"
)


_END: Final = 2**63 - 1
PORTIONS: Final = (
    "SELECT coalesce(sum(events), 0), min(last_offset), max(last_offset) FROM event_portions"
    " WHERE last_offset > ?"
)
PENDING: Final = "SELECT count(*) FROM events WHERE offset > ? AND offset <= ?"


def balances(connection: sqlite3.Connection) -> list[Balance]:
    """Count each place of each sink on its own, within the caller's read transaction."""
    recorded = _recorded(connection)
    found = []
    for row in connection.execute(SINKS).fetchall():
        name, sink_type, checkpoint, delivered, filtered, parked, trouble = row
        places = {s: (n, first) for s, n, first in connection.execute(PLACES, (name,))}
        count = {state: n for state, (n, _) in places.items()}
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
                dead_lettered=count.get("dead", 0) + count.get("discarded", 0),
                discarded=count.get("discarded", 0),
                held=count.get("held", 0),
                retrying=count.get("retrying", 0),
                pending=_pending(connection, checkpoint),
                oldest_unsettled=oldest[0].event.recorded_at if oldest else None,
                parked=parked,
                trouble=trouble,
            )
        )
    return found


def _pending(connection: sqlite3.Connection, checkpoint: int) -> int:
    """Count the events beyond a checkpoint: in its portion, in those after it, and in none yet.

    Offsets have gaps, and to walk over millions of events takes seconds.
    """
    ahead, first, last = connection.execute(PORTIONS, (checkpoint,)).fetchone()
    if first is None:
        return _between(connection, checkpoint, _END)
    (own,) = connection.execute(
        "SELECT events FROM event_portions WHERE last_offset = ?", (first,)
    ).fetchone()
    walked = _between(connection, checkpoint, first) + _between(connection, last, _END)
    return int(ahead - own) + walked


def _between(connection: sqlite3.Connection, after: int, up_to: int) -> int:
    (events,) = connection.execute(PENDING, (after, up_to)).fetchone()
    return int(events)
