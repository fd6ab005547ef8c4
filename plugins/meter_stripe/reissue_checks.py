"""Re-issue checks, so that what was sent anew after a day is not counted twice (stripe.md §5.7).

A re-issue follows on two looks at an empty slot, an hour apart. Should summaries lag by more, or
the first generation arrive after all, the slot counts twice the value. Looked at while Stripe
still takes a new identifier back: then the old generation is what stands.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter.errors import SinkError
from meter.sinks import Report
from meter_stripe import proof
from meter_stripe.api_errors import StripeRefused
from meter_stripe.findings import amount
from meter_stripe.outcomes import answered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meter.sinks import SinkState, StateWrite
    from meter_stripe.books import MeterBooks
    from meter_stripe.client import StripeApi
    from meter_stripe.intents import Intent

__all__ = ["LOOKS", "check_reissues"]

LOOKS: Final = (timedelta(hours=6), timedelta(hours=22))
"""When to look again, after the first look an hour after the re-issue was delivered."""
LAST: Final = timedelta(hours=25)
"""A slot that is empty so long after its delivery will stay so."""
CANCELS: Final = timedelta(hours=24)
"""How long after its receipt Stripe takes an identifier back."""
SOON: Final = timedelta(minutes=1)
PAUSE: Final = timedelta(minutes=10)


def check_reissues(
    api: StripeApi, meters: Iterable[MeterBooks], *, state: SinkState, now: datetime
) -> Report | None:
    """Look at one slot whose time has come; None when there is none.

    Never raises what Stripe's answers raise: the slot is looked at again later.
    """
    for books in meters:
        for key, intent in books.ledger.checks(now):
            done = books.ledger.state.delete(key)
            try:
                writes = _looked(api, books, intent, state, now)
            except SinkError:
                writes = [books.ledger.check(intent, now + PAUSE)]
            except StripeRefused as error:
                words = f"whether it is counted twice cannot be found out: {error}"
                writes = [books.ledger.problem(intent.identifier, words)]
            return Report(state=[done, *writes])
    return None


def _looked(
    api: StripeApi, books: MeterBooks, intent: Intent, state: SinkState, now: datetime
) -> list[StateWrite]:
    """Return what a look comes to.

    Raises:
        RetryableSinkError, FatalSinkError, StripeRefused: as `StripeApi.counted`.
    """
    ledger = books.ledger
    if intent.state != "delivered":
        return []
    if intent.in_flight_at is not None:  # taking it back was begun, and its answer is not known
        return _taken_back(api, books, intent, state, now)
    value = proof.counted(api, ledger.meter_id, intent)
    arrived = intent.arrived_at or intent.frozen_at
    if value == 2 * intent.value and now < arrived + CANCELS:
        return _taken_back(api, books, intent, state, now)
    looks = {intent.value: LOOKS, 0: (*LOOKS, LAST)}.get(int(value), ())
    ahead = [arrived + look for look in looks if arrived + look > now]
    if ahead:
        return [ledger.check(intent, ahead[0])]
    if value == intent.value:
        return []
    return [ledger.problem(intent.identifier, _words(books, intent, value))]


def _words(books: MeterBooks, intent: Intent, value: Decimal) -> str:
    sent = amount(intent.value, books.options.unit)
    at = f"{intent.slot:%Y-%m-%d %H:%M} UTC, {intent.customer}"
    if value == 2 * intent.value:
        return (
            f"{at}: {sent} is counted twice, as {intent.replaces} and {intent.identifier}, and "
            f"Stripe takes neither back any more: correct the invoice by {sent}"
        )
    count = amount(value, books.options.unit) if value else "still none of it"
    return f"{at}: {sent} was sent a second time; Stripe counts {count}; see `meter stripe resolve`"


def _taken_back(
    api: StripeApi, books: MeterBooks, intent: Intent, state: SinkState, now: datetime
) -> list[StateWrite]:
    """Take the new generation back; what was begun is stored before the call."""
    ledger = books.ledger
    begun = intent.begun(now)
    state.commit([ledger.put_aside(begun)])
    answer = api.cancel(event_name=intent.event_name, identifier=intent.identifier)
    after = answered(begun, "cancel", answer, now)
    if after.state == "cancelled":
        return _old_stands(books, after, now)
    if after.cancel_refused:
        words = f"{_words(books, intent, Decimal(2 * intent.value))} (Stripe: {answer.message})"
        return [ledger.put_aside(after), ledger.problem(intent.identifier, words)]
    return [ledger.check(intent, now + SOON)]


def _old_stands(books: MeterBooks, new: Intent, now: datetime) -> list[StateWrite]:
    """Give events and slot back to the generation before, which is what Stripe counts."""
    ledger = books.ledger
    old = None if new.replaces is None else ledger.intent(new.replaces)
    if old is None:
        words = "it was taken back, because it was counted twice; what it replaced is not known"
        return [ledger.put_aside(new), ledger.problem(new.identifier, words)]
    new = new.changed(note=f"counted twice, together with {old.identifier}: taken back")
    old = old.changed(
        state="delivered",
        arrived_at=now,
        next_at=None,
        empty_since=None,
        note=f"it had arrived after all; {new.identifier} was taken back",
    )
    writes = [
        ledger.put_aside(new),
        ledger.put_aside(old),
        *ledger.take(old),
        ledger.problem(new.identifier, None),
    ]
    for event_id, link in ledger.links(new.events).items():
        writes += [
            ledger.put_aside(taker.changed(takes_from=old.identifier))
            for taker in ledger.intents({*link.past, *([link.now] if link.now else [])}).values()
            if taker.takes_from == new.identifier
        ]
        if link.now == new.identifier:
            back = link.to(old.identifier)
            past = tuple(one for one in back.past if one != old.identifier)
            writes.append(ledger.link(event_id, type(link)(old.identifier, past)))
    return writes
