"""A destination with a mind of its own: it keeps each id once, and fails when it is told to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path


class Busy(Exception):
    pass


class Refused(Exception):
    pass


class Till:
    """What a billing service does, in a file: `charge` is one request and one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fault = path.with_suffix(".fault")

    def charge(self, rows: Iterable[tuple[str, str, str]]) -> None:
        fault = self._fault.read_text() if self._fault.exists() else ""
        self._fault.unlink(missing_ok=True)
        if fault == "busy":
            raise Busy("come back later")
        if fault == "refuses":
            raise Refused("none of these")
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS charges"
                " (id TEXT PRIMARY KEY, customer TEXT, seconds TEXT)"
            )
            connection.executemany("INSERT OR IGNORE INTO charges VALUES (?, ?, ?)", rows)
        if fault == "answer lost":
            raise TimeoutError("no answer")

    def fail_next(self, fault: str) -> None:
        self._fault.write_text(fault)

    def heal(self) -> None:
        self._fault.unlink(missing_ok=True)
