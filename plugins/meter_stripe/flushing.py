"""A person's wish that everything leaves now: a row in the sink's own state, seen by `tend`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from meter.events import format_time

if TYPE_CHECKING:
    from meter.sinks import SinkState, StateWrite

__all__ = ["Flushing", "ask_to_flush"]

KEY: Final = "flush"
LASTS: Final = timedelta(minutes=5)
"""How long a wish holds: what was put off a little may leave without its pace as well."""


def ask_to_flush(state: SinkState, now: datetime) -> StateWrite:
    """Make the write that asks a running sink to send everything, from now on for some minutes."""
    return state.put(KEY, format_time(now + LASTS))


class Flushing:
    """Whether a person asked for it."""

    def __init__(self, state: SinkState) -> None:
        """Know of nothing yet; `state` is the sink's own."""
        self._state = state
        self._seen: str | None = None
        self._until: datetime | None = None

    def asked(self, now: datetime) -> bool:
        """Look again; tell whether there is a wish that was not known yet and still holds."""
        value = self._state.get(KEY)
        if value == self._seen:
            return False
        self._seen = value
        self._until = None if value is None else datetime.fromisoformat(value).astimezone(UTC)
        return self.holds(now)

    def holds(self, now: datetime) -> bool:
        """Tell whether everything should leave now."""
        return self._until is not None and now < self._until
