"""Look at a whole SQLite journal, in one read transaction: nothing is changed, nobody waits.

While it reads, whoever writes goes on; SQLite only cannot fold its log in until it is done.
"""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Final

from meter.errors import JournalError
from meter.journal import sqlite_check_events, sqlite_check_orphans, sqlite_check_sinks
from meter.journal.checked import Checked, Finding, Tell, some
from meter.journal.sqlite_schema import APPLICATION_ID, VERSION, prepare

__all__ = ["check_journal"]

LARGE_LOG: Final = 1024**3
"""Bytes; a log is folded in at about 128 MB, unless somebody keeps reading."""
CACHE_KIB: Final = 32 * 1024
STEPS: Final = 200_000
"""How many of SQLite's own steps pass between two looks at the progress."""
RESTORE: Final = (
    "stop `meter run`, and keep this file as it is; put the newest sound copy in its place "
    "(meter journal copy), or import an export into an empty journal"
)


def check_journal(location: str, tell: Tell, *, thorough: bool = True) -> Checked:
    """Look at everything in a journal.

    Args:
        location: what `journal:` names.
        tell: hears how far it is.
        thorough: also have SQLite read every page of the file, which takes the longest.

    Raises:
        JournalError: there is none, or it cannot be read at all.
    """
    path = Path(location)
    if not path.exists():
        raise JournalError(f"there is no journal at {path}; `meter run` makes it")
    checked = Checked()
    try:
        with closing(_connect(path)) as connection:
            connection.execute("BEGIN")
            if _tables(connection, path, checked):
                if thorough:
                    _pages(connection, checked, tell)
                _contents(connection, checked, tell)
    except sqlite3.Error as error:
        raise JournalError(f"{path} cannot be read: {error}; {RESTORE}") from None
    checked.findings += _files(path)
    return checked


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=10, isolation_level=None
    )
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _tables(connection: sqlite3.Connection, path: Path, checked: Checked) -> bool:
    """Look at what the file is, and at its tables; tell whether they can be read."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise JournalError(f"{path} is no meter journal; see `journal:`")
    if version > VERSION:
        raise JournalError(
            f"{path} was made by a newer meter (version {version} of its tables, this one knows "
            f"{VERSION}); update meter"
        )
    checked.version = version
    if version < VERSION:
        checked.findings.append(
            Finding(
                "schema",
                f"its tables are of version {version}, this meter's of {VERSION}",
                "an older meter made it; nothing in it was looked at",
                "run `meter status`, which brings it up to date, then check again",
            )
        )
        return False
    have = set(connection.execute("SELECT type, name FROM sqlite_master"))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as blank:
        prepare(blank, ":memory:")
        wanted = set(blank.execute("SELECT type, name FROM sqlite_master"))
    count, examples = some(f"{kind} {name}" for kind, name in sorted(wanted - have))
    if count:
        checked.findings.append(
            Finding(
                "schema",
                "tables, indexes or views are missing",
                "somebody changed the file; where a table is missing, nothing was looked at",
                RESTORE,
                count,
                examples,
            )
        )
    if any(kind == "table" for kind, _ in wanted - have):
        return False
    names = dict(connection.execute("SELECT key, value FROM meta WHERE key = 'journal_id'"))
    checked.journal_id = names.get("journal_id", "")
    if not checked.journal_id:
        checked.findings.append(
            Finding(
                "identity",
                "the journal has no id",
                "sinks cannot tell whether what they have is from it",
                RESTORE,
            )
        )
    return True


def _pages(connection: sqlite3.Connection, checked: Checked, tell: Tell) -> None:
    """Have SQLite read every page, and compare every index with its table."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    checked.looked["pages"] = pages
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += STEPS
        tell("Reading every page", steps, None)

    connection.set_progress_handler(step, STEPS)
    try:
        found = [text for (text,) in connection.execute("PRAGMA integrity_check")]
        found = [text for text in found if text != "ok"]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    finally:
        connection.set_progress_handler(None, 0)
    count, examples = some(found)
    if count:
        checked.findings.append(
            Finding(
                "integrity",
                "SQLite finds the file damaged",
                "a disk or another program wrote into it; what is read from it may be wrong",
                RESTORE,
                count,
                examples,
            )
        )


def _contents(connection: sqlite3.Connection, checked: Checked, tell: Tell) -> None:
    """Look at the rows; one that cannot be read ends that part only."""
    for look in (
        sqlite_check_events.look,
        sqlite_check_sinks.look,
        sqlite_check_orphans.look,
    ):
        try:
            look(connection, checked, tell)
        except sqlite3.DatabaseError as error:
            checked.findings.append(
                Finding(
                    "integrity",
                    f"rows cannot be read: {error}",
                    "the file is damaged; not everything was looked at",
                    RESTORE,
                )
            )


def _files(path: Path) -> list[Finding]:
    """Look at the file, and at those that SQLite keeps beside it."""
    findings = []
    for suffix in ("", "-wal", "-shm", ".lock"):
        file = path.with_name(path.name + suffix)
        try:
            found = file.stat()
        except OSError:
            continue
        if found.st_mode & stat.S_IWOTH:
            findings.append(
                Finding(
                    "permissions",
                    f"anybody on this machine may write to {file.name}",
                    "its contents cannot be relied on",
                    f"chmod o-w {file.name}",
                )
            )
        elif found.st_mode & stat.S_IROTH and not suffix:
            findings.append(
                Finding(
                    "permissions",
                    f"anybody on this machine may read {file.name}",
                    "it names your customers and what they used",
                    f"chmod o-r {file.name}, if others use this machine",
                    grave=False,
                )
            )
        if suffix == "-wal" and found.st_size > LARGE_LOG:
            findings.append(
                Finding(
                    "log",
                    f"{file.name} has {found.st_size} bytes",
                    "something has been reading for a long time, so that SQLite cannot fold it in",
                    "end what reads (a backup, a shell with an open transaction)",
                    grave=False,
                )
            )
    return findings
