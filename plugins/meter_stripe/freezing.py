"""Freezing: usage becomes an intent, with its slot, its links and its tally, in one transaction."""

from __future__ import annotations

from collections.abc import Container
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter_stripe.intents import Intent, minute_of
from meter_stripe.slots import HOUR, MINUTE, choose

if TYPE_CHECKING:
    from meter.sinks import StateWrite
    from meter_stripe.jobs import Chain, Job
    from meter_stripe.ledger import Ledger, Link

__all__ = ["TooLarge", "correction", "free_minute", "freeze", "reissue"]

DIGITS: Final = 15
"""Significant digits that Stripe takes (reference: stripe.md §1)."""


class TooLarge(Exception):
    """More than Stripe takes in one meter event."""


class _Taken(Container[int]):
    """The minutes of one customer that have an owner; the first hour is read at once."""

    def __init__(self, ledger: Ledger, customer: str, at: int) -> None:
        self._ledger = ledger
        self._customer = customer
        self._start = at - at % HOUR
        self._hour = ledger.taken(customer, self._start, self._start + HOUR)

    def __contains__(self, minute: object) -> bool:
        if not isinstance(minute, int):
            return False
        if self._start <= minute < self._start + HOUR:
            return minute in self._hour
        return bool(self._ledger.taken(self._customer, minute, minute + MINUTE))


def freeze(
    chain: Chain, job: Job, now: datetime, *, flushing: bool
) -> tuple[Intent, list[StateWrite]]:
    """Make the intent of a job's usage, and the writes that store it; the chain's tally moves.

    Less than one unit is absorbed: nothing is sent for it now, and it stays in the tally.

    Raises:
        Wait: its minute has not begun.
        TooLarge: the value has more digits than Stripe takes.
    """
    books, usages = chain.books, job.usages
    seconds = sum((usage.seconds for usage in usages), Decimal(0))
    value = chain.tally.units(seconds, books.options.unit_seconds)
    if value >= 10**DIGITS:
        raise TooLarge(f"{value} has more than the {DIGITS} digits that Stripe takes")
    last = now if job.carried else max(usage.occurred_at for usage in usages)
    at = int(last.timestamp())
    minute = minute_of(last)
    if value:
        taken = _Taken(books.ledger, chain.customer, at)
        minute = choose(at, int(now.timestamp()), taken, flushing=flushing)
    events = tuple(usage.event_id for usage in usages)
    generation = 1 + max(len(usage.link.past) for usage in usages)
    intent = Intent(
        identifier=books.identifier(chain.customer, events, value, generation),
        event_name=books.event_name,
        customer=chain.customer,
        value=value,
        seconds=seconds,
        minute=minute,
        events=events,
        generation=generation,
        carried=job.carried,
        frozen_at=now,
        state="open" if value else "absorbed",
    )
    writes = [books.ledger.link(u.event_id, u.link.to(intent.identifier)) for u in usages]
    if value:
        writes += [*books.ledger.put(intent), *books.ledger.take(intent)]
    else:
        writes.append(books.ledger.put_aside(intent))
    chain.tally = chain.tally.plus(seconds, value)
    writes.append(books.ledger.tally(chain.customer, chain.tally))
    return intent, writes


def free_minute(chain: Chain, near: int, now: datetime) -> int:
    """Return a free minute of a chain's customer near a minute, for what takes back or evens out.

    Raises:
        Wait: no minute is free.
    """
    taken = _Taken(chain.books.ledger, chain.customer, near)
    return choose(near, int(now.timestamp()), taken, flushing=True)


def correction(
    chain: Chain, intent: Intent, event_id: str, seconds: Decimal, link: Link, now: datetime
) -> tuple[Intent, list[StateWrite]]:
    """Make the negative intent that takes one event back, in a free minute near its own.

    Raises:
        Wait: no minute is free.
    """
    books = chain.books
    used = chain.tally.used - seconds
    value = int(used // books.options.unit_seconds) - chain.tally.sent
    minute = free_minute(chain, intent.minute, now) if value else intent.minute
    generation = 1 + len(link.past)
    made = Intent(
        identifier=books.identifier(chain.customer, [event_id], value, generation, "correction"),
        event_name=books.event_name,
        customer=chain.customer,
        value=value,
        seconds=-seconds,
        minute=minute,
        events=(event_id,),
        generation=generation,
        kind="correction",
        takes_from=intent.identifier,
        frozen_at=now,
        state="open" if value else "absorbed",
    )
    chain.tally = chain.tally.plus(-seconds, value)
    writes = [
        books.ledger.link(event_id, link.to(made.identifier)),
        books.ledger.tally(chain.customer, chain.tally),
    ]
    if value:
        writes += [*books.ledger.put(made), *books.ledger.take(made)]
    else:
        writes.append(books.ledger.put_aside(made))
    return made, writes


def reissue(chain: Chain, intent: Intent, now: datetime) -> tuple[Intent, list[StateWrite]]:
    """Make the next generation of an intent that never arrived, in the same slot."""
    books = chain.books
    generation = intent.generation + 1
    made = Intent(
        identifier=books.identifier(
            intent.customer,
            intent.events or [intent.identifier],
            intent.value,
            generation,
            intent.kind,
        ),
        event_name=intent.event_name,
        customer=intent.customer,
        value=intent.value,
        seconds=intent.seconds,
        minute=intent.minute,
        events=intent.events,
        generation=generation,
        kind=intent.kind,
        carried=intent.carried,
        replaces=intent.identifier,
        takes_from=intent.takes_from,
        frozen_at=now,
    )
    ledger = books.ledger
    links = ledger.links(intent.events)
    writes = [
        ledger.link(event_id, links[event_id].to(made.identifier))
        for event_id in intent.events
        if event_id in links and links[event_id].now == intent.identifier
    ]
    gone = intent.changed(state="reissued", note=f"never arrived; {made.identifier} replaces it")
    slot = datetime.fromtimestamp(intent.minute, UTC)
    return made, [
        *writes,
        ledger.put_aside(gone),
        *ledger.put(made),
        *ledger.take(made),
        ledger.compare(slot, intent.customer),
    ]
