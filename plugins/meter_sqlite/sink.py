"""The sink `sqlite`: a table that a person can open at once with sqlite-utils or Datasette."""

from __future__ import annotations

import sqlite3
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from pydantic import Field

from meter.errors import FatalSinkError, RetryableSinkError
from meter.events import format_seconds, format_time
from meter.sinks import FilePath, Guarantee, Options, Position, Report, Sink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from meter.events import Event
    from meter.sinks import Batch, Written

__all__ = ["SqliteOptions", "SqliteSink"]

COLUMNS: Final[dict[str, type]] = {
    "event_id": str,
    "kind": str,
    "customer_id": str,
    "seconds": str,
    "microseconds": int,
    "provider_id": str,
    "collector": str,
    "occurred_at": str,
    "recorded_at": str,
    "model": str,
    "audio_seconds": str,
    "dimensions": str,
}
"""`seconds` is the exact decimal as text; `microseconds` is there for exact sums."""

CHECKPOINTS: Final = "meter_checkpoints"
BUSY_SECONDS: Final = 10.0
_CACHE_KIB: Final = 32 * 1024
_CHECKPOINT_PAGES: Final = 32_000
_MICRO: Final = Decimal(1_000_000)
_ONE: Final = Decimal(1)

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class SqliteOptions(Options):
    """Options of `type: sqlite`."""

    path: Annotated[FilePath, Field(description="The database file; made if it does not exist.")]
    table: Annotated[
        str,
        Field(
            description="The table with one row an event.", pattern="^[A-Za-z][A-Za-z0-9_]{0,62}$"
        ),
    ] = "usage"


