"""Make what a SQLite journal only keeps to be quick again from what it holds: sums and counts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meter.errors import JournalUnavailable
from meter.journal.sqlite_acts import note
from meter.journal.sqlite_prune import pruned_receipts

if TYPE_CHECKING:
    from datetime import datetime

    from meter.journal.acts import NewAct
    from meter.journal.checked import Checked

__all__ = ["REPAIRABLE", "repair_journal"]

REPAIRABLE: Final = frozenset({"rollup", "counts"})
"""The kinds of finding that this puts right."""
_ROLLUP: Final = (
    "DELETE FROM usage_quarters",
    "DELETE FROM usage_days",
    "DELETE FROM usage_months",
    "DELETE FROM event_portions",
    "UPDATE usage_mark SET offset = 0",
)
_COUNTS: Final = (
    "DELETE FROM event_counts",
    "INSERT INTO event_counts SELECT json_extract(body, '$.kind'), count(*) FROM events GROUP BY 1",
    "DELETE FROM receipt_counts",
    (
        "INSERT INTO receipt_counts"
        " SELECT outcome, count(*) FROM receipts WHERE state = 'settled' GROUP BY outcome"
    ),
)
_MISFILED: Final = (
    "UPDATE sinks SET filtered = filtered + ?1, delivered = delivered - ?1 WHERE name = ?2"
)
_PRUNED: Final = (
    "INSERT INTO receipt_counts VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
)


def repair_journal(location: str, checked: Checked, now: datetime, act: NewAct) -> list[str]:
    """Put right what can be made again, in one transaction, and note who had it done.

    Where events are missing, their count is left as it is: it is what tells of them. The sums are
    only emptied here: whoever asks adds up the events, and a running `meter run` keeps what it
    adds up.

    Returns:
        The kinds of finding that were put right.

    Raises:
        JournalUnavailable: nothing was changed.
    """
    found = {finding.check for finding in checked.findings}
    wrong = sorted(found & REPAIRABLE)
    if "gap" in found and "counts" in wrong:
        wrong.remove("counts")
    if not wrong:
        return []
    path = Path(location)
    try:
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for kind, statements in (("rollup", _ROLLUP), ("counts", _COUNTS)):
                for statement in statements if kind in wrong else ():
                    connection.execute(statement)
            if "counts" in wrong:
                connection.executemany(_PRUNED, pruned_receipts(connection).items())
                # By how much, and not to what: a `meter run` beside this counts on.
                connection.executemany(
                    _MISFILED, [(delta, name) for name, delta in checked.misfiled.items()]
                )
            note(connection, act, "repair", now)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise JournalUnavailable(f"{path}: {error}; nothing was changed") from None
    return wrong
