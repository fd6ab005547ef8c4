"""The tables of a SQLite journal, and how an older file becomes a newer one.

Times are integers: microseconds since 1970, UTC. What only people need is a view: it costs
nothing to write.
"""

from __future__ import annotations

import sqlite3
import uuid
from typing import Final

from meter.errors import JournalError

__all__ = ["APPLICATION_ID", "VERSION", "prepare"]

APPLICATION_ID: Final = 0x6D657472
"""`metr`, in the header of the file: tells a journal from any other SQLite file."""

_V1: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Offsets are never reused; event_id is unique for ever.
CREATE TABLE events (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
);
-- For people: virtual columns in the table itself would cost an eighth of the insert's speed.
CREATE VIEW usage_events AS SELECT
    offset,
    event_id,
    json_extract(body, '$.kind') AS kind,
    json_extract(body, '$.customer_id') AS customer_id,
    json_extract(body, '$.seconds') AS seconds,
    json_extract(body, '$.occurred_at') AS occurred_at,
    json_extract(body, '$.recorded_at') AS recorded_at,
    json_extract(body, '$.dimensions') AS dimensions
FROM events;
-- How many events of each kind: kept with each commit, so that status needs no scan.
CREATE TABLE event_counts (kind TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE receipts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collector TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    query TEXT NOT NULL,
    fields TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'open',       -- open, settled
    outcome TEXT,                             -- what it became, once settled
    event_id TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    first_error_at INTEGER,
    last_error TEXT,
    next_at INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX receipts_open ON receipts (collector, next_at) WHERE state = 'open';

CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collector TEXT NOT NULL,
    key TEXT NOT NULL,
    reason TEXT NOT NULL,
    provider_id TEXT,
    payload TEXT NOT NULL,
    fetched INTEGER NOT NULL,                 -- 0: the provider never told what it is about
    state TEXT NOT NULL DEFAULT 'open',       -- open; recorded, once its event came after all
    times INTEGER NOT NULL DEFAULT 1,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    UNIQUE (collector, key)
);
CREATE INDEX quarantine_open ON quarantine (provider_id) WHERE state = 'open';

CREATE TABLE collectors (name TEXT PRIMARY KEY, cursor TEXT, trouble TEXT) WITHOUT ROWID;
CREATE TABLE watched (
    collector TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    state TEXT NOT NULL,                      -- unfinished, foreign
    created INTEGER NOT NULL,
    PRIMARY KEY (collector, provider_id)
) WITHOUT ROWID;

