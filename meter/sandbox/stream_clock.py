"""The streaming double's clock: the provider's seconds may run faster than the wall's."""

import time
from datetime import UTC, datetime


class StreamClock:
    """Measures sessions in the provider's seconds.

    With a `time_scale` of 60 a session that was open for one second of the wall clock counts as
    a minute, so that a test need not wait for hours. Dates are always the wall's.
    """

    def __init__(self, *, time_scale: float) -> None:
        if not time_scale > 0:
            raise ValueError(f"time_scale must be more than 0, not {time_scale!r}")
        self._time_scale = time_scale

    def seconds(self) -> float:
        """Return the provider's seconds since some moment that never changes."""
        return time.monotonic() * self._time_scale

    def wall_seconds(self, seconds: float) -> float:
        """Return how long so many of the provider's seconds take on the wall clock."""
        return seconds / self._time_scale

    def utc(self) -> datetime:
        """Return the wall clock's time as aware UTC."""
        return datetime.now(UTC)
