"""The journal on a SQLite file: the default, embedded backend."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from meter.errors import JournalError, JournalUnavailable
from meter.journal import sqlite_events, sqlite_receipts, sqlite_sinks, sqlite_standing
from meter.journal.interface import Journal
from meter.journal.lock import RunLock, is_locked
from meter.journal.sqlite_acts import SqliteActs
from meter.journal.sqlite_aside import SqliteAside
from meter.journal.sqlite_bookmarks import SqliteBookmarks
from meter.journal.sqlite_carried import SqliteCarried
from meter.journal.sqlite_exceptions import SqliteExceptions
from meter.journal.sqlite_follower import Follower
from meter.journal.sqlite_rollup import SqliteRollup
from meter.journal.sqlite_schema import prepare
from meter.journal.sqlite_search import SqliteSearch
from meter.journal.sqlite_sessions import SqliteSessions
from meter.journal.sqlite_state import SqliteSinkState
from meter.journal.sqlite_totals import totals
from meter.journal.sqlite_writer import GroupWriter

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.events import Event
    from meter.journal.records import (
        JournalTotals,
        NewReceipt,
        Quarantined,
        Receipt,
        Recorded,
        Settlement,
        SinkRow,
        StoredEvent,
        Ticket,
        Watched,
    )
    from meter.journal.standing import Standing

__all__ = ["SqliteJournal"]

T = TypeVar("T")

BUSY_SECONDS: Final = 10.0
"""How long one process waits for another's short transaction before it gives up."""
_CACHE_KIB: Final = 32 * 1024
_READING_CACHE_KIB: Final = 4096
_CHECKPOINT_PAGES: Final = 32_000
"""About 128 MB of log before it is folded in: random ids then share more of each page's write."""


