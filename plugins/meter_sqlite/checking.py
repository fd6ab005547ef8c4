"""What `meter check --connect` finds of a `sqlite` sink: its file, and whose it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from meter.errors import FatalSinkError, RetryableSinkError
from meter.sinks import room_for

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check"]

BUSY_SECONDS = 10.0


def check(path: Path, *, table: str, checkpoints: str, sink: str, journal_id: str) -> list[str]:
    """Look whether the file can be written, and whose it is; makes and changes nothing.

    Args:
        path: the file.
        table: where this sink's rows are.
        checkpoints: the table that names the journal of each sink.
        sink: the sink's name in the pipelines file.
        journal_id: the journal that it should have been filled from.

    Raises:
        FatalSinkError: it cannot, it is no database, or it is another journal's.
        RetryableSinkError: it is locked for too long.
    """
    lines = [room_for(path)]
    if not path.exists():
        return lines
    # Without a log beside it nobody writes it now: then not even a lock file has to be made.
    alone = not path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?{'immutable=1' if alone else 'mode=ro'}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            row = (
                checkpoints in tables
                and connection.execute(
                    f"SELECT journal_id FROM {checkpoints} WHERE sink = ?",  # noqa: S608  because it is a constant of the sink
                    (sink,),
                ).fetchone()
            )
            count = (
                table in tables
                and connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  because it is a checked name
            )
    except sqlite3.OperationalError as error:
        raise RetryableSinkError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise FatalSinkError(
            f"{path} is not a SQLite database ({error}); give the sink another `path:`"
        ) from error
    if not row:
        return lines
    if row[0] != journal_id:
        raise FatalSinkError(
            f"{path} was filled from another journal: move it away, and it is filled afresh; or "
            "name the right `journal:`"
        )
    return [*lines, f"{count:,} events are in its table {table}"]
