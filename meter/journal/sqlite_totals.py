"""What a SQLite journal holds, counted."""

from __future__ import annotations

import sqlite3

from meter.journal import sqlite_sinks, sqlite_standing
from meter.journal.records import JournalTotals
from meter.journal.sqlite_standing import between

__all__ = ["totals"]

_END = 2**63 - 1
# The first condition has SQLite take the index that holds nothing else.
_SESSIONS = (
    "SELECT state, count(*) FROM sessions s WHERE state IN ('open', 'quarantined')"
    " AND (state = 'open' OR NOT EXISTS"
    # Where a person has discarded what ended it, nothing is to be done about it any more.
    " (SELECT 1 FROM quarantine q WHERE q.provider_id = s.provider_id AND q.state = 'discarded'))"
    " GROUP BY state"
)
_FOREIGN = "SELECT collector, count(*) FROM watched WHERE state = 'foreign' GROUP BY 1"


def totals(connection: sqlite3.Connection) -> JournalTotals:
    """Count everything, within the caller's read transaction."""
    c = connection
    open_ = sqlite_standing.receipts(c)
    receipts = dict(c.execute("SELECT outcome, n FROM receipt_counts"))
    if open_:
        receipts["open"] = sum(waiting.count for waiting in open_.values())
    return JournalTotals(
        events=dict(c.execute(sqlite_standing.RECORDED)),
        receipts=receipts,
        quarantined=dict(c.execute(sqlite_standing.QUARANTINE_OPEN)),
        balances=sqlite_sinks.balances(c, lambda _sink, checkpoint: _beyond(c, checkpoint)),
        oldest_open_receipt=min((waiting.oldest for waiting in open_.values()), default=None),
        collectors={
            name: trouble
            for name, _, trouble in c.execute(sqlite_standing.COLLECTORS)
            if trouble is not None
        },
        foreign=dict(c.execute(_FOREIGN)),
        sessions=dict(c.execute(_SESSIONS)),
    )


def _beyond(connection: sqlite3.Connection, checkpoint: int) -> int:
    """Count the events beyond a checkpoint: in its portion, in the ones after, and in no portion.

    Offsets have gaps, and to walk over millions of events takes seconds.
    """
    (in_portions, first, last) = connection.execute(
        "SELECT coalesce(sum(events), 0), min(last_offset), max(last_offset) FROM event_portions"
        " WHERE last_offset > ?",
        (checkpoint,),
    ).fetchone()
    if first is None:
        return between(connection, checkpoint, _END)
    (own,) = connection.execute(
        "SELECT events FROM event_portions WHERE last_offset = ?", (first,)
    ).fetchone()
    ahead = int(in_portions - own)
    return between(connection, checkpoint, first) + ahead + between(connection, last, _END)
