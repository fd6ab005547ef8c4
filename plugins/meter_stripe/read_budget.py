"""The read budget: Stripe allows so many GETs a month (reference: stripe.md §1).

What is left of the month is spread evenly over its days, so that no day at its end goes without a
look. A day that needs less leaves its share to the days after it. A drill-down and a comparison
that somebody waits for may take from the whole month's rest.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from meter.sinks import SinkState, StateWrite

__all__ = ["ReadBudget"]

_KEY: Final = "audit/reads"


class _Spent(msgspec.Struct, frozen=True):
    """What was read: in the month (`2026-11`), and of that on its latest day (`2026-11-22`)."""

    month: str = ""
    reads: int = 0
    day: str = ""
    today: int = 0


class ReadBudget:
    """Counts the reads of the audit, in the sink's own state."""

    def __init__(self, state: SinkState, per_month: int) -> None:
        """Take what the options allow."""
        self._state = state
        self._per_month = per_month

    def left(self, now: datetime) -> int:
        """Return how many reads are left of this month; never negative."""
        return max(0, self._per_month - self._spent(now).reads)

    def left_today(self, now: datetime) -> int:
        """Return how many of them are today's; never negative."""
        spent, at = self._spent(now), now.astimezone(UTC)
        days = monthrange(at.year, at.month)[1] - at.day + 1
        share = (self._per_month - spent.reads + spent.today) // days
        return max(0, min(share - spent.today, self.left(now)))

    def spend(self, reads: int, now: datetime) -> list[StateWrite]:
        """Make the write that counts reads; none for none."""
        if not reads:
            return []
        old = self._spent(now)
        new = _Spent(old.month, old.reads + reads, old.day, old.today + reads)
        return [self._state.put(_KEY, msgspec.json.encode(new).decode())]

    def _spent(self, now: datetime) -> _Spent:
        at = now.astimezone(UTC)
        month, day = f"{at:%Y-%m}", f"{at:%Y-%m-%d}"
        value = self._state.get(_KEY)
        spent = _Spent() if value is None else msgspec.json.decode(value, type=_Spent)
        reads = spent.reads if spent.month == month else 0
        return _Spent(month, reads, day, spent.today if spent.day == day else 0)
