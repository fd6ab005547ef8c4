"""Which day and which month a moment belongs to, in any time zone.

A day is every moment whose local date it is: 23, 24 or 25 hours, now and then another length,
and in two zones once none at all. Nothing here assumes that a day begins at midnight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from meter.config.faults import nearest
from meter.errors import ConfigurationError
from meter.journal.rollup import Period, Piece

__all__ = ["ZoneCalendar", "moment_in", "zone_named"]

_DAY: Final = 86_400
_SAMPLE: Final = 21_600
"""How far apart a day's offsets are read, seconds; no zone ever changed twice in less."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_REMEMBERED: Final = 65_536


def zone_named(name: str) -> ZoneInfo:
    """Return an IANA time zone.

    Raises:
        ConfigurationError: there is none of that name, or no time zones at all.
    """
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # no such file, not a name, or no database
        pass
    names = available_timezones()
    if not names:
        raise ConfigurationError(
            "this machine has no time zones: `pip install tzdata`, or the system's package tzdata"
        )
    close = nearest(name, names)
    meant = f"; did you mean {close}?" if close else ""
    raise ConfigurationError(
        f"--tz: no time zone of that name{meant} (IANA names, such as Europe/Berlin)"
    )


def moment_in(zone: ZoneInfo, text: str) -> datetime:
    """Read a time of a command line, local to the zone unless it says its own offset.

    Raises:
        ValueError: no time, a fraction of a second, or a local time that clocks in that zone
            showed twice, or never; the text says which.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a date such as 2026-11-01, or a time such as "
                         "2026-11-01T08:00") from None  # fmt: skip
    if moment.microsecond:
        raise ValueError("expected a time in whole seconds")
    try:
        if moment.tzinfo is None:
            first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
            if first.utcoffset() != second.utcoffset():
                there = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment
                happens = "happened twice" if there else "never happened"
                raise ValueError(
                    f"{text} {happens} in {zone.key}, where clocks were changed; add the offset, "
                    "such as +13:00, or use UTC: …Z"
                )
            moment = first
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time that can be told in UTC") from None


@dataclass(frozen=True, slots=True)
class ZoneCalendar:
    """Days or months of a zone, and which of them are wanted.

    Attributes:
        zone: whose clocks count.
        unit: what a period is; None does not tell periods apart.
        since: the first moment wanted: a date of the zone, or a time; None for no limit.
        until: the first moment not wanted any more.
    """

    zone: ZoneInfo
    unit: Literal["day", "month"] | None = None
    since: date | datetime | None = None
    until: date | datetime | None = None

    def pieces(self, start: int, end: int) -> list[Piece]:
        """Cut a UTC day, given in seconds since 1970, into what is wanted of it, in order."""
        pieces: list[Piece] = []
        for first, last, day in self._days(start, end):
            if not _within(day, self.since, self.until):
                continue
            lower, upper = _clipped(first, last, self.since, self.until)
            if lower >= upper:
                continue
            period = self._period(day)
            if pieces and pieces[-1].end == lower and pieces[-1].period == period:
                pieces[-1] = pieces[-1]._replace(end=upper)
            else:
                pieces.append(Piece(lower, upper, period))
        return pieces

    def _days(self, start: int, end: int) -> Iterator[tuple[int, int, date]]:
        """Yield the local dates of a span of UTC, each with the moments it is made of."""
        if self.unit is None and not (_is_day(self.since) or _is_day(self.until)):
            yield start, end, date.min  # dates do not matter
            return
        at = start
        for _, change in pairwise(_changes(self.zone, start, end)):
            while at < change:
                local = at + _offset(self.zone, at)
                midnight = at + _DAY - local % _DAY
                until = min(midnight, change)
                yield at, until, _local_date(self.zone, at)
                at = until

    def _period(self, day: date) -> Period:
        if self.unit is None:
            return None
        return day.isoformat() if self.unit == "day" else day.isoformat()[:7]


def _is_day(bound: date | datetime | None) -> bool:
    return isinstance(bound, date) and not isinstance(bound, datetime)


def _within(day: date, since: date | datetime | None, until: date | datetime | None) -> bool:
    """Tell whether a local date is between those bounds that are dates."""
    return not (
        (since is not None and _is_day(since) and day < since)
        or (until is not None and _is_day(until) and day >= until)
    )


def _clipped(
    start: int, end: int, since: date | datetime | None, until: date | datetime | None
) -> tuple[int, int]:
    """Cut a span to those bounds that are times."""
    if isinstance(since, datetime):
        start = max(start, _seconds(since))
    if isinstance(until, datetime):
        end = min(end, _seconds(until))
    return start, end


def _seconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return since.days * _DAY + since.seconds


def _changes(zone: ZoneInfo, start: int, end: int) -> Iterator[int]:
    """Yield the start, each moment at which the offset changes, and the end."""
    yield start
    for low, high in pairwise((*range(start, end, _SAMPLE), end)):
        before = _offset(zone, low)
        if _offset(zone, high) == before:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if _offset(zone, middle) == before:
                low = middle  # noqa: PLW2901  because this is a search between the two
            else:
                high = middle  # noqa: PLW2901  because this is a search between the two
        if high < end:
            yield high
    yield end


def _local_date(zone: ZoneInfo, at: int) -> date:
    return date.fromordinal(_EPOCH_ORDINAL + (at + _offset(zone, at)) // _DAY)


@lru_cache(_REMEMBERED)
def _offset(zone: ZoneInfo, at: int) -> int:
    """Return how far local clocks were ahead of UTC, seconds; 0 at the ends of the calendar."""
    try:
        offset = (_EPOCH + timedelta(seconds=at)).astimezone(zone).utcoffset()
    except OverflowError:
        return 0
    return 0 if offset is None else offset.days * _DAY + offset.seconds
