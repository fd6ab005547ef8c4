"""Which buckets of the rollup make up a span of time.

A month of any zone is nearly a month of UTC: what it has more at one end is added, and what it
has less is taken away, in days and quarters of an hour. Sums are exact integers, so that adding
and taking away leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final, NamedTuple

from meter.journal.rollup import QUARTER_SECONDS, Calendar, Piece

__all__ = [
    "DAY_SECONDS",
    "QUARTERS_A_DAY",
    "NotAligned",
    "Range",
    "month_of",
    "pieces_of",
    "ranges_of",
    "spans",
]

DAY_SECONDS: Final = 86_400
QUARTERS_A_DAY: Final = DAY_SECONDS // QUARTER_SECONDS
_EPOCH: Final = date(1970, 1, 1).toordinal()
_BEYOND: Final = date.max.toordinal() + 1 - _EPOCH


class NotAligned(Exception):
    """A period begins or ends within a quarter of an hour."""


class Range(NamedTuple):
    """Some buckets of one size; the end is beyond them. `sign` is -1 to take them away."""

    table: str
    start: int
    end: int
    sign: int


def pieces_of(calendar: Calendar, day: int) -> list[Piece]:
    """Return what is wanted of a day, counted from 1970.

    Raises:
        NotAligned: the rollup cannot tell.
    """
    pieces = calendar.pieces(day * DAY_SECONDS, (day + 1) * DAY_SECONDS)
    if any(piece.start % QUARTER_SECONDS or piece.end % QUARTER_SECONDS for piece in pieces):
        raise NotAligned
    return pieces


def spans(calendar: Calendar, days: Iterable[int]) -> list[Piece]:
    """Return what is wanted, in the longest spans of one period each.

    Args:
        calendar: says what is wanted.
        days: those with usage, in order; what lies between them is empty, and may be included.

    Raises:
        NotAligned: the rollup cannot tell.
    """
    found: list[Piece] = []
    open_end = False
    for day in days:
        start, end = day * DAY_SECONDS, (day + 1) * DAY_SECONDS
        pieces = pieces_of(calendar, day)
        for piece in pieces:
            goes_on = found and found[-1].period == piece.period and open_end
            if goes_on and piece.start == start:
                found[-1] = found[-1]._replace(end=piece.end)
            else:
                found.append(piece)
        open_end = bool(pieces) and pieces[-1].end == end
    return found


def ranges_of(span: Piece) -> Iterator[Range]:
    """Yield the buckets that make up a span; each moment of it once, in the sum."""
    start, end = span.start // QUARTER_SECONDS, span.end // QUARTER_SECONDS
    first, last = (_nearest_day(quarter) for quarter in (start, end))
    if first == last:
        yield Range("usage_quarters", start, end, 1)
        return
    yield from _between("usage_quarters", start, first * QUARTERS_A_DAY)
    yield from _between("usage_quarters", last * QUARTERS_A_DAY, end)
    low, high = (_nearest_month(day) for day in (first, last))
    if low == high:
        yield Range("usage_days", first, last, 1)
        return
    yield from _between("usage_days", first, _first_day(low))
    yield from _between("usage_days", _first_day(high), last)
    yield Range("usage_months", low, high, 1)


def _between(table: str, start: int, end: int) -> Iterator[Range]:
    """Yield what leads from one bucket to another: forwards it is added, backwards taken away."""
    if start < end:
        yield Range(table, start, end, 1)
    elif end < start:
        yield Range(table, end, start, -1)


def _nearest_day(quarter: int) -> int:
    return (quarter + QUARTERS_A_DAY // 2) // QUARTERS_A_DAY


def _nearest_month(day: int) -> int:
    if day >= _BEYOND:
        return month_of(_BEYOND - 1) + 1
    month = month_of(day)
    return month if day - _first_day(month) <= _first_day(month + 1) - day else month + 1


def month_of(day: int) -> int:
    """Return the months since January 1970 of a day since 1970."""
    then = date.fromordinal(day + _EPOCH)
    return (then.year - 1970) * 12 + then.month - 1


def _first_day(month: int) -> int:
    years, months = divmod(month, 12)
    if 1970 + years > date.max.year:
        return _BEYOND
    return date(1970 + years, months + 1, 1).toordinal() - _EPOCH
