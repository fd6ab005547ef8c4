"""The pace: a token bucket below Stripe's limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Pace"]

BURST_SECONDS: Final = 0.2
"""The bucket holds as much as this many seconds let through, so that any second stays below the
rate and this share more."""


class Pace:
    """Says when the next call may begin; for one thread."""

    def __init__(self, per_second: float, *, monotonic: Callable[[], float]) -> None:
        """Start with a full bucket."""
        self._per_second = per_second
        self._most = max(1.0, per_second * BURST_SECONDS)
        self._tokens = self._most
        self._monotonic = monotonic
        self._at = monotonic()

    def take(self) -> float:
        """Take a token and return 0, or return how many seconds it is until there is one."""
        now = self._monotonic()
        self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long: Stripe asked for it. Of several, the longest counts."""
        self._tokens = min(self._tokens, -seconds * self._per_second)
