"""What a person says of a meter event that differs is done once, and by the sink alone."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meter.sandbox.stripe_faults import StripePlan
from meter_stripe.comparison import DayFigures, compare
from meter_stripe.intents import Intent
from meter_stripe.ledger import Decision
from meter_stripe.resolving import (
    Unresolvable,
    accept_day,
    resolve_counted,
    resolve_missing,
    ways_out,
)
from support.stripe_till import Till, till


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Till]:
    with till(tmp_path) as made:
        yield made


def say(shop: Till, act: Any, event: str, reason: str = "") -> None:
    intent = shop.intents(event)[-1]
    shop.commit(act(shop.books, intent, "anna", shop.clock.now(), reason))
    shop.steps()


def dispute(shop: Till, event: str) -> Intent:
    """Have an event whose intent is disputed; Stripe counts it or not, as before."""
    (intent,) = shop.intents(event)
    disputed = intent.changed(state="disputed", note="disputed")
    shop.edit(disputed)
    shop.commit([shop.ledger.problem(intent.identifier, "disputed")])
    shop.journal.exceptions.recall("billing", {event: "test"}, shop.clock.now()).wait()
    shop.steps(2)
    assert shop.place(event) == ("held", "disputed")
    return disputed


def day_of(shop: Till, day: date = date(2026, 11, 22)) -> DayFigures:
    (figures,) = compare(
        shop.unopened().api(),
        shop.books,
        customers=["cus_1"],
        start=day,
        end=day + timedelta(days=1),
        now=shop.clock.now(),
    )
    return figures


# -- what a person says ----------------------------------------------------------------------------


def test_a_disputed_intent_that_is_counted_after_all_is_delivered(shop: Till) -> None:
    (event,) = shop.sent("a")
    dispute(shop, event)
    say(shop, resolve_counted, event, "seen in the dashboard")
    assert shop.place(event)[0] == "delivered"
    (intent,) = shop.intents(event)
    assert intent.state == "delivered"
    assert intent.note == ("anna said on 2026-11-22 that Stripe counts it (seen in the dashboard)")
    assert shop.problems() == []
    assert list(shop.ledger.resolutions()) == []
    assert shop.ledger.resolved([intent.identifier])[intent.identifier].outcome == "done"
    assert shop.billed() == 60
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 60


def test_a_disputed_intent_that_is_missing_is_billed_anew_in_another_generation(
    shop: Till,
) -> None:
    (event,) = shop.sent("a")
    shop.lose(event)
    dispute(shop, event)
    shop.clock.advance(hours=2)
    say(shop, resolve_missing, event)
    assert shop.place(event)[0] == "delivered"
    first, second = shop.intents(event)
    assert (first.state, second.state, second.generation) == ("reissued", "delivered", 2)
    assert first.minute != second.minute
    assert shop.billed() == 60
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 60
    assert shop.problems() == []


def test_a_delivered_one_that_the_audit_found_missing_is_billed_anew(shop: Till) -> None:
    events = shop.sent("a", "b", "c")
    shop.lose(events[1])
    shop.until(hour=2)
    shop.steps(30)
    assert len(shop.problems()) == 1
    say(shop, resolve_missing, events[1])
    assert shop.problems() == []
    assert shop.billed() == 180
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 180
    shop.until(hour=4)
    shop.steps(30)
    shop.until(hour=2)
    shop.steps(30)
    assert shop.problems() == shop.day_problems() == []
    assert list(shop.ledger.days()) == []


def test_what_a_person_called_counted_is_no_problem_any_more(shop: Till) -> None:
    (event,) = shop.sent("a")
    (intent,) = shop.intents(event)
    shop.add_at_stripe(7, intent.slot)
    shop.until(hour=2)
    shop.steps(30)
    (words,) = shop.problems()
    assert "60 seconds delivered, and Stripe counts 67 seconds" in words
    say(shop, resolve_counted, event)
    assert shop.problems() == []
    for _ in range(2):
        shop.until(hour=4)
        shop.steps(30)
    assert shop.problems() == shop.day_problems() == []
    assert list(shop.ledger.days()) == []


def test_a_rejected_one_that_is_counted_bills_its_events_without_sending(shop: Till) -> None:
    shop.plan(StripePlan(status=400))
    (event,) = shop.sent("a")
    assert shop.place(event)[0] == "dead"
    (intent,) = shop.intents(event)
    assert intent.state == "rejected"
    shop.add_at_stripe(60, intent.slot, identifier=intent.identifier)
    say(shop, resolve_counted, event)
    shop.redrive()
    shop.steps()
    assert shop.place(event)[0] == "delivered"
    assert shop.billed() == 60
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 60


def test_a_rejected_one_that_was_billed_anew_cannot_be_called_counted(shop: Till) -> None:
    shop.plan(StripePlan(status=400))
    (event,) = shop.sent("a")
    (first,) = shop.intents(event)
    shop.redrive()
    shop.steps()
    with pytest.raises(Unresolvable, match="billed anew"):
        resolve_counted(shop.books, first, "anna", shop.clock.now())


@pytest.mark.parametrize("state", ["open", "cancelling", "cancelled", "reissued", "absorbed"])
def test_of_anything_else_there_is_nothing_to_say(shop: Till, state: Any) -> None:
    (event,) = shop.sent("a")
    (intent,) = shop.intents(event)
    for act in (resolve_counted, resolve_missing):
        with pytest.raises(Unresolvable, match=state):
            act(shop.books, intent.changed(state=state), "anna", shop.clock.now())


def test_what_is_young_cannot_be_called_missing(shop: Till) -> None:
    (event,) = shop.sent("a")
    (intent,) = shop.intents(event)
    with pytest.raises(Unresolvable, match="an hour"):
        resolve_missing(shop.books, intent, "anna", shop.clock.now())


def test_what_changed_since_it_was_said_is_not_done(shop: Till) -> None:
    (event,) = shop.sent("a")
    intent = dispute(shop, event)
    shop.clock.advance(hours=2)
    said = resolve_missing(shop.books, intent, "anna", shop.clock.now())
    shop.edit(intent.changed(state="cancelled"))
    shop.commit(said)
    shop.steps()
    assert list(shop.ledger.resolutions()) == []
    kept = shop.ledger.resolved([intent.identifier])[intent.identifier]
    assert kept.outcome.startswith("not done: it is cancelled")
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 60


def test_a_negative_event_that_is_missing_is_tried_again(shop: Till) -> None:
    past = timedelta(minutes=3)
    one, two = shop.use("one", 60, ago=past), shop.use("two", 40, ago=past)
    shop.steps(2)
    shop.clock.advance(hours=30)
    wanted = shop.ledger.decide(two, Decision("cancel", "anna", shop.clock.now()))
    now = shop.clock.now()
    shop.journal.exceptions.recall("billing", {two: "taken back"}, now, [wanted]).wait()
    shop.steps()
    assert shop.billed() == 60
    negative = next(i for i in shop.intents(two) if i.kind == "correction")
    shop.cancel_at_stripe(negative.identifier)
    assert shop.billed() == 100
    shop.clock.advance(hours=2)
    shop.commit(resolve_missing(shop.books, negative, "anna", shop.clock.now()))
    shop.steps()
    assert shop.billed() == 60
    assert shop.ledger.links([two])[two].cancelled
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 60
    assert {shop.place(one)[0], shop.place(two)[0]} == {"delivered"}


def test_a_day_with_somebody_elses_usage_can_be_accepted(shop: Till) -> None:
    shop.sent("a")
    shop.add_at_stripe(7, shop.clock.now() - timedelta(minutes=45))
    shop.until(hour=2)
    shop.steps(30)
    assert len(shop.day_problems()) == 1
    figures = day_of(shop)
    now = shop.clock.now()
    shop.commit(accept_day(shop.books, figures, "anna", now, "a gift"))
    assert shop.day_problems() == []
    kept = day_of(shop).accepted
    assert kept is not None
    assert (kept.who, kept.at, kept.reason, kept.difference) == (
        *("anna", now, "a gift"),
        Decimal(7),
    )
    reads = shop.reads
    shop.until(hour=4)
    shop.until(hour=4)
    shop.steps(30)
    assert shop.reads == reads


def test_the_audit_takes_an_accepted_day_for_one_that_agrees(shop: Till) -> None:
    shop.sent("a")
    shop.add_at_stripe(7, shop.clock.now() - timedelta(minutes=45))
    shop.clock.advance(hours=2)
    shop.commit(accept_day(shop.books, day_of(shop), "anna", shop.clock.now()))
    shop.commit([shop.ledger.compare(shop.clock.now(), "cus_1")])
    shop.until(hour=2)
    shop.steps(30)
    assert shop.day_problems() == []
    assert list(shop.ledger.days()) == []


def test_only_the_difference_that_was_seen_is_accepted(shop: Till) -> None:
    (event,) = shop.sent("a")
    at = shop.clock.now()
    shop.add_at_stripe(7, at - timedelta(minutes=45))
    shop.clock.advance(hours=2)
    shop.commit(accept_day(shop.books, day_of(shop), "anna", shop.clock.now()))
    assert day_of(shop).difference == 0
    shop.add_at_stripe(5, at - timedelta(minutes=50), identifier="more")
    assert day_of(shop).difference == 5
    assert day_of(shop).accepted is None
    shop.commit(accept_day(shop.books, day_of(shop), "anna", shop.clock.now()))
    assert day_of(shop).difference == 0
    shop.lose(event)
    assert day_of(shop).difference == -60


def test_a_day_that_is_accepted_too_young_is_still_compared_at_night(shop: Till) -> None:
    shop.sent("a")
    shop.add_at_stripe(70, shop.clock.now() - timedelta(minutes=45))
    shop.commit(accept_day(shop.books, day_of(shop), "anna", shop.clock.now()))
    assert len(list(shop.ledger.days())) == 1


def test_only_what_can_work_is_recommended(shop: Till) -> None:
    (event,) = shop.sent("a")
    (intent,) = shop.intents(event)
    now = shop.clock.now()
    assert ways_out(shop.books, intent, Decimal(0), now) == ["counted"]
    later = now + timedelta(hours=2)
    assert ways_out(shop.books, intent, Decimal(0), later) == ["missing", "counted"]
    assert ways_out(shop.books, intent, Decimal(67), later) == ["counted"]
    assert ways_out(shop.books, intent.changed(state="reissued"), Decimal(7), later) == []