class SqliteJournal(Journal):
    """A journal in one file, in WAL mode with `synchronous=FULL`."""

    def __init__(
        self, path: Path, clock: Clock, *, run: bool, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        """Open the file, making it if it does not exist.

        Args:
            path: the journal's file.
            clock: tells when things are quarantined.
            run: be the one process that runs on it, under the kernel's lock; otherwise work
                beside it with short transactions.
            busy_seconds: how long to wait for another process's transaction.

        Raises:
            JournalLocked: `run`, and another process runs on it.
            JournalError: the file cannot be used; the text says why and what to do.
        """
        self.path = path
        self._clock = clock
        self._busy_seconds = busy_seconds
        try:
            self._lock = RunLock(path) if run else None
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from None
        try:
            connection = _connect(path, busy_seconds)
            try:
                self.journal_id = prepare(connection, str(path))
                self._writer = GroupWriter(connection, path, clock)
            except BaseException:
                connection.close()
                raise
        except BaseException as error:
            if self._lock is not None:
                self._lock.release()
            if isinstance(error, sqlite3.Error):
                raise _unusable(path, str(error)) from None
            raise
        self.sessions = SqliteSessions(self._select, self._writer.call, clock)
        self.exceptions = SqliteExceptions(self._select, self._writer.call)
        self.acts = SqliteActs(self._select, self._writer.call)
        self.aside = SqliteAside(self._select, self._writer.call)
        self.bookmarks = SqliteBookmarks(self._select, self._writer.call)
        self.carried = SqliteCarried(self.journal_id, self._snapshot, self._writer.call)
        self.search = SqliteSearch(self._select)
        self.commits = self._writer.commits
        self.rollup = SqliteRollup(self._snapshot, self._writer.call)
        self._follower = Follower(self.rollup)
        if run:
            self._writer.listeners.append(self._follower.notice)
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._guard = threading.Lock()

    # -- reading -------------------------------------------------------------------------

    @property
    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection for reading."""
        try:
            return self._local.connection  # type: ignore[no-any-return]  # threading.local is untyped
        except AttributeError:
            self._writer.check_file()
            try:
                connection = _connect(self.path, self._busy_seconds, reading=True)
            except sqlite3.Error as error:
                raise JournalUnavailable(f"{self.path}: {error}; is it still there?") from None
            self._local.connection = connection
            with self._guard:
                self._readers.append(connection)
            return connection

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        connection = self._reader
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")

    def _select(self, sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return self._reader.execute(sql, parameters).fetchall()

    # -- events --------------------------------------------------------------------------

    def append(self, events: Sequence[Event]) -> Ticket[list[Recorded]]:
        """Record events; see `Journal.append`."""
        return self._writer.events(events)

    def read(self, after: int, limit: int) -> list[StoredEvent]:
        """Return events beyond an offset, in order."""
        return sqlite_events.read(self._reader, after, limit)

    def head(self) -> int:
        """Return the highest offset, 0 when there is no event."""
        return sqlite_events.head(self._reader)

    def find(self, event_id: str) -> Event | None:
        """Return one event by its id."""
        return sqlite_events.find(self._reader, event_id)

    def locate(self, event_id: str) -> StoredEvent | None:
        """Return one event by its id, and its place in the journal."""
        return sqlite_events.locate(self._reader, event_id)

    def on_append(self, callback: Callable[[], None]) -> None:
        """Call back after each commit that recorded events; must not block."""
        self._writer.listeners.append(callback)

    # -- receipts ------------------------------------------------------------------------

    def add_receipt(self, receipt: NewReceipt) -> Ticket[None]:
        """Make a webhook delivery durable before it is understood."""
        return self._writer.receipt(receipt)

    def due_receipts(
        self, collector: str, now: datetime, *, skip: Iterable[int], limit: int
    ) -> list[Receipt]:
        """Return open receipts whose time has come, less those being worked on."""
        return sqlite_receipts.due(self._reader, collector, now, skip, limit)

    def open_receipts(self, collector: str) -> int:
        """Count the receipts that are not settled."""
        rows = self._select(
            "SELECT count(*) FROM receipts WHERE state = 'open' AND collector = ?", (collector,)
        )
        return int(rows[0][0])

    def settle_receipt(
        self,
        receipt_id: int,
        outcome: str,
        *,
        event: Event | None = None,
        quarantined: Quarantined | None = None,
        about: str | None = None,
    ) -> Ticket[Recorded | None]:
        """Close a receipt together with what it became, in one transaction."""
        now = self._clock.now()
        return self._writer.call(
            lambda c: sqlite_receipts.settle(c, receipt_id, outcome, event, quarantined, now, about)
        )

    def retry_receipt(
        self, receipt_id: int, error: str, next_at: datetime, *, counted: bool = True
    ) -> Ticket[None]:
        """Keep a receipt open; it is due again at `next_at`."""
        now = self._clock.now()
        return self._writer.call(
            lambda c: sqlite_receipts.retry(c, receipt_id, error, next_at, counted=counted, now=now)
        )

    # -- quarantine, cursors, and what a backfill remembers ---------------------------------

    def quarantine(self, items: Sequence[Quarantined]) -> Ticket[int]:
        """Keep things that cannot become events; answers how many were new."""
        now = self._clock.now()
        return self._writer.call(lambda c: sqlite_events.put_quarantined(c, items, now))

    def is_quarantined(self, collector: str, provider_id: str) -> bool:
        """Tell whether this transcript or session waits in quarantine, its contents known."""
        return sqlite_receipts.is_quarantined(self._reader, collector, provider_id)

    def waiting(self, collector: str, provider_id: str) -> list[str]:
        """Return the payloads of what waits in quarantine for a transcript or session."""
        rows = self._select(
            "SELECT payload FROM quarantine WHERE state = 'open' AND provider_id = ?"
            " AND collector = ? ORDER BY id",
            (provider_id, collector),
        )
        return [payload for (payload,) in rows]

    def cursor(self, collector: str) -> str | None:
        """Return how far a collector has walked."""
        rows = self._select("SELECT cursor FROM collectors WHERE name = ?", (collector,))
        return rows[0][0] if rows else None

    def set_cursor(self, collector: str, value: str) -> Ticket[None]:
        """Remember how far a collector has walked."""
        return self._execute(
            "INSERT INTO collectors (name, cursor) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET cursor = excluded.cursor",
            (collector, value),
        )

    def watched(self, collector: str) -> list[Watched]:
        """Return the transcripts that a backfill remembers."""
        return sqlite_receipts.watched(self._reader, collector)

    def watch(
        self, collector: str, items: Iterable[Watched], forget: Iterable[str]
    ) -> Ticket[None]:
        """Remember transcripts, and forget others by provider id."""
        kept, gone = list(items), list(forget)
        return self._writer.call(lambda c: sqlite_receipts.watch(c, collector, kept, gone))

    def set_trouble(self, collector: str, trouble: str | None) -> Ticket[None]:
        """Keep why a collector cannot work; None clears it."""
        return self._execute(
            "INSERT INTO collectors (name, trouble) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET trouble = excluded.trouble",
            (collector, trouble),
        )

    # -- sinks ---------------------------------------------------------------------------

    def register_sink(
        self, name: str, sink_type: str, *, skip_existing: bool, not_before: datetime | None
    ) -> Ticket[SinkRow]:
        """Return the sink's row, made on first sight; later the start changes nothing."""
        now = self._clock.now()
        return self._writer.call(
            lambda c: sqlite_sinks.register(
                c, name, sink_type, skip_existing=skip_existing, not_before=not_before, at=now
            )
        )

    def settle(self, settlement: Settlement) -> Ticket[None]:
        """Write the outcome of a delivery, the checkpoint and the sink's state as one."""
        return self._writer.call(lambda c: sqlite_sinks.settle(c, settlement))

    def rewind_sink(self, name: str, checkpoint: int) -> Ticket[int]:
        """Take a sink back, because its destination knows less than we recorded."""
        return self._writer.call(lambda c: sqlite_sinks.rewind(c, name, checkpoint))

    def delivered_beyond(self, name: str, checkpoint: int) -> bool:
        """Tell whether we recorded a delivery to this sink above a checkpoint."""
        rows = self._select(
            "SELECT 1 FROM deliveries WHERE sink = ? AND purpose = 'new' AND delivered > 0"
            " AND last_offset > ? ORDER BY first_offset DESC LIMIT 1",
            (name, checkpoint),
        )
        return bool(rows)

    def park_sink(self, name: str, reason: str | None) -> Ticket[None]:
        """Keep why a sink stopped, or None when it goes on."""
        return self._execute("UPDATE sinks SET parked = ? WHERE name = ?", (reason, name))

    def set_sink_trouble(self, name: str, trouble: str | None) -> Ticket[None]:
        """Keep why a sink fails while it is tried again."""
        return self._execute("UPDATE sinks SET trouble = ? WHERE name = ?", (trouble, name))

    def sink_state(self, name: str, sink_type: str) -> SqliteSinkState:
        """Return the public facility for a sink's own durable state."""
        return SqliteSinkState(f"sink:{name}", sink_type, self._select, self._writer.call)

    # -- the whole -----------------------------------------------------------------------

    def totals(self) -> JournalTotals:
        """Count everything, from one consistent moment."""
        with self._snapshot() as connection:
            return totals(connection)

    def standing(self) -> Standing:
        """Tell how it stands; see `Journal.standing`."""
        with self._snapshot() as connection:
            return sqlite_standing.standing(connection, self.path)

    def probe(self) -> Ticket[None]:
        """Commit something harmless; see `Journal.probe`."""
        return self._execute("UPDATE meta SET value = value + 1 WHERE key = 'probe'", ())

    def running(self) -> bool:
        """Tell whether a `meter run` works on this file."""
        return is_locked(self.path)

    def close(self) -> None:
        """Finish what was submitted, then let go of connections and the lock."""
        self._follower.stop()
        self._writer.close()
        with self._guard:
            readers, self._readers = self._readers, []
        for connection in readers:
            connection.close()
        if self._lock is not None:
            self._lock.release()

    def _execute(self, sql: str, parameters: tuple[Any, ...]) -> Ticket[None]:
        def run(connection: sqlite3.Connection) -> None:
            connection.execute(sql, parameters)

        return self._writer.call(run)


def _connect(path: Path, busy_seconds: float, *, reading: bool = False) -> sqlite3.Connection:
    """Connect; only the writer makes the file, and sets what the file itself keeps."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rw' if reading else 'rwc'}",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if not reading:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        cache_kib = _READING_CACHE_KIB if reading else _CACHE_KIB
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _unusable(path: Path, why: str) -> JournalError:
    return JournalError(
        f"cannot open the journal {path}: {why}; check the folder, its permissions and the disk, "
        "or give `journal:` another path"
    )
