"""The state of sinks, in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meter.sinks import StateWrite

if TYPE_CHECKING:
    from meter.journal.records import Ticket

__all__ = ["SqliteSinkState", "write_state"]


def write_state(connection: sqlite3.Connection, writes: Iterable[StateWrite]) -> None:
    """Apply writes to the state of sinks, in order."""
    for write in writes:
        if write.value is None:
            connection.execute(
                "DELETE FROM sink_state WHERE scope = ? AND key = ?", (write.scope, write.key)
            )
        else:
            connection.execute(
                "INSERT INTO sink_state VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                (write.scope, write.key, write.value),
            )


@dataclass(frozen=True, slots=True)
class SqliteSinkState:
    """`meter.sinks.SinkState` on the journal's own file."""

    scope: str
    sink_type: str
    select: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
    submit: Callable[[Callable[[sqlite3.Connection], None]], Ticket[None]]

    def get(self, key: str) -> str | None:
        """Return the value under a key, or None."""
        rows = self.select(
            "SELECT value FROM sink_state WHERE scope = ? AND key = ?", (self.scope, key)
        )
        return str(rows[0][0]) if rows else None

    def get_many(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of those keys that are there."""
        return dict(
            self.select(
                "SELECT key, value FROM sink_state WHERE scope = ?"
                " AND key IN (SELECT value FROM json_each(?))",
                (self.scope, json.dumps(list(keys))),
            )
        )

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> list[tuple[str, str]]:
        """Return up to `limit` pairs in key order: keys with the prefix, beyond `after`."""
        # One bound on each side, or SQLite would walk the whole scope.
        lower, beyond = (after, ">") if after >= prefix else (prefix, ">=")
        rows = self.select(
            f"SELECT key, value FROM sink_state WHERE scope = ? AND key {beyond} ?"  # noqa: S608  because only an operator of ours is put in
            " AND key < ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?",
            (self.scope, lower, f"{prefix}\U0010ffff", len(prefix), prefix, limit),
        )
        return [(str(key), str(value)) for key, value in rows]

    def put(self, key: str, value: str) -> StateWrite:
        """Make a write; nothing is stored yet."""
        return StateWrite(self.scope, key, value)

    def delete(self, key: str) -> StateWrite:
        """Make a deletion; nothing is stored yet."""
        return StateWrite(self.scope, key, None)

    def commit(self, writes: Iterable[StateWrite]) -> None:
        """Store writes in one transaction of their own; durable when this returns."""
        wanted = list(writes)
        self.submit(lambda connection: write_state(connection, wanted)).wait()

    def scoped(self, scope: str) -> SqliteSinkState:
        """Return the state of another scope of this sink's type."""
        return SqliteSinkState(
            f"type:{self.sink_type}:{scope}", self.sink_type, self.select, self.submit
        )
