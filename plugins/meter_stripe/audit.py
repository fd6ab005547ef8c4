"""The audit: once a night, what was delivered is compared with what Stripe counts.

Delivered is not counted (reference: stripe.md §5.8). The ledger marks every day of a customer that
something was sent into. Once the day is over and its last delivery an hour old, one read compares
all such days of that customer on that meter. A day that agrees is done with. A day that differs is
drilled down to the minutes, shown to a person, and looked at again on following nights, for as long
as something may still be done about it; then its line goes once it agrees. Nothing is ever sent by
the audit.

Who comes first, when the read budget is short: the customer who has waited longest, counted from
the end of the oldest day that was never compared, or from the last look at one that differed. So
nobody starves: with n customers a day and a budget for m reads, each is compared every n/m days,
and one read covers all the days since. What an error report asks for is compared at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Final

from meter.errors import FatalSinkError, SinkError
from meter.sinks import Report
from meter_stripe.api_errors import StripeRefused
from meter_stripe.comparison import compare
from meter_stripe.counting import SETTLE, certain, owners
from meter_stripe.drilling import SlotFigures, Stopped, drill
from meter_stripe.findings import day_words, foreign_words, slot_words
from meter_stripe.read_budget import ReadBudget
from meter_stripe.resolving import DONE
from meter_stripe.troubles import Trouble, dismiss, trouble, troubles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meter.sinks import SinkState, StateWrite
    from meter_stripe.books import MeterBooks
    from meter_stripe.client import StripeApi
    from meter_stripe.comparison import DayFigures
    from meter_stripe.options import StripeOptions

__all__ = ["Audit"]

DAY: Final = timedelta(days=1)
AGAIN: Final = timedelta(hours=20)
"""A day that differs is looked at again after so long: on the following night."""
GIVE_UP: Final = timedelta(days=40)
"""No longer than that: nothing can be sent into it any more. Its meter events stay shown."""
REBUILD: Final = timedelta(minutes=10)
"""How often the marked days are listed anew."""
PAUSE: Final = timedelta(minutes=10)
"""After a read that failed: the audit can wait."""
SCAN: Final = 50
"""How many customers are passed over at a time, because their days are not ripe."""
READS: Final = 8
"""Reads of a drill-down at a time."""
MOST: Final = 200
"""Reads of one drill-down; what it has not found by then, the next night's does."""
NAME: Final = "audit"


@dataclass(order=True, slots=True)
class _Pair:
    """One customer on one meter, with the days that are to be compared.

    Attributes:
        waiting: since when; the oldest comes first.
        asked: which days an error report asked for: also of those that are not over.
    """

    waiting: float
    meter: int
    customer: str
    days: set[date] = field(default_factory=set, compare=False)
    asked: set[date] = field(default_factory=set, compare=False)


@dataclass(slots=True)
class _Drill:
    """A drill-down that goes on over several calls; after a restart, it begins again."""

    books: MeterBooks
    figures: DayFigures
    search: Iterator[SlotFigures]
    reads: int = 0
    faulty: set[str] = field(default_factory=set)
    accepted: Decimal = Decimal(0)
    foreign: list[str] = field(default_factory=list)


