"""How much was used, and by whom: every sum of usage is made here, exactly.

The journal's rollup answers where it can: it reads some rows a day. A dimension, and a zone
whose days cut a quarter of an hour, need every event to be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from meter.errors import JournalUnavailable
from meter.events import BILLED_KINDS, StreamTerminated
from meter.journal.rollup import Amount, Period, Piece, Series
from meter.reports.calendar import ZoneCalendar

if TYPE_CHECKING:
    from meter.journal import Journal

__all__ = [
    "DIMENSION",
    "KEYS",
    "CustomerUsage",
    "Periods",
    "Question",
    "Rated",
    "Use",
    "calendar_of",
    "group_of",
    "in_order",
    "usage",
    "usage_by_customer",
]

KEYS: Final = ("customer", "day", "month", "kind", "model")
"""What usage can be told apart by, besides `dimension.<name>`."""
DIMENSION: Final = "dimension."
TIMES: Final = ("day", "month")

_AT_ONCE: Final = 10_000
"""Events that one transaction of catching up adds; it holds the journal for some 50 ms."""
_IN_MEMORY: Final = 5_000
"""So few events beyond the rollup are added up at each question, without writing anything."""
_PAGE: Final = 5000
_DAY: Final = 86_400

Progress = Callable[[int, int], None]
"""Called with how many events are done, and of how many."""
_Key = tuple[Period, Series, tuple[str | None, ...]]


class Rated(NamedTuple):
    """What a rate depends on."""

    kind: str
    model: str | None
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        by: of `KEYS`, or `dimension.<name>`; the first leads.
        zone: whose days and months count.
        since: the first moment that counts: a date of the zone, or a time.
        until: the first moment that does not any more.
        customers: only these; empty for all. So are kinds and models.
    """

    by: tuple[str, ...]
    zone: ZoneInfo
    since: date | datetime | None = None
    until: date | datetime | None = None
    customers: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the dimensions that are asked for."""
        return tuple(key.removeprefix(DIMENSION) for key in self.by if key.startswith(DIMENSION))

    def reduced(self, series: Series) -> Series | None:
        """Leave out whose usage it is where nobody asks; None when a filter refuses it."""
        if (
            (self.customers and series.customer_id not in self.customers)
            or (self.kinds and series.kind not in self.kinds)
            or (self.models and series.model not in self.models)
        ):
            return None
        return series if "customer" in self.by else series._replace(customer_id="")


@dataclass(slots=True)
class Use:
    """One row of the answer, or the whole of it.

    Attributes:
        group: the values of `by`; None where an event has no model, or not that dimension.
        events: billed ones.
        nanos: billed nanoseconds.
        unbilled: failed jobs and abandoned sessions, which are in neither.
        rated: billed nanoseconds by what their rate depends on.
    """

    group: tuple[str | None, ...]
    events: int = 0
    nanos: int = 0
    unbilled: int = 0
    rated: dict[Rated, int] = field(default_factory=dict)

    @property
    def seconds(self) -> Decimal:
        """Billed seconds, exact."""
        return Decimal(self.nanos).scaleb(-9).normalize() if self.nanos else Decimal(0)

    def add(self, series: Series, amount: Amount) -> None:
        """Add what was used of one series."""
        if series.kind not in BILLED_KINDS:
            self.unbilled += amount.events
            return
        self.events += amount.events
        self.nanos += amount.nanos
        rated = Rated(series.kind, series.model, series.features)
        self.rated[rated] = self.rated.get(rated, 0) + amount.nanos

    def include(self, other: Use) -> None:
        """Add another row."""
        self.events += other.events
        self.nanos += other.nanos
        self.unbilled += other.unbilled
        for rated, nanos in other.rated.items():
            self.rated[rated] = self.rated.get(rated, 0) + nanos


def usage(
    journal: Journal, question: Question, progress: Progress = lambda _done, _all: None
) -> list[Use]:
    """Add up the usage of a journal, sorted: by time where time leads, else most used first.

    Args:
        journal: any; a `meter run` may work on it.
        question: what is asked.
        progress: called now and then when there is much to read.
    """
    calendar = calendar_of(question)
    uses: dict[tuple[str | None, ...], Use] = {}
    for (period, series, dimensions), amount in _sums(journal, question, calendar, progress):
        named = dict(zip(question.dimensions, dimensions, strict=True))
        group = group_of(question.by, period, series, named)
        uses.setdefault(group, Use(group)).add(series, amount)
    return in_order(list(uses.values()), question.by)


def calendar_of(question: Question) -> ZoneCalendar:
    """Return what cuts time into the periods that a question is about."""
    unit = next((key for key in TIMES if key in question.by), None)
    return ZoneCalendar(
        question.zone,
        "day" if unit == "day" else "month" if unit == "month" else None,
        question.since,
        question.until,
    )


def _sums(
    journal: Journal, question: Question, calendar: ZoneCalendar, progress: Progress
) -> Iterable[tuple[_Key, Amount]]:
    if not question.dimensions:
        _catch_up(journal, progress)
        amounts = journal.rollup.amounts(calendar, question.reduced)
        if amounts is not None:
            return [((period, series, ()), n) for (period, series), n in amounts.items()]
    return _scanned(journal, question, calendar, progress).items()


def _catch_up(journal: Journal, progress: Progress) -> None:
    """Bring the rollup so near to the events that the rest is a moment's work.

    Ends at what was there when it began; when nothing can be written, the rest is larger.
    """
    waiting = behind = journal.rollup.behind()
    added = 0
    while behind > _IN_MEMORY and added < waiting:
        try:
            added += journal.rollup.catch_up(_AT_ONCE)
        except JournalUnavailable:
            return
        behind = journal.rollup.behind()
        progress(max(added, waiting - behind), waiting)


def _scanned(
    journal: Journal, question: Question, calendar: ZoneCalendar, progress: Progress
) -> dict[_Key, Amount]:
    """Read every event."""
    sums: dict[_Key, Amount] = {}
    reduced: dict[Series, Series | None] = {}
    periods = Periods(calendar)
    names = question.dimensions
    offset, head = 0, journal.head()
    while offset < head and (measured := journal.rollup.read(offset, _PAGE)):
        for event in measured:
            if event.series not in reduced:
                reduced[event.series] = question.reduced(event.series)
            series = reduced[event.series]
            wanted, period = periods.at(event.at)
            if series is not None and wanted:
                key = period, series, tuple([event.dimensions.get(name) for name in names])
                events, nanos = sums.get(key, (0, 0))
                sums[key] = Amount(events + 1, nanos + event.nanos)
        offset = measured[-1].offset
        progress(min(offset, head), head)
    return sums


class Periods:
    """What a calendar says, kept for the days that were asked for."""

    def __init__(self, calendar: ZoneCalendar) -> None:
        """Ask this one."""
        self._calendar = calendar
        self._days: dict[int, list[Piece]] = {}

    def at(self, at: int) -> tuple[bool, Period]:
        """Tell whether a moment, in seconds since 1970, is wanted, and its period."""
        day = at // _DAY
        pieces = self._days.get(day)
        if pieces is None:
            pieces = self._days[day] = self._calendar.pieces(day * _DAY, (day + 1) * _DAY)
        for start, end, period in pieces:
            if start <= at < end:
                return True, period
        return False, None


def group_of(
    by: Sequence[str], period: Period, series: Series, dimensions: Mapping[str, str | None]
) -> tuple[str | None, ...]:
    """Return the values of `by` for some usage."""
    values: dict[str, str | None] = {
        "customer": series.customer_id,
        "day": period,
        "month": period and period[:7],
        "kind": series.kind,
        "model": series.model,
    }
    return tuple(
        dimensions[key.removeprefix(DIMENSION)] if key.startswith(DIMENSION) else values[key]
        for key in by
    )


def in_order(uses: list[Use], by: Sequence[str]) -> list[Use]:
    """Sort by the first key, within it by the second, and so on: times by time, others by use."""
    subtotals: dict[tuple[str | None, ...], int] = {}
    for use in uses:
        for length in range(1, len(by) + 1):
            prefix = use.group[:length]
            subtotals[prefix] = subtotals.get(prefix, 0) + use.nanos

    def place(use: Use) -> list[tuple[int, bool, str]]:
        return [
            (
                0 if key in TIMES else -subtotals[use.group[: index + 1]],
                value is None,
                value or "",
            )
            for index, (key, value) in enumerate(zip(by, use.group, strict=True))
        ]

    return sorted(uses, key=place)


@dataclass(slots=True)
class CustomerUsage:
    """One customer's billed usage, and how much of what happened is never billed.

    Attributes:
        jobs: completed ones. sessions: terminated ones.
        seconds: billed, of both.
        unbilled: failed jobs and abandoned sessions.
    """

    customer_id: str
    jobs: int = 0
    sessions: int = 0
    seconds: Decimal = Decimal(0)
    unbilled: int = 0


def usage_by_customer(journal: Journal) -> list[CustomerUsage]:
    """Add up every event of a journal by customer, most used first; exact seconds."""
    found: dict[str, CustomerUsage] = {}
    for use in usage(journal, Question(by=("customer", "kind"), zone=ZoneInfo("UTC"))):
        customer, kind = use.group
        customer_id = str(customer)
        sofar = found.setdefault(customer_id, CustomerUsage(customer_id))
        sofar.seconds += use.seconds
        sofar.unbilled += use.unbilled
        if kind == StreamTerminated.kind:
            sofar.sessions += use.events
        else:
            sofar.jobs += use.events
    return sorted(found.values(), key=lambda usage: (-usage.seconds, usage.customer_id))
