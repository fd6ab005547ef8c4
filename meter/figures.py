"""Counting what one thread does so that any other may look, without a lock.

Each figure is written by one thread only, once for a whole batch, and read now and then by
whoever shows it. A reader may see the sum of a histogram a moment before its count; it never
sees a number that was not there.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

__all__ = ["LATENCY_NANOS", "Histogram"]

LATENCY_NANOS: Final = tuple(
    millis * 1_000_000
    for millis in (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)
)
"""From a millisecond to a minute."""


class Histogram:
    """How often a whole number fell below each of a few bounds.

    Attributes:
        bounds: ascending; a number equal to one counts below it.
        counts: for each bound, and for what is beyond the last.
        total: the sum of all numbers.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[int]) -> None:
        """Start with nothing counted."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0

    def add(self, value: int) -> None:
        """Count one number."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count how long the block takes, in nanoseconds, also when it raises."""
        started = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(time.perf_counter_ns() - started)
