"""Which days a page is about: the last thirty, or a month; days are UTC, as on every bill."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Period", "period_of"]

_DAYS: Final = 30
_MONTH: Final = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Period:
    """Some days.

    Attributes:
        since: the first.
        until: the day after the last.
        today: marks the day that is not over.
        month: such as `2026-11`; empty for the last thirty days.
    """

    since: date
    until: date
    today: date
    month: str = ""

    @property
    def title(self) -> str:
        """What a heading calls it."""
        return f"{self.since:%B %Y}" if self.month else f"Last {_DAYS} days"

    @property
    def previous(self) -> str:
        """The month before."""
        first = self.since.replace(day=1) if self.month else self.today.replace(day=1)
        return f"{first - timedelta(days=1):%Y-%m}" if self.month else f"{first:%Y-%m}"

    @property
    def next(self) -> str:
        """The month after; empty when that is yet to come."""
        return f"{self.until:%Y-%m}" if self.month and self.until <= self.today else ""

    def days(self) -> Iterator[date]:
        """Yield each day of it that has begun."""
        at = self.since
        while at < self.until and at <= self.today:
            yield at
            at += timedelta(days=1)


def period_of(month: str, today: date) -> Period:
    """Return the period that an address asks for; what is no month is the last thirty days."""
    if _MONTH.fullmatch(month):
        first = date.fromisoformat(f"{month}-01")
        return Period(first, (first + timedelta(days=31)).replace(day=1), today, month)
    return Period(today - timedelta(days=_DAYS - 1), today + timedelta(days=1), today)
