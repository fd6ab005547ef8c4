"""Reading the table back, beside whoever writes it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from meter.errors import FatalSinkError, RetryableSinkError
from meter.events import format_time
from meter.sinks import Written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["rows"]

BUSY_SECONDS: Final = 10.0
_PAGE: Final = 5_000
_MICRO: Final = Decimal(1_000_000)


def rows(
    path: Path, table: str, since: datetime | None, until: datetime | None
) -> Iterator[Written]:
    """Yield the rows of the table, a page at a time, so that no writer waits for the reader.

    Args:
        path: the database; without it there are no rows.
        table: a checked name.
        since: usage from then on; None for all.
        until: usage before then; None for all.

    Raises:
        RetryableSinkError: it cannot be read now.
        FatalSinkError: it is no database, or has no such table.
    """
    if not path.exists():
        return
    conditions, bounds = ["rowid > ?"], []
    for comparison, moment in ((">=", since), ("<", until)):
        if moment is not None:
            # What is no time is yielded whatever is asked for: it has to be seen.
            conditions.append(
                f"(occurred_at {comparison} ? OR occurred_at NOT LIKE '____-__-__T%')"
            )
            bounds.append(format_time(moment))
    page = (
        "SELECT rowid, event_id, customer_id, seconds, microseconds, kind, occurred_at"  # noqa: S608  because the table's name is checked, and the rest is ours
        f" FROM {table} WHERE {' AND '.join(conditions)} ORDER BY rowid LIMIT {_PAGE}"
    )
    try:
        with closing(_connect(path)) as connection:
            after = -(2**63)
            while found := connection.execute(page, (after, *bounds)).fetchall():
                for _, *cells in found:
                    yield _written(*cells)
                after = found[-1][0]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise FatalSinkError(f"{path} has no table {table}: {error}") from error
        raise RetryableSinkError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise FatalSinkError(f"{path} is not a SQLite database ({error})") from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file for reading only; what is no UTF-8 is shown, not refused."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
    return connection


def _written(
    event_id: Any, customer_id: Any, seconds: Any, microseconds: Any, kind: Any, occurred_at: Any
) -> Written:
    faults = []
    exact = moment = None
    if seconds is not None:
        try:
            exact = Decimal(str(seconds))
        except InvalidOperation:
            faults.append(f"seconds is {seconds!r}, no number")
        else:
            if not exact.is_finite():
                faults.append(f"seconds is {seconds!r}, no number")
                exact = None
            elif microseconds != _micros(exact):
                faults.append(f"microseconds is {microseconds!r}, and seconds is {seconds!r}")
    elif microseconds is not None:
        faults.append(f"microseconds is {microseconds!r}, and seconds is not there")
    try:
        moment = datetime.fromisoformat(occurred_at)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    except (TypeError, ValueError):
        faults.append(f"occurred_at is {occurred_at!r}, no time")
    return Written(
        str(event_id),
        customer_id=None if customer_id is None else str(customer_id),
        seconds=exact,
        kind=None if kind is None else str(kind),
        occurred_at=moment,
        fault="; ".join(faults),
    )


def _micros(seconds: Decimal) -> int:
    """Return whole microseconds, rounded half-even as the sink does it."""
    return round(seconds * _MICRO)
