"""Receipts, quarantine and what collectors remember, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from meter.journal import sqlite_events
from meter.journal.records import Quarantined, Receipt, Recorded, Watched
from meter.journal.sqlite_events import from_micros, to_micros

if TYPE_CHECKING:
    from meter.events import Event

__all__ = ["due", "is_quarantined", "retry", "settle", "watch", "watched"]


def due(
    connection: sqlite3.Connection,
    collector: str,
    now: datetime,
    skip: Iterable[int],
    limit: int,
) -> list[Receipt]:
    """Return open receipts whose time has come, oldest first, less those being worked on."""
    busy = set(skip)
    rows = connection.execute(
        "SELECT id, collector, received_at, query, fields, attempts, first_error_at FROM receipts"
        " WHERE state = 'open' AND collector = ? AND next_at <= ? ORDER BY next_at, id LIMIT ?",
        (collector, to_micros(now), limit + len(busy)),
    )
    found = [
        Receipt(
            id=row[0],
            collector=row[1],
            received_at=from_micros(row[2]),
            query=row[3],
            fields=row[4],
            attempts=row[5],
            first_error_at=None if row[6] is None else from_micros(row[6]),
        )
        for row in rows
        if row[0] not in busy
    ]
    return found[:limit]


def settle(
    connection: sqlite3.Connection,
    receipt_id: int,
    outcome: str,
    event: Event | None,
    quarantined: Quarantined | None,
    at: datetime,
    about: str | None = None,
) -> Recorded | None:
    """Close a receipt together with what it became; a settled one stays as it is.

    `about` is the id of the event that it speaks of, where it became none.
    """
    answer: Recorded | None = None
    if event is not None:
        answer = sqlite_events.insert(connection, event, at)
        outcome = answer.value
    if quarantined is not None:
        sqlite_events.put_quarantined(connection, [quarantined], at)
    settled = connection.execute(
        "UPDATE receipts SET state = 'settled', outcome = ?, event_id = ?"
        " WHERE id = ? AND state = 'open'",
        (outcome, event.event_id if event is not None else about, receipt_id),
    ).rowcount
    if settled:
        connection.execute(
            "INSERT INTO receipt_counts VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
            (outcome,),
        )
    return answer


def retry(
    connection: sqlite3.Connection,
    receipt_id: int,
    error: str,
    next_at: datetime,
    *,
    counted: bool,
    now: datetime,
) -> None:
    """Keep a receipt open; it is due again at `next_at`."""
    connection.execute(
        "UPDATE receipts SET attempts = attempts + ?, last_error = ?, next_at = ?,"
        " first_error_at = coalesce(first_error_at, ?) WHERE id = ? AND state = 'open'",
        (counted, error, to_micros(next_at), to_micros(now), receipt_id),
    )


def is_quarantined(connection: sqlite3.Connection, collector: str, provider_id: str) -> bool:
    """Tell whether this transcript or session waits in quarantine, or was discarded from there."""
    row = connection.execute(
        "SELECT 1 FROM quarantine WHERE state IN ('open', 'discarded') AND provider_id = ?"
        " AND collector = ? AND fetched",
        (provider_id, collector),
    ).fetchone()
    return row is not None


def watched(connection: sqlite3.Connection, collector: str) -> list[Watched]:
    """Return the transcripts that a backfill remembers."""
    return [
        Watched(provider_id, state, from_micros(created))
        for provider_id, state, created in connection.execute(
            "SELECT provider_id, state, created FROM watched WHERE collector = ?", (collector,)
        )
    ]


def watch(
    connection: sqlite3.Connection,
    collector: str,
    items: Iterable[Watched],
    forget: Iterable[str],
) -> None:
    """Remember transcripts, and forget others."""
    connection.executemany(
        "INSERT OR REPLACE INTO watched VALUES (?, ?, ?, ?)",
        [(collector, item.provider_id, item.state, to_micros(item.created)) for item in items],
    )
    connection.executemany(
        "DELETE FROM watched WHERE collector = ? AND provider_id = ?",
        [(collector, provider_id) for provider_id in forget],
    )
