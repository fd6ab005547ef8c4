"""What a SQLite journal holds, counted."""

from __future__ import annotations

import sqlite3

from meter.journal import sqlite_sinks, sqlite_standing
from meter.journal.records import JournalTotals

__all__ = ["totals"]

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
        balances=sqlite_sinks.balances(c),
        oldest_open_receipt=min((waiting.oldest for waiting in open_.values()), default=None),
        collectors={
            name: trouble
            for name, _, trouble in c.execute(sqlite_standing.COLLECTORS)
            if trouble is not None
        },
        foreign=dict(c.execute(_FOREIGN)),
        sessions=dict(c.execute(_SESSIONS)),
    )
