"""Whatever is reported, taken back and sent again, the tally holds what is used and counted."""

import random
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meter.sandbox.stripe_faults import StripeFaults
from meter_stripe.ledger import Decision, Link, Tally
from support.stripe_till import EVENT, POSTS, Till, till

CUSTOMERS = ("cus_1", "cus_2")
BAD_DAY = StripeFaults(
    rejected_later=0.3,
    response_lost=0.1,
    request_lost=0.1,
    server_error=0.05,
    server_error_recorded=0.05,
    paths=(POSTS,),
)


def take_back(shop: Till, event: str) -> None:
    now = shop.clock.now()
    writes = []
    if not shop.ledger.decisions([event]):
        writes.append(shop.ledger.decide(event, Decision("cancel", "anna", now)))
    shop.journal.exceptions.recall("billing", {event: "taken back"}, now, writes).wait()


def some_use(shop: Till, chance: random.Random, number: int) -> str:
    return shop.use(
        f"event {number}",
        chance.randint(1, 200),
        customer=chance.choice(CUSTOMERS),
        ago=timedelta(minutes=chance.randint(0, 90)),
    )


def trouble(shop: Till, chance: random.Random) -> set[str]:
    """Have a bad time; return the events that were to be taken back."""
    shop.steps(1)
    shop.stripe.faults = BAD_DAY
    events = [some_use(shop, chance, 0)]
    gone: set[str] = set()
    for _ in range(chance.randint(10, 30)):
        match chance.choice("uuutrda"):
            case "u":
                events += [some_use(shop, chance, len(events)) for _ in range(2)]
            case "t":
                event = chance.choice(events)
                take_back(shop, event)
                gone.add(event)
            case "r":
                shop.reported()
            case "d":
                shop.redrive()
            case _:
                shop.clock.advance(hours=chance.choice([1, 5, 24, 30]))
        shop.steps(chance.randint(1, 6), apart=chance.choice([2, 61]))
    shop.stripe.faults = StripeFaults()
    return gone


def settle(shop: Till, gone: set[str]) -> None:
    """Let everything come to its end; what was refused is asked for again."""
    for _ in range(48):
        shop.clock.advance(hours=1)
        shop.steps(4)
        shop.reported()
        shop.steps(4)
        links = shop.ledger.links(gone)
        for event in sorted(gone):
            if not links.get(event, Link()).cancelled:
                take_back(shop, event)
        shop.redrive()
        shop.steps(4)


@pytest.mark.parametrize("unit", ["second", "minute"])
@pytest.mark.parametrize("number", range(4))
def test_the_tally_is_what_is_used_and_what_stripe_counts(
    tmp_path: Path, number: int, unit: str
) -> None:
    chance = random.Random(f"{number} {unit}")
    rules = {"report_lag_seconds": chance.choice([0, 600, 7200, 130_000]), "report_samples": 1000}
    with till(tmp_path, rules=rules, meters=[{"event_name": EVENT, "unit": unit}]) as shop:
        gone = trouble(shop, chance)
        settle(shop, gone)
        stored = [entry.event for entry in shop.journal.read(0, 1000)]
        for customer in CUSTOMERS:
            used = sum(
                (
                    event.billed_seconds or Decimal(0)
                    for event in stored
                    if event.customer_id == customer and event.event_id not in gone
                ),
                Decimal(0),
            )
            tally = shop.ledger.tallies([customer]).get(customer, Tally())
            assert (tally.used, Decimal(tally.sent)) == (used, shop.billed(customer))
        assert shop.balance.delivered == len(stored)
