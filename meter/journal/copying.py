"""A copy of a journal in use, by SQLite's own means, and checked before it counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from meter.errors import JournalError
from meter.journal.sqlite_schema import APPLICATION_ID

__all__ = ["Copied", "copy_journal"]

PAGES: Final = 4096
"""Copied between two looks at the progress: 16 MB."""
_TELLS: Final = (
    "SELECT (SELECT value FROM meta WHERE key = 'journal_id'),"
    " (SELECT count(*) FROM events), (SELECT coalesce(max(offset), 0) FROM events)"
)


class Copied(NamedTuple):
    """What a copy holds."""

    journal_id: str
    events: int
    head: int
    bytes: int


def copy_journal(location: str, target: Path, tell: Callable[[int, int], None]) -> Copied:
    """Copy a journal into a file as it stands at one moment; a writer need not wait.

    Args:
        location: what `journal:` names.
        target: an empty file, which only its owner can read.
        tell: called with the pages that are copied, and all.

    Raises:
        JournalError: there is none, it cannot be read, or the copy is not sound.
    """
    path = Path(location)
    if not path.exists():
        raise JournalError(f"there is no journal at {path}; `meter run` makes it")
    try:
        with closing(_connect(path)) as source:
            (application,) = source.execute("PRAGMA application_id").fetchone()
            if application != APPLICATION_ID:
                raise JournalError(f"{path} is no meter journal; see `journal:`")
            # Held open, it is one moment for all the pages; writers go on beside it.
            source.execute("BEGIN")
            here = source.execute(_TELLS).fetchone()
            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                source.backup(copy, pages=PAGES, progress=lambda _s, left, n: tell(n - left, n))
            source.execute("COMMIT")
        there = _checked(target)
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise JournalError(f"there is no room for the copy in {target.parent}") from None
        raise JournalError(
            f"{path} could not be copied: {error}; look with: meter journal check"
        ) from None
    if here != there:
        raise JournalError(f"the copy of {path} holds {there}, not {here}; there is no copy")
    journal_id, events, head = there
    return Copied(str(journal_id), events, head, target.stat().st_size)


def _checked(target: Path) -> tuple[str, int, int]:
    """Look whether the copy is sound, and leave it as one file."""
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        faults = [text for (text,) in copy.execute("PRAGMA integrity_check(3)")]
        if faults != ["ok"]:
            raise JournalError(
                f"the copy is not sound, so the journal is not: {'; '.join(faults)}; look with: "
                "meter journal check"
            )
        told: tuple[str, int, int] = copy.execute(_TELLS).fetchone()
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    return told


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=10, isolation_level=None
    )
    connection.execute("PRAGMA query_only = ON")
    return connection
