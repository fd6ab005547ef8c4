"""Imbalances: customers whose sent units may not be those of their usage any more.

A meter event that does not stand after all takes its units and its seconds out of the tally. The
fractions that other usage was rounded with stay, so that a unit too much may be left for each one,
or too little where a negative event was undone. What is noted here is measured later, and evened
out; see `true_ups`.

The record is `z/<customer>` in the meter's ledger.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

import msgspec

from meter_stripe.findings import amount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from meter.sinks import StateWrite
    from meter_stripe.intents import Intent
    from meter_stripe.ledger import Ledger

__all__ = ["Imbalance", "evened", "imbalances", "refused", "undone"]

PREFIX: Final = "z/"
PAGE: Final = 1000
SOON: Final = timedelta(minutes=2)
"""What was undone mostly comes back as new usage, and evens itself out."""
LONGEST: Final = timedelta(days=1)


class Imbalance(msgspec.Struct, frozen=True, omit_defaults=True):
    """A customer on one meter of whom something was undone.

    Attributes:
        minute: where it was billed, unix seconds.
        at: measure it not before.
        refused: the identifier of the latest true-up that did not stand.
    """

    minute: int
    at: datetime
    refused: str = ""


def undone(ledger: Ledger, intents: Collection[Intent], now: datetime) -> StateWrite:
    """Make the write that has a customer measured, because intents left the tally.

    A true-up that is refused is tried again ever more rarely, for as long as it takes.

    Args:
        ledger: of the meter.
        intents: of one customer; at least one.
        now: the present moment.
    """
    last = max(intents, key=lambda intent: intent.minute)
    before = _found(ledger, last.customer)
    made = Imbalance(last.minute, now + SOON, "" if before is None else before.refused)
    for intent in intents:
        if intent.kind == "true_up":
            wait = min(LONGEST, SOON * 2.0 ** min(intent.generation, 10))
            made = Imbalance(last.minute, now + wait, intent.identifier)
    return ledger.state.put(_key(last.customer), msgspec.json.encode(made).decode())


def evened(ledger: Ledger, customer: str) -> list[StateWrite]:
    """Make the writes after which nothing is left to measure, nor to be shown of it."""
    over = [
        ledger.problem(intent.identifier, None)
        for intent, _ in ledger.problems()
        if intent.customer == customer and intent.kind == "true_up" and intent.state == "rejected"
    ]
    return [ledger.state.delete(_key(customer)), *over]


def refused(ledger: Ledger, intent: Intent, words: str) -> StateWrite:
    """Make the write that shows a true-up that does not stand."""
    record = ledger.record()
    unit = "unit" if record is None else record.unit
    much = "too much" if intent.value < 0 else "too little"
    return ledger.problem(
        intent.identifier,
        f"{amount(abs(intent.value), unit)} {much} stays billed: evening it out did not count: "
        f"{words}; put that right, it is tried again by itself, at most a day apart",
    )


def imbalances(ledger: Ledger) -> Iterator[tuple[str, Imbalance]]:
    """Yield the customers that are to be measured, in order."""
    after = ""
    while pairs := ledger.state.scan(PREFIX, after=after, limit=PAGE):
        for key, value in pairs:
            yield unquote(key.removeprefix(PREFIX)), msgspec.json.decode(value, type=Imbalance)
        after = pairs[-1][0]


def _found(ledger: Ledger, customer: str) -> Imbalance | None:
    value = ledger.state.get(_key(customer))
    return None if value is None else msgspec.json.decode(value, type=Imbalance)


def _key(customer: str) -> str:
    return f"{PREFIX}{quote(customer, safe='')}"
