"""The books of a folder: which files count, and which events they hold, in one SQLite file.

A batch counts from the commit here on, whole or not at all, however many files it has. The
journal's own record of it follows; a crash between the two offers the events again, and the
books know them by their ids.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from meter.errors import FatalSinkError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

__all__ = ["Books", "KnownFile", "Standing"]

LAYOUT: Final = 1
"""Of the folder and its books; a newer one is refused."""
BUSY_SECONDS: Final = 10.0
_CACHE_KIB: Final = 32 * 1024
_CHECKPOINT_PAGES: Final = 32_000
_ID_BYTES: Final = 16
"""Of an id's digest. That two of a billion ids share one has a chance of one in 10^20."""

_TABLES: Final = (
    """CREATE TABLE folder (
        id INTEGER PRIMARY KEY CHECK (id = 1), layout INTEGER NOT NULL, sink TEXT NOT NULL,
        journal_id TEXT NOT NULL, checkpoint INTEGER NOT NULL, delivered INTEGER NOT NULL,
        batches INTEGER NOT NULL)""",
    """CREATE TABLE files (
        path TEXT PRIMARY KEY, events INTEGER NOT NULL, bytes INTEGER NOT NULL,
        away INTEGER NOT NULL DEFAULT 0)""",
    "CREATE TABLE taken (digest BLOB PRIMARY KEY) WITHOUT ROWID",
)


class Standing(NamedTuple):
    """Whose folder it is, and how far it was filled."""

    layout: int
    sink: str
    journal_id: str
    checkpoint: int
    delivered: int
    batches: int


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file that counts.

    Attributes:
        path: below the folder, with `/`.
        events: how many rows it has.
        bytes: its length.
        away: somebody moved the whole month away.
    """

    path: str
    events: int
    bytes: int
    away: bool = False

    @property
    def month(self) -> str:
        """The month's folder, such as `month=2026-11`."""
        return self.path.partition("/")[0]


class Books:
    """One connection to a folder's books."""

    def __init__(self, path: Path) -> None:
        """Open the file; a new one stays empty until `begin`.

        Raises:
            FatalSinkError: it was written by a newer meter.
            sqlite3.DatabaseError: it cannot be read.
        """
        self._connection = connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None
        )
        try:
            # A commit in this mode is durable when it returns; only then are files shown.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            standing = self.standing()
            if standing is not None and standing.layout > LAYOUT:
                raise FatalSinkError(
                    f"{path} was written by a newer meter (layout {standing.layout}, this one "
                    f"knows {LAYOUT}); update meter, or give the sink another `path:`"
                )
        except BaseException:
            connection.close()
            raise

    def begin(self, sink: str, journal_id: str) -> Standing:
        """Return how the books stand; empty ones begin in this sink's name."""
        with self.transaction():
            standing = self.standing()
            if standing is None:
                for table in _TABLES:
                    self._connection.execute(table)
                standing = Standing(LAYOUT, sink, journal_id, 0, 0, 0)
                self._connection.execute(
                    "INSERT INTO folder VALUES (1, ?, ?, ?, ?, ?, ?)", standing
                )
        return standing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block writes, or nothing of it; nobody else writes meanwhile."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def standing(self) -> Standing | None:
        """Return whose folder it is, and how far it was filled; None before `begin`."""
        if not self._connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            return None
        row = self._connection.execute(
            "SELECT layout, sink, journal_id, checkpoint, delivered, batches FROM folder"
        ).fetchone()
        return Standing(*row)

    def files(self) -> list[KnownFile]:
        """Return every file that counts, in order of their names."""
        rows = self._connection.execute(
            "SELECT path, events, bytes, away FROM files ORDER BY path"
        ).fetchall()
        return [KnownFile(path, events, size, bool(away)) for path, events, size, away in rows]

    def take(self, event_ids: Sequence[str]) -> set[str]:
        """Note events as taken, and return those that were not before; within a transaction."""
        digests = {_digest(event_id): event_id for event_id in event_ids}
        before = self._connection.total_changes
        # In order of the digests, neighbours share a page.
        rows = [(digest,) for digest in sorted(digests)]
        self._connection.execute("SAVEPOINT take")
        self._connection.executemany("INSERT OR IGNORE INTO taken VALUES (?)", rows)
        if self._connection.total_changes - before == len(rows):
            self._connection.execute("RELEASE take")
            return set(event_ids)
        self._connection.execute("ROLLBACK TO take")
        self._connection.execute("RELEASE take")
        known = "SELECT 1 FROM taken WHERE digest = ?"
        fresh = [row for row in rows if not self._connection.execute(known, row).fetchone()]
        self._connection.executemany("INSERT INTO taken VALUES (?)", fresh)
        return {digests[digest] for (digest,) in fresh}

    def record(self, files: Collection[KnownFile], *, checkpoint: int) -> None:
        """Add a batch's files, and move the checkpoint unless that goes back."""
        self._connection.executemany(
            "INSERT INTO files (path, events, bytes) VALUES (?, ?, ?)",
            [(file.path, file.events, file.bytes) for file in files],
        )
        self._connection.execute(
            "UPDATE folder SET checkpoint = max(checkpoint, ?), delivered = delivered + ?,"
            " batches = batches + ?",
            (checkpoint, sum(file.events for file in files), bool(files)),
        )

    def mark_away(self, paths: Collection[str], *, away: bool) -> None:
        """Note that files were moved away with their month, or are back."""
        self._connection.executemany(
            "UPDATE files SET away = ? WHERE path = ?", [(away, path) for path in paths]
        )

    def close(self) -> None:
        """Close the file; its log is folded in."""
        self._connection.close()


def _digest(event_id: str) -> bytes:
    return blake2b(event_id.encode(), digest_size=_ID_BYTES).digest()
