"""Slots: each intent owns one minute of its customer and meter (reference: stripe.md §5.2)."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

__all__ = ["HOUR", "MINUTE", "Wait", "choose"]

MINUTE: Final = 60
HOUR: Final = 3600
FURTHEST: Final = 3 * 24 * HOUR


class Wait(Exception):
    """There is no minute yet; `until` is when the next one begins, unix seconds."""

    def __init__(self, until: int) -> None:
        super().__init__(until)
        self.until = until


def choose(at: int, now: int, taken: Container[int], *, flushing: bool = False) -> int:
    """Return the minute for usage whose last moment is `at`; all in unix seconds.

    The minute of the usage itself, or the next free one of its hour. While that hour goes on, the
    next minute is waited for; once it is over, or when `flushing`, the nearest free minute before
    it in the same hour is as good. Only when the whole hour is taken, a later hour is used. Minutes
    that have not begun are never used: continuous sending would run ahead of the clock.

    Raises:
        Wait: no minute that has begun is free.
    """
    minute = at - at % MINUTE
    start = at - at % HOUR
    begun = now - now % MINUTE
    if minute > begun:
        raise Wait(minute)
    for candidate in range(minute, min(start + HOUR, begun + MINUTE), MINUTE):
        if candidate not in taken:
            return candidate
    hour_goes_on = begun + MINUTE < start + HOUR
    if flushing or not hour_goes_on:
        for candidate in range(minute - MINUTE, start - MINUTE, -MINUTE):
            if candidate not in taken:
                return candidate
    if not hour_goes_on:
        for candidate in range(start + HOUR, min(begun, start + FURTHEST) + MINUTE, MINUTE):
            if candidate not in taken:
                return candidate
    raise Wait(begun + MINUTE)
