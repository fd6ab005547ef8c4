"""Look for rows of a SQLite journal that speak of what is not there."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from meter.journal.checked import Checked, Finding, Tell, some

__all__ = ["look"]

_GONE: Final = "its event was deleted, which meter never does"
_BEFORE: Final = "import an export, or restore a copy, from before"


class _Question(NamedTuple):
    """What is asked: each row that comes is one that should not be, told by its first column."""

    sql: str
    words: str
    means: str
    todo: str


_QUESTIONS: Final = (
    _Question(
        "SELECT sink || ', offset ' || offset FROM exceptions x"
        " WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.offset = x.offset)",
        "events that a sink has set aside are not there",
        f"{_GONE}; it can be neither delivered nor shown",
        _BEFORE,
    ),
    _Question(
        "SELECT sink || ', offset ' || offset FROM exceptions x"
        " WHERE x.sink NOT IN (SELECT name FROM sinks)",
        "events are set aside for sinks that this journal does not know",
        "nothing will ever deliver them",
        "restore a copy from before",
    ),
    _Question(
        "SELECT sink || ', offset ' || offset FROM exceptions"
        " WHERE state IN ('retrying', 'held') AND next_at IS NULL",
        "events that are retrying or held have no time at which they are due",
        "nothing will ever deliver them",
        "dead-letter or replay them: meter events EVENT says how each stands",
    ),
    _Question(
        "SELECT sink || ', offsets ' || first_offset || ' to ' || last_offset FROM deliveries"
        " WHERE last_offset > (SELECT coalesce(max(offset), 0) FROM events)",
        "deliveries speak of events beyond the last one",
        "events at the end were deleted, or an older events table was put in",
        _BEFORE,
    ),
    _Question(
        "SELECT sink || ', offsets ' || first_offset || ' to ' || last_offset FROM deliveries"
        " WHERE sink NOT IN (SELECT name FROM sinks)",
        "deliveries were made to sinks that this journal does not know",
        "where these sinks stand is lost: they would begin again",
        "restore a copy from before",
    ),
    _Question(
        "SELECT event_id FROM receipts r WHERE state = 'settled'"
        " AND outcome IN ('recorded', 'duplicate', 'conflict') AND NOT EXISTS"
        " (SELECT 1 FROM events e WHERE e.event_id IN (r.event_id, r.event_id || ':failed'))",
        "receipts were settled as events that are not there",
        _GONE,
        f"{_BEFORE}; what the provider still lists comes back with `meter backfill`",
    ),
    _Question(
        "SELECT 'receipt ' || id FROM receipts WHERE state NOT IN ('open', 'settled')"
        " OR (state = 'settled' AND outcome IS NULL) OR NOT json_valid(fields)",
        "receipts are in no state that meter knows",
        "nothing will ever settle them",
        "restore a copy from before",
    ),
    _Question(
        "SELECT s.event_id FROM sessions s WHERE state = 'closed'"
        " AND NOT EXISTS (SELECT 1 FROM events e WHERE e.event_id = s.event_id)",
        "sessions are closed without the event that closed them",
        f"{_GONE}: streaming time that is billed nowhere",
        _BEFORE,
    ),
    _Question(
        "SELECT s.event_id FROM sessions s WHERE state = 'abandoned' AND NOT EXISTS"
        " (SELECT 1 FROM events e WHERE e.event_id IN (s.event_id, s.event_id || ':abandoned'))",
        "sessions are abandoned without the event that says so",
        _GONE,
        _BEFORE,
    ),
    _Question(
        "SELECT s.event_id FROM sessions s WHERE state = 'open'"
        " AND EXISTS (SELECT 1 FROM events e WHERE e.event_id = s.event_id)",
        "sessions are open, and their end is recorded",
        "they would be abandoned too, once they expire; nothing of that is billed",
        "restore a copy from before",
    ),
    _Question(
        "SELECT s.event_id FROM sessions s JOIN events e ON e.event_id = s.event_id"
        " WHERE json_extract(e.body, '$.customer_id') <> s.customer_id",
        "sessions are billed to another customer than the one they began for",
        "one of them was changed past meter",
        "ask the applications which of them it was; correct the bill where it is written",
    ),
    _Question(
        "SELECT collector || ' ' || id FROM quarantine WHERE NOT json_valid(payload)"
        " OR state NOT IN ('open', 'recorded', 'assigned', 'discarded')",
        "what is in quarantine cannot be read, or is in no state that meter knows",
        "it cannot be assigned or asked for again",
        "restore a copy from before, or ask the provider what it is and discard it",
    ),
    _Question(
        "SELECT 'act ' || id FROM acts"
        " WHERE last_offset > (SELECT coalesce(max(offset), 0) FROM events)",
        "acts speak of events beyond the last one",
        "events at the end were deleted",
        _BEFORE,
    ),
)


def look(connection: sqlite3.Connection, checked: Checked, tell: Tell) -> None:
    """Ask every question."""
    for table in ("receipts", "sessions", "quarantine"):
        (rows,) = connection.execute(
            f"SELECT count(*) FROM {table}"  # noqa: S608  because only a constant of ours is put in
        ).fetchone()
        checked.looked[table] = rows
    for number, question in enumerate(_QUESTIONS, 1):
        count, examples = some(row[0] for row in connection.execute(question.sql))
        if count:
            checked.findings.append(
                Finding("orphan", question.words, question.means, question.todo, count, examples)
            )
        tell("Looking for orphans", number, len(_QUESTIONS))
