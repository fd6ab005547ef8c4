"""Usage by day as bars: only lengths are worked out here, the template draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from meter.journal.rollup import NANOS

__all__ = ["HEIGHT", "WIDTH", "Chart", "DayBar", "chart_of"]

HEIGHT: Final = 1000
"""Of the drawing, in its own units."""
WIDTH: Final = 100
"""Of a day, in the drawing's own units."""
_UNITS: Final = (("h", 3600), ("min", 60), ("s", 1))
_NICE: Final = (1, 2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, slots=True)
class DayBar:
    """One day: what was used, and how high its bars are.

    Attributes:
        jobs, streams: billed seconds of each.
        low, high: the height of the jobs' bar, and of the streams' that stands on it.
        partly: the day is not over.
    """

    day: str
    at: int
    jobs: Decimal
    streams: Decimal
    low: int
    high: int
    partly: bool

    @property
    def total(self) -> Decimal:
        """Billed seconds of both."""
        return self.jobs + self.streams


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars, and what their scale says.

    Attributes:
        top: what the upper end of the scale is, such as `20 h`.
        half: the same for its middle.
    """

    bars: Sequence[DayBar]
    top: str
    half: str

    @property
    def most(self) -> DayBar | None:
        """The day with the most usage; None when there is none."""
        most = max(self.bars, key=lambda bar: bar.total, default=None)
        return most if most is not None and most.total else None


def chart_of(
    days: Sequence[date], jobs: Mapping[str, int], streams: Mapping[str, int], today: date
) -> Chart:
    """Draw billed nanoseconds, by day such as `2026-11-22`."""
    names = [day.isoformat() for day in days]
    most = max((jobs.get(n, 0) + streams.get(n, 0) for n in names), default=0)
    size, unit, amount = _scale(most)
    full = size * amount * NANOS
    bars = [
        DayBar(
            day=name,
            at=number * WIDTH,
            jobs=_seconds(jobs.get(name, 0)),
            streams=_seconds(streams.get(name, 0)),
            low=_height(jobs.get(name, 0), full),
            high=_height(streams.get(name, 0), full),
            partly=name == today.isoformat(),
        )
        for number, name in enumerate(names)
    ]
    half = f"{amount // 2:,}" if amount % 2 == 0 else f"{Decimal(amount) / 2:,}"
    return Chart(bars, f"{amount:,} {unit}", f"{half} {unit}")


def _scale(most: int) -> tuple[int, str, int]:
    """Return the seconds of a unit, its name, and how many of it are the first above the most."""
    seconds = -(-most // NANOS)
    unit, size = next(((u, s) for u, s in _UNITS if seconds >= s), ("min", 60))
    needed, power = max(1, -(-seconds // size)), 1
    while True:
        for nice in _NICE:
            if nice * power >= needed:
                return size, unit, nice * power
        power *= 10


def _height(nanos: int, full: int) -> int:
    """Return a height; what is not nothing can be seen."""
    return max(nanos * HEIGHT // full, 4) if nanos else 0


def _seconds(nanos: int) -> Decimal:
    return Decimal(nanos).scaleb(-9).normalize() if nanos else Decimal(0)
