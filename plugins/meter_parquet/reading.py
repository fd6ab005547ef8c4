"""Reading the folder back, beside whoever writes files into it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from meter.errors import FatalSinkError, RetryableSinkError
from meter.sinks import Elsewhere, Written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meter_parquet.folder import Folder

__all__ = ["contents"]

BUSY_SECONDS: Final = 10.0
_AT_ONCE: Final = 10_000
_COLUMNS: Final = ("event_id", "customer_id", "seconds", "kind", "occurred_at")


def contents(folder: Folder) -> Iterator[Written | Elsewhere]:
    """Yield the rows of every file that counts, and which months were moved away.

    Raises:
        RetryableSinkError: something cannot be read now.
        FatalSinkError: the books or a file are damaged.
    """
    if not folder.books.exists():
        return
    away = set()
    for path, is_away in _counting(folder.books):
        month = path.partition("/")[0]
        if not is_away:
            yield from _rows(folder, path)
        elif month not in away:
            away.add(month)
            yield Elsewhere(*_bounds(month), f"{month} was moved away")


def _counting(books: Path) -> list[tuple[str, bool]]:
    """Return the files that count, and whether each was moved away; the books are only read."""
    try:
        with closing(
            sqlite3.connect(f"{books.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        ) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
                return []
            found = connection.execute("SELECT path, away FROM files ORDER BY path").fetchall()
    except sqlite3.OperationalError as error:
        raise RetryableSinkError(f"{books}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise FatalSinkError(f"{books} is damaged ({error})") from error
    return [(path, bool(away)) for path, away in found]


def _rows(folder: Folder, path: str) -> Iterator[Written]:
    """Yield the rows of one file; one that is not there has none."""
    import pyarrow as pa  # type: ignore[import-untyped]  # because it has no types
    from pyarrow import parquet

    place = folder.present(path)
    if place is None:
        return
    try:
        with parquet.ParquetFile(place) as file:
            for batch in file.iter_batches(batch_size=_AT_ONCE, columns=list(_COLUMNS)):
                columns = [batch.column(name).to_pylist() for name in _COLUMNS]
                for event_id, customer, seconds, kind, at in zip(*columns, strict=True):
                    yield Written(
                        event_id,
                        customer_id=customer,
                        seconds=seconds,
                        kind=kind,
                        occurred_at=at,
                        place=path,
                    )
    except FileNotFoundError:
        return
    except OSError as error:
        raise RetryableSinkError(f"{place}: {error}") from error
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise FatalSinkError(f"{place} is no Parquet file of meter's any more: {error}") from error


def _bounds(month: str) -> tuple[datetime, datetime]:
    """Return the bounds of a month's folder, such as `month=2026-11`, UTC."""
    year, number = map(int, month.removeprefix("month=").split("-"))
    later = divmod(number, 12)
    return (
        datetime(year, number, 1, tzinfo=UTC),
        datetime(year + later[0], later[1] + 1, 1, tzinfo=UTC),
    )
