"""Counting: what Stripe counts for a customer, and what the ledger says may be counted there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from meter_stripe.api_errors import StripeRefused

if TYPE_CHECKING:
    from meter_stripe.books import MeterBooks
    from meter_stripe.client import StripeApi
    from meter_stripe.intents import Intent
    from meter_stripe.ledger import Ledger

__all__ = [
    "DAY",
    "SETTLE",
    "bounds",
    "certain",
    "counted",
    "midnight",
    "outside",
    "owned",
    "owners",
]

SETTLE: Final = timedelta(hours=1)
"""Summaries come late: what happened less than this ago may not show in them yet."""
DAY: Final = 86_400
CHUNK: Final = 500
NOBODY: Final = (400, "resource_missing")
"""Stripe has no such customer, so that it counts nothing for it; a missing meter is a 404."""


def counted(
    api: StripeApi,
    books: MeterBooks,
    customer: str,
    start: int,
    end: int,
    window: Literal["hour", "day"] | None = None,
) -> Mapping[int, Decimal]:
    """Ask what Stripe counts; a customer that it does not have has nothing.

    Raises:
        RetryableSinkError, FatalSinkError, StripeRefused: as `StripeApi.counted`.
    """
    try:
        return api.counted(
            meter_id=books.ledger.meter_id, customer=customer, start=start, end=end, window=window
        )
    except StripeRefused as error:
        if (error.status, error.code) == NOBODY:
            return {}
        raise


def owners(ledger: Ledger, customer: str, start: int, end: int) -> dict[int, Intent]:
    """Return the intents that own a minute in [start, end), by minute, in order."""
    return {intent.minute: intent for intent in owned(ledger, customer, start, end)}


def bounds(intent: Intent, now: datetime) -> tuple[int, int]:
    """Return the least and the most that Stripe may count in an intent's minute by now."""
    value = intent.value
    if intent.state == "delivered" and certain(intent, now):
        return value, value
    if intent.state not in ("open", "delivered", "disputed", "cancelling", "cancelled"):
        return 0, 0
    if intent.state == "cancelled" and certain(intent, now):
        return 0, 0
    if intent.state == "open" and not intent.attempts:
        return 0, 0
    return min(0, value), max(0, value)


def certain(intent: Intent, now: datetime) -> bool:
    """Tell whether an intent has its final state for long enough that summaries show it."""
    if intent.unsettled:
        return False
    times = [intent.frozen_at, *(attempt.at for attempt in intent.history[-1:])]
    return now >= max(times if intent.arrived_at is None else [*times, intent.arrived_at]) + SETTLE


def outside(value: Decimal, low: int, high: int) -> Decimal:
    """Return how far a value lies above or below a range; 0 within it."""
    return value - min(max(value, Decimal(low)), Decimal(high))


def owned(ledger: Ledger, customer: str, start: int, end: int) -> Iterator[Intent]:
    """Yield the intents that own a minute in [start, end), in order, some at a time."""
    minutes = iter(ledger.taken(customer, start, end).items())
    while some := list(islice(minutes, CHUNK)):
        intents = ledger.intents({identifier for _, identifier in some})
        for minute, identifier in some:
            intent = intents.get(identifier)
            if intent is not None and intent.minute == minute:
                yield intent


def midnight(day: date) -> int:
    """Return when a UTC day begins, unix seconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