-- One checkpoint a sink; the counters move in the same transaction.
CREATE TABLE sinks (
    name TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    checkpoint INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    filtered INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER,
    parked TEXT
) WITHOUT ROWID;
-- What happened to which offsets: one row a delivery. `filtered` is NULL or ranges '3-7,9'.
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    sink TEXT NOT NULL,
    purpose TEXT NOT NULL,
    first_offset INTEGER NOT NULL,
    last_offset INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    filtered TEXT,
    at INTEGER NOT NULL
);
CREATE INDEX deliveries_by_offset ON deliveries (sink, first_offset);
-- Exceptions to a checkpoint: retrying, held, dead; and delivered, once they were one of these.
CREATE TABLE exceptions (
    sink TEXT NOT NULL,
    offset INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    next_at INTEGER,
    PRIMARY KEY (sink, offset)
) WITHOUT ROWID;
CREATE INDEX exceptions_due ON exceptions (sink, state, next_at);
CREATE TABLE sink_state (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
"""

_V2: Final = """
-- Streaming sessions; event_id is that of the StreamTerminated each one is to become.
CREATE TABLE sessions (
    event_id TEXT PRIMARY KEY,
    provider_id TEXT NOT NULL,
    collector TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    dimensions TEXT NOT NULL,
    model TEXT,
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    lower_micros INTEGER NOT NULL DEFAULT 0,  -- it has lasted at least so long
    state TEXT NOT NULL,                      -- open, closed, abandoned, quarantined
    ended_at INTEGER
) WITHOUT ROWID;
CREATE INDEX sessions_by_start ON sessions (started_at);
CREATE INDEX sessions_unended ON sessions (state, expires_at)
    WHERE state IN ('open', 'quarantined');
-- Asked of the provider, before Begin named them.
CREATE TABLE openings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collector TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    dimensions TEXT NOT NULL,
    at INTEGER NOT NULL,
    token TEXT
);
CREATE TABLE used_tokens (token TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
"""

_V3: Final = """
-- 1: nothing failed, the sink wants it again at that time.
ALTER TABLE exceptions ADD COLUMN put_off INTEGER NOT NULL DEFAULT 0;
-- Why the sink fails as a whole, while it is tried again.
ALTER TABLE sinks ADD COLUMN trouble TEXT;
"""

_V4: Final = """
-- What was used, added up: sqlite_rollup.py. Every event up to this offset is in it, once.
CREATE TABLE usage_mark (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    offset INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO usage_mark VALUES (1, 0);
-- facts: JSON of customer_id, kind, model (or null) and add-ons.
CREATE TABLE usage_series (id INTEGER PRIMARY KEY, facts TEXT NOT NULL UNIQUE);
-- Whole seconds and what is beyond them in nanoseconds: no sum of either can overflow.
CREATE TABLE usage_quarters (
    bucket INTEGER NOT NULL,                  -- quarters of an hour since 1970, UTC
    series INTEGER NOT NULL,
    events INTEGER NOT NULL,
    seconds INTEGER NOT NULL,
    nanos INTEGER NOT NULL,
    PRIMARY KEY (bucket, series)
) WITHOUT ROWID;
CREATE TABLE usage_days (
    bucket INTEGER NOT NULL,                  -- days since 1970, UTC
    series INTEGER NOT NULL,
    events INTEGER NOT NULL,
    seconds INTEGER NOT NULL,
    nanos INTEGER NOT NULL,
    PRIMARY KEY (bucket, series)
) WITHOUT ROWID;
CREATE TABLE usage_months (
    bucket INTEGER NOT NULL,                  -- months since January 1970, UTC
    series INTEGER NOT NULL,
    events INTEGER NOT NULL,
    seconds INTEGER NOT NULL,
    nanos INTEGER NOT NULL,
    PRIMARY KEY (bucket, series)
) WITHOUT ROWID;
"""

_V5: Final = """
-- What people did: to which events of which sink, or to what in quarantine, and why.
CREATE TABLE acts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,                        -- login@host
    what TEXT NOT NULL,                       -- retry, discard, replay, assign
    sink TEXT,
    entry INTEGER,                            -- the id in quarantine
    first_offset INTEGER,
    last_offset INTEGER,
    offsets TEXT,                             -- ranges '3-7,9'
    reason TEXT NOT NULL
);
CREATE INDEX acts_by_offset ON acts (last_offset) WHERE last_offset IS NOT NULL;
CREATE INDEX acts_by_entry ON acts (entry) WHERE entry IS NOT NULL;
-- 1: it was delivered once, and a person has it delivered again.
ALTER TABLE exceptions ADD COLUMN replay INTEGER NOT NULL DEFAULT 0;
-- Which offsets a retry or replay delivered: ranges '3-7,9'; of what was new, NULL.
ALTER TABLE deliveries ADD COLUMN offsets TEXT;
-- Written when a receipt is settled, never when one comes in.
CREATE INDEX receipts_by_event ON receipts (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX quarantine_by_fact ON quarantine (provider_id) WHERE provider_id IS NOT NULL;
"""

_V6: Final = """
-- How many receipts ended as what: kept with each settlement, so that status needs no scan.
CREATE TABLE receipt_counts (outcome TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO receipt_counts
    SELECT outcome, count(*) FROM receipts WHERE state = 'settled' GROUP BY outcome;
-- How many events each portion of offsets has, up to the rollup's mark: offsets may have gaps.
CREATE TABLE event_portions (last_offset INTEGER PRIMARY KEY, events INTEGER NOT NULL);
INSERT INTO event_portions
    SELECT max(offset), count(*) FROM events WHERE offset <= (SELECT offset FROM usage_mark)
    GROUP BY offset / 1000;
"""

_MIGRATIONS: Final = (_V1, _V2, _V3, _V4, _V5, _V6)
"""Entry n takes a file from version n to n + 1; entries are never edited once released."""

VERSION: Final = len(_MIGRATIONS)
"""Of this meter's tables."""


def prepare(connection: sqlite3.Connection, path: str) -> str:
    """Bring a file to this version's tables and return its journal id.

    Safe beside other processes that do the same.

    Raises:
        JournalError: another program's database, or a journal from a newer meter.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION_ID and (tables or application or version):
            raise JournalError(
                f"{path} is a SQLite database of something else, not a meter journal; "
                "give `journal:` another path"
            )
        if version > len(_MIGRATIONS):
            raise JournalError(
                f"{path} was made by a newer meter (version {version} of its tables, this one "
                f"knows {len(_MIGRATIONS)}); update meter"
            )
        for script in _MIGRATIONS[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        if version == 0:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(
                "INSERT INTO meta VALUES ('journal_id', ?), ('probe', '0')", (str(uuid.uuid4()),)
            )
        if version != len(_MIGRATIONS):
            connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        (journal_id,) = connection.execute(
            "SELECT value FROM meta WHERE key = 'journal_id'"
        ).fetchone()
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return str(journal_id)


def _statements(script: str) -> list[str]:
    """Split a script; sqlite3's own `executescript` would commit our transaction."""
    statements: list[str] = []
    lines: list[str] = []
    for line in script.splitlines():
        lines.append(line)
        statement = "\n".join(lines)
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            lines = []
    return statements
