"""What a SQLite journal holds, counted."""

from __future__ import annotations

import sqlite3

from meter.journal import sqlite_events, sqlite_sinks
from meter.journal.records import JournalTotals

__all__ = ["totals"]

_SESSIONS = (
    "SELECT state, count(*) FROM sessions s"
    " WHERE state = 'open' OR state = 'quarantined' AND NOT EXISTS"
    # Where a person has discarded what ended it, nothing is to be done about it any more.
    " (SELECT 1 FROM quarantine q WHERE q.provider_id = s.provider_id AND q.state = 'discarded')"
    " GROUP BY 1"
)


def totals(connection: sqlite3.Connection) -> JournalTotals:
    """Count everything, within the caller's read transaction."""
    c = connection
    (oldest,) = c.execute("SELECT min(received_at) FROM receipts WHERE state = 'open'").fetchone()
    return JournalTotals(
        events=dict(c.execute("SELECT kind, n FROM event_counts")),
        receipts=dict(
            c.execute("SELECT coalesce(outcome, state), count(*) FROM receipts GROUP BY 1")
        ),
        quarantined=dict(
            c.execute("SELECT collector, count(*) FROM quarantine WHERE state = 'open' GROUP BY 1")
        ),
        balances=sqlite_sinks.balances(c),
        oldest_open_receipt=None if oldest is None else sqlite_events.from_micros(oldest),
        collectors=dict(
            c.execute("SELECT name, trouble FROM collectors WHERE trouble IS NOT NULL")
        ),
        foreign=dict(
            c.execute("SELECT collector, count(*) FROM watched WHERE state = 'foreign' GROUP BY 1")
        ),
        sessions=dict(c.execute(_SESSIONS)),
    )