class SqliteSink(Sink):
    """Writes each event as one row; rows and checkpoint are one transaction."""

    type = "sqlite"
    guarantee = Guarantee.ATOMIC
    guarantee_note = "the rows and this sink's checkpoint are committed in one transaction"
    mending = "delete the row that is wrong; a replay of its event writes it anew"
    Options = SqliteOptions
    batch_size = 10_000
    options: SqliteOptions

    _connection: sqlite3.Connection | None = None
    _indexed = False
    _insert = ""
    _move = ""
    _inode = 0

    @classmethod
    def sandboxed(cls, options: SqliteOptions, doubles: Mapping[str, str]) -> SqliteOptions:
        """Return the options as they are: they name a file only."""
        del doubles
        return options

    def check(self) -> Sequence[str]:
        """Look whether the file can be written, and whose it is; makes and changes nothing.

        Raises:
            SinkError: it cannot, it is no database, or it is another journal's.
        """
        from meter_sqlite.checking import check

        return check(
            self.options.path,
            table=self.options.table,
            checkpoints=CHECKPOINTS,
            sink=self.context.name,
            journal_id=self.context.journal_id,
        )

    def open(self) -> Position:
        """Open the file, make what is missing, and say where it stands.

        Raises:
            FatalSinkError: not a database, or a table of that name with other columns.
            RetryableSinkError: the file cannot be opened or is locked for too long.
        """
        self.close()
        path = self.options.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._connection = connection
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            self._make_tables(connection)
            row = connection.execute(
                f"SELECT journal_id, checkpoint, delivered FROM {CHECKPOINTS} WHERE sink = ?",  # noqa: S608  because it is a constant
                (self.context.name,),
            ).fetchone()
            self._inode = path.stat().st_ino
        except sqlite3.OperationalError as error:
            raise RetryableSinkError(f"{path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise FatalSinkError(
                f"{path} is not a SQLite database ({error}); give the sink another `path:`"
            ) from error
        except OSError as error:
            raise RetryableSinkError(f"{path}: {error.strerror}") from error
        names = ", ".join(COLUMNS)
        marks = ", ".join("?" * len(COLUMNS))
        self._insert = (
            f"INSERT INTO {self.options.table} ({names}) VALUES ({marks})"  # noqa: S608  a checked name
            " ON CONFLICT (event_id) DO NOTHING"
        )
        self._move = (
            f"INSERT INTO {CHECKPOINTS} VALUES (?, ?, ?, ?) ON CONFLICT (sink) DO UPDATE SET"  # noqa: S608  because it is a constant
            " checkpoint = max(checkpoint, excluded.checkpoint),"
            " delivered = delivered + excluded.delivered"
        )
        return Position(*row) if row else Position(self.context.journal_id, 0, 0)

    def deliver(self, batch: Batch) -> Report:
        """Insert rows and move the checkpoint as one; what is there already stays.

        Raises:
            RetryableSinkError: the database is locked, the disk is full, or the file is gone.
        """
        connection = self._connection
        if connection is None:
            raise RetryableSinkError("not open")
        self._check_file()
        rows = [_row(event) for event in batch.events]
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                before = connection.total_changes
                connection.executemany(self._insert, rows)
                taken = connection.total_changes - before
                connection.execute(
                    self._move,
                    (
                        self.context.name,
                        self.context.journal_id,
                        batch.checkpoint if batch.purpose == "new" else 0,
                        taken,
                    ),
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise RetryableSinkError(f"{self.options.path}: {error}") from error
        if not self._indexed and len(batch.events) < self.batch_size:
            self._make_indexes(connection)
        return Report.everything(batch)

    def written(self, since: datetime | None, until: datetime | None) -> Iterator[Written]:
        """Read the table back, for `meter reconcile`.

        Raises:
            RetryableSinkError, FatalSinkError: it cannot be read.
        """
        from meter_sqlite.reading import rows

        return rows(self.options.path, self.options.table, since, until)

    def close(self) -> None:
        """Close the file; its log is folded in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _check_file(self) -> None:
        """Notice a file that was removed or replaced: rows written to it would vanish."""
        try:
            inode = self.options.path.stat().st_ino
        except OSError as error:
            raise RetryableSinkError(f"{self.options.path}: {error.strerror}") from error
        if inode != self._inode:
            raise RetryableSinkError(f"{self.options.path} was replaced; opening the new one")

    def _make_indexes(self, connection: sqlite3.Connection) -> None:
        """Index what people ask for, once the sink has caught up.

        Kept current row by row, an index costs a first filling more than a third of its speed.
        """
        from sqlite_utils import Database

        table = Database(connection).table(self.options.table)
        table.create_index(["customer_id", "occurred_at"], if_not_exists=True)
        table.create_index(["occurred_at"], if_not_exists=True)
        self._indexed = True

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        from sqlite_utils import Database

        database = Database(connection)
        table = database.table(self.options.table)
        connection.execute("BEGIN IMMEDIATE")
        try:
            if table.exists():
                missing = COLUMNS.keys() - table.columns_dict.keys()
                if missing:
                    raise FatalSinkError(
                        f"{self.options.path}: the table {self.options.table} is not meter's: it "
                        f"has no column {min(missing)!r}; give the sink another `table:` or `path:`"
                    )
            else:
                table.create(COLUMNS, pk="event_id", not_null={"kind", "customer_id"})
            if not database.table(CHECKPOINTS).exists():
                database.table(CHECKPOINTS).create(
                    {"sink": str, "journal_id": str, "checkpoint": int, "delivered": int},
                    pk="sink",
                    not_null={"journal_id", "checkpoint", "delivered"},
                )
            view = f"{self.options.table}_by_month"
            if view not in database.view_names():
                database.create_view(view, _by_month(self.options.table))
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _by_month(table: str) -> str:
    return (
        "SELECT customer_id, substr(occurred_at, 1, 7) AS month, count(*) AS events,"  # noqa: S608  a checked name
        " sum(microseconds) / 1000000.0 AS seconds,"
        " sum(microseconds) / 3600000000.0 AS hours, sum(microseconds) AS microseconds"
        f" FROM {table} WHERE microseconds IS NOT NULL GROUP BY customer_id, month"
    )


def _row(event: Event) -> tuple[Any, ...]:
    seconds = event.billed_seconds
    audio: Decimal | None = getattr(event, "audio_seconds", None)
    return (
        event.event_id,
        event.kind,
        event.customer_id,
        None if seconds is None else format_seconds(seconds),
        None if seconds is None else _microseconds(seconds),
        event.provider_id,
        event.collector,
        format_time(event.occurred_at),
        format_time(event.recorded_at),
        getattr(event, "model", None),
        None if audio is None else format_seconds(audio),
        _encode(event.dimensions).decode() if event.dimensions else "{}",
    )


def _microseconds(seconds: Decimal) -> int:
    """Return whole microseconds; the few nanoseconds beyond are rounded half-even."""
    return int((seconds * _MICRO).quantize(_ONE, rounding=ROUND_HALF_EVEN))
