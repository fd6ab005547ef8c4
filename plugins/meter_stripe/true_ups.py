"""True-ups: what was undone leaves a unit too much or too little, and this evens it out.

A true-up is an intent without events, of the difference between the units that a customer's usage
makes and those that were sent; mostly it is negative. No event waits for it, so that it is made,
sent and resumed from `tend`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from meter_stripe.freezing import free_minute
from meter_stripe.imbalances import Imbalance, evened, imbalances
from meter_stripe.intents import Intent, minute_of
from meter_stripe.jobs import Chain, Job
from meter_stripe.late import late_reason
from meter_stripe.ledger import Tally
from meter_stripe.verdicts import Verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meter.sinks import StateWrite
    from meter_stripe.books import MeterBooks
    from meter_stripe.options import StripeOptions

__all__ = ["chains", "even_out", "owed"]

AT_A_TIME: Final = 100
"""So many customers of a meter are seen to between two deliveries."""


def owed(tally: Tally, unit_seconds: int) -> int:
    """Return the whole units that are due and were not sent; negative: sent, and not due."""
    return int(tally.used // unit_seconds) - tally.sent


def chains(
    meters: Iterable[MeterBooks], options: StripeOptions, now: datetime
) -> tuple[list[Chain], list[StateWrite]]:
    """Return what is to be sent to even out what was undone, and the writes where nothing is.

    A customer with another open intent waits for that: it has one at a time.
    """
    found: list[Chain] = []
    writes: list[StateWrite] = []
    for books in meters:
        ripe = ((name, one) for name, one in imbalances(books.ledger) if one.at <= now)
        due = dict(islice(ripe, AT_A_TIME))
        tallies = books.ledger.tallies(due)
        open_intents = books.ledger.open_intents(due)
        for customer, imbalance in due.items():
            tally = tallies.get(customer, Tally())
            intent = open_intents.get(customer)
            if intent is None and not owed(tally, books.options.unit_seconds):
                writes += evened(books.ledger, customer)
            elif intent is None:
                chain = Chain(books, customer, tally, Verdicts())
                chain.jobs.append(Job(evens=_placed(imbalance, options, now)))
                found.append(chain)
            elif intent.kind == "true_up" and (intent.next_at is None or intent.next_at <= now):
                chain = Chain(books, customer, tally, Verdicts())
                chain.jobs.append(Job(intent))
                found.append(chain)
    return found, writes


def even_out(chain: Chain, imbalance: Imbalance, now: datetime) -> tuple[Intent, list[StateWrite]]:
    """Make the intent of what a customer is owed, in a free minute near what was undone.

    Raises:
        Wait: no minute is free.
    """
    books, tally = chain.books, chain.tally
    value = owed(tally, books.options.unit_seconds)
    minute = free_minute(chain, imbalance.minute, now)
    before = books.ledger.intent(imbalance.refused) if imbalance.refused else None
    intent = Intent(
        # No event tells one from the next: the state it was made in does, and its minute.
        identifier=books.identifier(
            chain.customer, [str(tally.used), str(tally.sent), str(minute)], value, 1, "true_up"
        ),
        event_name=books.event_name,
        customer=chain.customer,
        value=value,
        seconds=tally.used * 0,
        minute=minute,
        events=(),
        generation=1 if before is None else before.generation + 1,
        kind="true_up",
        frozen_at=now,
    )
    chain.tally = tally.plus(intent.seconds, value)
    return intent, [
        *books.ledger.put(intent),
        *books.ledger.take(intent),
        books.ledger.tally(chain.customer, chain.tally),
    ]


def _placed(imbalance: Imbalance, options: StripeOptions, now: datetime) -> Imbalance:
    """Return it where Stripe, and the invoice, still take something."""
    billed = datetime.fromtimestamp(imbalance.minute, UTC)
    if late_reason(billed, now, options) is None:
        return imbalance
    return Imbalance(minute_of(now), imbalance.at, imbalance.refused)
