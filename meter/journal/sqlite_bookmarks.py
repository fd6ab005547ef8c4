"""Bookmarks in SQLite: a few rows beside the journal's own id."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from meter.journal.bookmarks import Bookmarks

if TYPE_CHECKING:
    from meter.journal.records import Ticket

__all__ = ["SqliteBookmarks"]

_PREFIX: Final = "bookmark:"


class SqliteBookmarks(Bookmarks):
    """The bookmarks in a SQLite journal."""

    def __init__(
        self,
        select: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]],
        call: Callable[[Callable[[sqlite3.Connection], None]], Ticket[None]],
    ) -> None:
        """Read with `select`, write with `call`: the journal's own."""
        self._select = select
        self._call = call

    def get(self, name: str) -> str | None:
        """Return what was written down under a name, or None."""
        rows = self._select("SELECT value FROM meta WHERE key = ?", (_PREFIX + name,))
        return str(rows[0][0]) if rows else None

    def put(self, name: str, words: str | None) -> Ticket[None]:
        """Write something down under a name; None takes it away."""
        key = _PREFIX + name

        def run(connection: sqlite3.Connection) -> None:
            if words is None:
                connection.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                connection.execute(
                    "INSERT INTO meta VALUES (?, ?)"
                    " ON CONFLICT DO UPDATE SET value = excluded.value",
                    (key, words),
                )

        return self._call(run)
