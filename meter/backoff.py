"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Final

__all__ = ["Backoff", "delay"]

FIRST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 600.0


def delay(attempt: int, chance: random.Random, *, most: float = MOST_SECONDS) -> timedelta:
    """Return the wait before attempt `attempt + 1`: doubling from 1 s, with full jitter above half.

    The jitter keeps many waiting events from coming back at the same moment.
    """
    ceiling = min(most, FIRST_SECONDS * 2.0 ** min(attempt - 1, 30))
    return timedelta(seconds=chance.uniform(ceiling / 2, ceiling))


class Backoff:
    """The waiting for one destination that fails as a whole; success resets it."""

    def __init__(self, chance: random.Random, *, most: float = 60.0) -> None:
        """Start with no failure; `most` is the longest wait in seconds."""
        self.failures = 0
        self._chance = chance
        self._most = most

    def fail(self, retry_after: float | None) -> float:
        """Count a failure and return the seconds to wait, at least what the destination asked."""
        self.failures += 1
        waited = delay(self.failures, self._chance, most=self._most).total_seconds()
        return max(waited, retry_after or 0.0)

    def succeed(self) -> bool:
        """Count a success; tell whether it ended a run of failures."""
        recovered = self.failures > 0
        self.failures = 0
        return recovered
