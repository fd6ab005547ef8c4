"""Drilling down: which meter events a day's difference comes from.

A day is asked for by its hours, and an hour that differs by halves of its slots, until one slot is
left: each intent owns its minute, so that the summary of that minute is about it alone. What is
left over lies where no intent is, so that somebody else sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from meter_stripe.counting import DAY, bounds, counted, midnight, outside, owners
from meter_stripe.slots import HOUR, MINUTE

if TYPE_CHECKING:
    from meter_stripe.books import MeterBooks
    from meter_stripe.client import StripeApi
    from meter_stripe.intents import Intent

__all__ = ["SlotFigures", "Stopped", "drill"]


class Stopped(Exception):
    """A drill-down may read no more: what it has yielded is right, and not all there is."""


@dataclass(frozen=True, slots=True)
class SlotFigures:
    """One intent's minute, or minutes that no intent owns, where the figures differ.

    Attributes:
        start, end: of the minute or the range, aware UTC; without `end`.
        intent: whose minute it is; None when nobody of ours sent there: someone else does.
        expected: units that should be counted there.
        counted: what Stripe counts there.
        event_ids: the usage behind it.
    """

    customer: str
    event_name: str
    unit: str
    start: datetime
    end: datetime
    intent: Intent | None
    expected: int
    counted: Decimal
    event_ids: tuple[str, ...]


def drill(
    api: StripeApi,
    books: MeterBooks,
    customer: str,
    day: date,
    *,
    now: datetime,
    may_read: Callable[[], bool] = lambda: True,
) -> Iterator[SlotFigures]:
    """Yield where exactly a day differs.

    One read for its hours; in an hour that differs, about as many as its slots can be halved, for
    each slot that is wrong. Where Stripe counts nothing at all, none.

    Args:
        may_read: asked before every read.

    Raises:
        Stopped: a read was wanted that was not allowed.
        RetryableSinkError, FatalSinkError, StripeRefused: as `StripeApi.counted`.
    """
    start = midnight(day)
    search = _Search(api, books, customer, now, may_read)
    search.allowed()
    hours = counted(api, books, customer, start, start + DAY, "hour")
    owned = owners(books.ledger, customer, start, start + DAY)
    for hour in range(start, start + DAY, HOUR):
        within = {m: i for m, i in owned.items() if hour <= m < hour + HOUR}
        found = _Range(hour, hour + HOUR, within, hours.get(hour, Decimal(0)))
        yield from search.narrowed(found)


@dataclass(frozen=True, slots=True)
class _Range:
    """Some minutes of an hour, who owns which of them, and what Stripe counts in all."""

    start: int
    end: int
    owned: dict[int, Intent]
    counted: Decimal


class _Search:
    """Narrows a difference down by halves: what one half counts, the other one need not ask."""

    def __init__(
        self,
        api: StripeApi,
        books: MeterBooks,
        customer: str,
        now: datetime,
        may_read: Callable[[], bool],
    ) -> None:
        self.api = api
        self.books = books
        self.customer = customer
        self.now = now
        self.may_read = may_read

    def allowed(self) -> None:
        """Ask for leave to read.

        Raises:
            Stopped: it is not given.
        """
        if not self.may_read():
            raise Stopped

    def narrowed(self, found: _Range) -> Iterator[SlotFigures]:
        """Yield the slots that differ within a range, and what lies where nobody sent."""
        ranges = [bounds(intent, self.now) for intent in found.owned.values()]
        low, high = sum(low for low, _ in ranges), sum(high for _, high in ranges)
        if outside(found.counted, low, high) == 0:
            return
        if not found.owned:
            yield from self._figures(found, None)
        elif found.counted == 0 and all(low >= 0 for low, _ in ranges):
            for minute, intent in found.owned.items():
                alone = _Range(minute, minute + MINUTE, {minute: intent}, Decimal(0))
                if bounds(intent, self.now)[0] > 0:
                    yield from self._figures(alone, intent)
        elif len(found.owned) == 1:
            yield from self._one(found)
        else:
            minutes = list(found.owned)
            middle = minutes[len(minutes) // 2]
            value = self._ask(found.start, middle)
            yield from self.narrowed(_part(found, found.start, middle, value))
            yield from self.narrowed(_part(found, middle, found.end, found.counted - value))

    def _one(self, found: _Range) -> Iterator[SlotFigures]:
        """Tell the one slot of a range from the minutes around it."""
        ((minute, intent),) = found.owned.items()
        value = self._ask(minute, minute + MINUTE)
        if outside(value, *bounds(intent, self.now)) != 0:
            alone = _Range(minute, minute + MINUTE, found.owned, value)
            yield from self._figures(alone, intent)
        if found.counted != value:
            around = _Range(found.start, found.end, found.owned, found.counted - value)
            yield from self._figures(around, None)

    def _figures(self, found: _Range, intent: Intent | None) -> Iterator[SlotFigures]:
        """Yield a difference, unless the ledger has changed there since it was read."""
        if owners(self.books.ledger, self.customer, found.start, found.end) != found.owned:
            return
        stands = intent is not None and intent.state == "delivered"
        yield SlotFigures(
            customer=self.customer,
            event_name=self.books.event_name,
            unit=self.books.options.unit,
            start=datetime.fromtimestamp(found.start, UTC),
            end=datetime.fromtimestamp(found.end, UTC),
            intent=intent,
            expected=intent.value if intent is not None and stands else 0,
            counted=found.counted,
            event_ids=() if intent is None else intent.events,
        )

    def _ask(self, start: int, end: int) -> Decimal:
        self.allowed()
        rows = counted(self.api, self.books, self.customer, start, end)
        return sum(rows.values(), Decimal(0))


def _part(found: _Range, start: int, end: int, value: Decimal) -> _Range:
    within = {m: i for m, i in found.owned.items() if start <= m < end}
    return _Range(start, end, within, value)