class Audit:
    """Compares a little at a time, in the sink's thread."""

    def __init__(
        self,
        api: StripeApi,
        meters: Sequence[MeterBooks],
        *,
        state: SinkState,
        options: StripeOptions,
    ) -> None:
        """Take the open sink's."""
        self._api = api
        self._meters = meters
        self._state = state
        self._every = options.verify
        self._budget = ReadBudget(state, options.reads_per_month)
        self._queue: list[_Pair] = []
        self._drills: list[_Drill] = []
        self._listed_at: datetime | None = None
        self._paused_until: datetime | None = None
        self._before = self._left = 0

    def nightly(self, now: datetime) -> Report | None:
        """Compare one customer's days, or go on with a drill-down; None when nothing is due.

        Never raises what Stripe's answers raise: the audit waits, deliveries go on.
        """
        if self._paused_until is not None and now < self._paused_until:
            return None
        self._before, self._left = self._api.reads, self._budget.left(now)
        try:
            writes = self._drilled() if self._drills else self._compared(now)
        except SinkError as error:
            self._drills.clear()
            self._queue.clear()
            self._paused_until = now + PAUSE
            writes = []
            if isinstance(error, FatalSinkError):
                words = f"what was delivered cannot be compared with Stripe's figures: {error}"
                writes.append(trouble(self._state, NAME, Trouble(words, now, ends="sink")))
        else:
            if writes is not None and self._reads():
                known = {name for name, _ in troubles(self._state)}
                writes += [dismiss(self._state, NAME)] if NAME in known else []
        if writes is None:
            return None
        return Report(state=[*writes, *self._budget.spend(self._reads(), now)])

    # -- which days ----------------------------------------------------------------------------

    def _next(self, now: datetime) -> _Pair | None:
        """Return the next customer with days that are ripe, and only those days."""
        if not self._queue and (self._listed_at is None or now >= self._listed_at + REBUILD):
            self._listed_at = now
            self._queue = self._listed(now)
        if not self._queue:
            return None
        month, today = self._budget.left(now), self._budget.left_today(now)
        for _ in range(min(SCAN, len(self._queue))):
            pair = heapq.heappop(self._queue)
            if not (month if pair.asked else today):
                continue
            books = self._meters[pair.meter]
            pair.days = {
                day for day in pair.days | pair.asked if _ripe(books, pair.customer, day, now)
            }
            if pair.days or pair.asked:
                return pair
        return None

    def _listed(self, now: datetime) -> list[_Pair]:
        """List the marked days that are due, by customer; the queue is a heap."""
        pairs: dict[tuple[int, str], _Pair] = {}
        for number, books in enumerate(self._meters):
            for day, customer, at in books.ledger.asked():
                if at <= now.timestamp():
                    pair = pairs.setdefault((number, customer), _Pair(0, number, customer))
                    pair.asked.add(date.fromisoformat(day))
            if not self._budget.left_today(now):
                continue
            for day, customer, looked in books.ledger.days():
                over = _end(date.fromisoformat(day))
                if now < over + SETTLE:
                    break  # they come in order
                since = datetime.fromisoformat(looked) if looked else over
                if (looked and now < since + AGAIN) or not (looked or self._every):
                    continue
                fresh = _Pair(since.timestamp(), number, customer)
                pair = pairs.setdefault((number, customer), fresh)
                pair.waiting = min(pair.waiting, since.timestamp())
                pair.days.add(date.fromisoformat(day))
        queue = list(pairs.values())
        heapq.heapify(queue)
        return queue

    # -- one customer --------------------------------------------------------------------------

    def _compared(self, now: datetime) -> list[StateWrite] | None:
        """Compare one customer's days by one read, and begin to drill where they differ."""
        pair = self._next(now)
        if pair is None:
            return None
        books = self._meters[pair.meter]
        days = sorted(pair.days | pair.asked)
        try:
            found = {
                figures.day: figures
                for figures in compare(
                    self._api,
                    books,
                    customers=[pair.customer],
                    start=days[0],
                    end=days[-1] + DAY,
                    now=now,
                )
            }
        except StripeRefused as error:
            words = f"{pair.customer}: Stripe does not say what it counts: {error}"
            return [w for day in days for w in self._differs(books, pair.customer, day, words, now)]
        writes: list[StateWrite] = []
        for day in days:
            figures = found.get(day)
            if figures is None or figures.difference == 0:
                writes += self._agrees(books, pair, day)
            else:
                writes += self._differs(books, pair.customer, day, day_words(figures), now)
                if now <= _end(day) + GIVE_UP:
                    search = drill(
                        self._api, books, pair.customer, day, now=now, may_read=self._may_read
                    )
                    self._drills.append(_Drill(books, figures, search))
        return writes

    def _agrees(self, books: MeterBooks, pair: _Pair, day: date) -> list[StateWrite]:
        """Make the writes for a day that agrees; one that is not ripe is looked at again."""
        ledger, customer, name = books.ledger, pair.customer, day.isoformat()
        writes = [ledger.answered(name, customer)]
        if day in pair.days:
            writes += [
                ledger.compared(name, customer),
                ledger.day_problem(name, customer, None),
                *_cleared(books, customer, day, set()),
            ]
        return writes

    def _differs(
        self, books: MeterBooks, customer: str, day: date, words: str, now: datetime
    ) -> list[StateWrite]:
        """Make the writes for a day that differs: shown and looked at again, for 40 days."""
        ledger, name = books.ledger, day.isoformat()
        if now > _end(day) + GIVE_UP:
            ended = [ledger.day_problem(name, customer, None), ledger.compared(name, customer)]
            return [ledger.answered(name, customer), *ended]
        return [
            ledger.answered(name, customer),
            ledger.day_problem(name, customer, words),
            ledger.look_again(name, customer, now),
        ]

    # -- a day that differs --------------------------------------------------------------------

    def _drilled(self) -> list[StateWrite]:
        """Go on with the first drill-down, for some reads."""
        one = self._drills[0]
        writes: list[StateWrite] = []
        try:
            while self._reads() < READS:
                found = next(one.search, None)
                if found is None:
                    return [*writes, *self._drilled_out(one)]
                writes += self._found(one, found)
        except (Stopped, StripeRefused):
            self._drills.pop(0)  # the day's line stays; the next night looks again
        one.reads += self._reads()
        return writes

    def _may_read(self) -> bool:
        """Tell whether the first drill-down may go on."""
        return self._drills[0].reads + self._reads() < MOST and self._reads() < self._left

    def _reads(self) -> int:
        return self._api.reads - self._before

    def _found(self, one: _Drill, found: SlotFigures) -> list[StateWrite]:
        """Make the writes that show one slot, unless a person has settled it."""
        ledger, intent = one.books.ledger, found.intent
        if intent is None:
            one.foreign.append(foreign_words(found))
            return []
        settled = ledger.resolved([intent.identifier]).get(intent.identifier)
        if settled is not None and (settled.act, settled.outcome) == ("counted", DONE):
            one.accepted += found.counted - found.expected
            return []
        one.faulty.add(intent.identifier)
        if intent.state == "disputed":
            return []
        return [ledger.problem(intent.identifier, slot_words(found))]

    def _drilled_out(self, one: _Drill) -> list[StateWrite]:
        """Make the writes at the end of a drill-down."""
        self._drills.pop(0)
        ledger, figures = one.books.ledger, one.figures
        day, customer = figures.day, figures.customer
        name = day.isoformat()
        writes = _cleared(one.books, customer, day, one.faulty)
        if one.foreign:
            words = "; ".join([day_words(figures), *islice(one.foreign, 3)])
            writes.append(ledger.day_problem(name, customer, words))
        elif one.accepted and not one.faulty:
            writes += [ledger.compared(name, customer), ledger.day_problem(name, customer, None)]
        return writes


def _cleared(
    books: MeterBooks, customer: str, day: date, faulty: Collection[str]
) -> list[StateWrite]:
    """Make the writes that end the problems of a day, but for those that still are ones.

    What is disputed, or was not taken back, is for a person to end.
    """
    ledger = books.ledger
    return [
        ledger.problem(intent.identifier, None)
        for intent, _ in ledger.problems()
        if intent.customer == customer
        and intent.slot.date() == day
        and intent.identifier not in faulty
        and intent.state != "disputed"
        and not (intent.kind != "usage" and intent.state == "rejected")
    ]


def _ripe(books: MeterBooks, customer: str, day: date, now: datetime) -> bool:
    """Tell whether a day is over, and all that was sent into it old enough to be counted."""
    if now < _end(day) + SETTLE:
        return False
    start = int((_end(day) - DAY).timestamp())
    owned = owners(books.ledger, customer, start, start + 86_400)
    return all(certain(intent, now) for intent in owned.values())


def _end(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY
