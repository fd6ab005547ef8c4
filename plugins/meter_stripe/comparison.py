"""The comparison: what the ledger delivered against what Stripe's summaries count, by day.

Pure but for Stripe's summaries: nothing is written. Stripe is asked first and the ledger read
afterwards, so that what is sent meanwhile shows as too young, never as a difference.

Not everything is certain at once. What was delivered less than an hour ago may not be counted yet;
an intent that waits for its answer may be counted or not. Each intent therefore stands for a range,
and only a figure outside of the sum of the ranges is a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter.sinks import Total
from meter_stripe.accepting import acceptance_of
from meter_stripe.counting import DAY, SETTLE, bounds, certain, counted, midnight, outside, owned
from meter_stripe.drilling import SlotFigures, drill

if TYPE_CHECKING:
    from meter_stripe.accepting import Acceptance
    from meter_stripe.books import MeterBooks
    from meter_stripe.client import StripeApi
    from meter_stripe.intents import Intent

__all__ = ["SETTLE", "DayFigures", "SlotFigures", "compare", "drill", "totals"]

FOREVER: Final = 10**11
"""Unix seconds beyond any usage."""


@dataclass(frozen=True, slots=True)
class DayFigures:
    """One Stripe customer's UTC day on one meter, in whole units as they were sent.

    Attributes:
        delivered: what the ledger delivered into this day, and stands.
        counted: what Stripe counts.
        young: how much of `delivered` is too young to compare.
        doubtful: units of intents whose fate is open: waiting for an answer, disputed, or taken
            back within the hour.
        taken_back: how much of `doubtful` was taken back within the hour.
        identifiers: of the intents behind `delivered`.
        difference: what Stripe counts too much; negative: too little. 0 while what is young or
            doubtful may explain it, and for a difference that a person accepted.
        accepted: who accepted it; None where nothing differs, or more than was accepted.
    """

    customer: str
    event_name: str
    unit: str
    day: date
    delivered: int
    counted: Decimal
    young: int
    doubtful: int
    taken_back: int
    identifiers: tuple[str, ...]
    difference: Decimal
    accepted: Acceptance | None


def compare(
    api: StripeApi,
    books: MeterBooks,
    *,
    customers: Iterable[str] | None,
    start: date,
    end: date,
    now: datetime,
) -> Iterator[DayFigures]:
    """Yield what was delivered and what is counted, by customer and UTC day.

    One read for a customer and 100 days. Days on which nothing was sent and nothing is counted
    are left out.

    Args:
        customers: Stripe customers; None: all of the ledger's that have usage in these days.
        start, end: UTC days, without `end`; nothing later than today is asked for.

    Raises:
        RetryableSinkError, FatalSinkError, StripeRefused: as `StripeApi.counted`.
    """
    first, last = midnight(start), min(midnight(end), midnight(now.date()) + DAY)
    if first >= last:
        return
    named = (name for name, _ in books.ledger.every_tally()) if customers is None else customers
    for customer in named:
        if customers is None and not any(owned(books.ledger, customer, first, last)):
            continue
        counts = counted(api, books, customer, first, last, "day")
        days: dict[int, list[Intent]] = {}
        for intent in owned(books.ledger, customer, first, last):
            days.setdefault(intent.minute - intent.minute % DAY, []).append(intent)
        for day in sorted(days.keys() | {at for at, value in counts.items() if value}):
            yield _figures(
                books, customer, day, days.get(day, []), counts.get(day, Decimal(0)), now
            )


def totals(api: StripeApi, meters: Iterable[MeterBooks], now: datetime) -> list[Total]:
    """Return Stripe's sums beside the ledger's, by customer and meter, over all that it knows.

    Raises:
        RetryableSinkError, FatalSinkError, StripeRefused: as `StripeApi.counted`.
    """
    found: list[Total] = []
    for books in meters:
        for customer, _ in books.ledger.every_tally():
            first = next(owned(books.ledger, customer, 0, FOREVER), None)
            if first is None:
                continue
            start = first.minute - first.minute % DAY
            rows = counted(api, books, customer, start, midnight(now.date()) + DAY, "day")
            delivered = sum(
                intent.value
                for intent in owned(books.ledger, customer, 0, FOREVER)
                if intent.state == "delivered"
            )
            found.append(
                Total(
                    whose=customer,
                    what=books.event_name,
                    unit=books.options.unit,
                    delivered=Decimal(delivered),
                    counted=sum(rows.values(), Decimal(0)),
                )
            )
    return found


def _figures(
    books: MeterBooks,
    customer: str,
    day: int,
    intents: list[Intent],
    value: Decimal,
    now: datetime,
) -> DayFigures:
    standing = [intent for intent in intents if intent.state == "delivered"]
    ranges = [bounds(intent, now) for intent in intents]
    low, high = sum(low for low, _ in ranges), sum(high for _, high in ranges)
    date_of = datetime.fromtimestamp(day, UTC).date()
    doubtful = [i for i in intents if i.state != "delivered" and bounds(i, now) != (0, 0)]
    difference = outside(value, low, high)
    accepted = acceptance_of(books.ledger, customer, date_of) if difference else None
    if accepted is not None:
        difference = outside(value - accepted.difference, low, high)
    return DayFigures(
        customer=customer,
        event_name=books.event_name,
        unit=books.options.unit,
        day=date_of,
        delivered=sum(intent.value for intent in standing),
        counted=value,
        young=sum(intent.value for intent in standing if not certain(intent, now)),
        doubtful=sum(intent.value for intent in doubtful),
        taken_back=sum(intent.value for intent in doubtful if intent.state == "cancelled"),
        identifiers=tuple(intent.identifier for intent in standing),
        difference=difference,
        accepted=None if difference else accepted,
    )
