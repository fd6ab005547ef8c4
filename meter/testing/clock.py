"""A clock that a test owns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["FakeClock"]

NOON: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class FakeClock:
    """A `meter.clock.Clock` that moves only when it is told to.

    Args:
        start: the moment that it shows at first, aware; by default noon of one fixed day.
    """

    def __init__(self, start: datetime = NOON) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """Return the moment that the test has come to, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return the same in seconds."""
        return self._now.timestamp()

    def advance(self, **span: float) -> None:
        """Move on by a span in the words of `timedelta`: `advance(seconds=5)`."""
        self._now += timedelta(**span)

    def advance_to(self, moment: datetime) -> None:
        """Move on to a moment, aware; one that has passed leaves the clock where it is."""
        self._now = max(self._now, moment.astimezone(UTC))
