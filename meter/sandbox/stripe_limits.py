"""How often Stripe may be called: so many a second, and one at a time for one object."""

from collections import deque
from datetime import datetime, timedelta
from typing import TypeAlias

from meter.sandbox.stripe_refusals import locked, rate_limited

Pair: TypeAlias = tuple[str, str]
"""An event name and a customer."""

SECOND = timedelta(seconds=1)


class RateLimit:
    """At most so many calls in any second of the clock; None is no limit."""

    def __init__(self, per_second: int | None) -> None:
        self._per_second = per_second
        self._calls: deque[datetime] = deque()

    def take(self, now: datetime) -> None:
        """Count one call; a refused one does not count.

        Raises:
            StripeRefusal: 429.
        """
        if self._per_second is None:
            return
        while self._calls and self._calls[0] <= now - SECOND:
            self._calls.popleft()
        if len(self._calls) >= self._per_second:
            raise rate_limited()
        self._calls.append(now)


class PairLocks:
    """One call at a time per customer and meter."""

    def __init__(self) -> None:
        self._held: set[Pair] = set()

    def take(self, pair: Pair, *, status: int, v2: bool) -> None:
        """Hold a customer and meter until `release`.

        Raises:
            StripeRefusal: Another call holds them; `status` is v1's answer to that.
        """
        if pair in self._held:
            raise locked(status=status, v2=v2)
        self._held.add(pair)

    def release(self, pair: Pair) -> None:
        """Let the next call in."""
        self._held.discard(pair)
