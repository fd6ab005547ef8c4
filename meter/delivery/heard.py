"""A sink's durable state, whose commits tell that the sink is alive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meter.sinks import SinkState, StateWrite

__all__ = ["HeardState"]


class HeardState:
    """Passes everything on; a call that takes long and commits now and then does not hang."""

    def __init__(self, state: SinkState, heard: Callable[[], None]) -> None:
        """Stand before a state; `heard` is called after each of its commits."""
        self._state = state
        self._heard = heard

    def get(self, key: str) -> str | None:
        """Return the value under a key, or None."""
        return self._state.get(key)

    def get_many(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of those keys that are there."""
        return self._state.get_many(keys)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> list[tuple[str, str]]:
        """Return pairs in key order."""
        return self._state.scan(prefix, after=after, limit=limit)

    def put(self, key: str, value: str) -> StateWrite:
        """Make a write; nothing is stored yet."""
        return self._state.put(key, value)

    def delete(self, key: str) -> StateWrite:
        """Make a deletion; nothing is stored yet."""
        return self._state.delete(key)

    def commit(self, writes: Iterable[StateWrite]) -> None:
        """Store writes in one transaction, and be heard."""
        self._state.commit(writes)
        self._heard()

    def scoped(self, scope: str) -> HeardState:
        """Return the state of another scope of this sink's type."""
        return HeardState(self._state.scoped(scope), self._heard)
