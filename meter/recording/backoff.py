"""How long a recorder waits before it tries a meter again that did not take what it has."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["Backoff"]

FIRST_SECONDS: Final = 0.5
MOST_SECONDS: Final = 60.0
MOST_ASKED_SECONDS: Final = 600.0
"""A `Retry-After` beyond this is not believed."""


class Backoff:
    """Doubles from half a second, with jitter in the upper half, so that a fleet comes spread."""

    def __init__(self, chance: random.Random) -> None:
        """Start with no failure."""
        self._chance = chance
        self._failures = 0

    def fail(self, retry_after: float | None) -> float:
        """Count a failure; return the seconds to wait, at least what was asked for."""
        ceiling = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures, 30))
        self._failures += 1
        asked = min(retry_after or 0.0, MOST_ASKED_SECONDS)
        return max(self._chance.uniform(ceiling / 2, ceiling), asked)

    def succeed(self) -> None:
        """Start afresh."""
        self._failures = 0
