"""What was sent a second time is watched for a day, and taken back if it is counted twice."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meter.sandbox.stripe_faults import StripePlan
from meter_stripe.intents import Intent
from meter_stripe.ledger import Decision
from support.stripe_till import POSTS, SINK, SUMMARIES, Till, till

ADJUSTMENTS = "/v1/billing/meter_event_adjustments"


def reissued(shop: Till, event: str) -> tuple[Intent, Intent]:
    """Go on until an event's intent was sent a second time, after a day without an answer."""
    for _ in range(200):
        shop.steps(2, apart=1)
        found = shop.intents(event)
        if len(found) == 2 and found[1].state == "delivered":
            return found[0], found[1]
        shop.clock.advance(seconds=900)
    raise AssertionError("it was never sent again")


def lost_for_a_day(shop: Till, name: str = "a", *, arrives: bool = False) -> tuple[str, Intent]:
    """Have usage whose first meter event got no answer for a day; return it, unseen by Stripe."""
    lost = StripePlan(lost="response" if arrives else "request")
    shop.plan(lost, *[StripePlan(lost="request")] * 500, path=POSTS)
    event = shop.use(name, ago=timedelta(minutes=3))
    shop.steps(2)
    (intent,) = shop.intents(event)
    for _ in range(24):
        shop.clock.advance(hours=1)
        shop.steps(2)
    shop.stripe._plans.clear()
    return event, intent


def test_a_reissue_that_is_counted_once_is_looked_at_three_times(tmp_path: Path) -> None:
    with till(tmp_path, verify=False) as shop:
        event, _ = lost_for_a_day(shop)
        reissued(shop, event)
        before = shop.reads
        looks = []
        for hour in range(1, 40):
            shop.clock.advance(hours=1)
            shop.steps(2)
            if shop.reads > before:
                looks.append(hour)
                before = shop.reads
        assert looks == [1, 6, 22]
        assert shop.problems() == []
        assert shop.billed() == 60
        assert list(shop.ledger.checks(shop.clock.now() + timedelta(days=9))) == []


def twice(shop: Till) -> tuple[str, Intent, Intent]:
    """Have a slot counted twice: the first meter event arrives after the second."""
    event, _ = lost_for_a_day(shop)
    old, new = reissued(shop, event)
    shop.add_at_stripe(60, old.slot, identifier=old.identifier)
    assert shop.billed() == 120
    shop.clock.advance(hours=1.1)
    return event, old, new


def test_what_is_counted_twice_is_taken_back_once(tmp_path: Path) -> None:
    with till(tmp_path, verify=False) as shop:
        event, old, new = twice(shop)
        shop.steps()
        assert shop.billed() == 60
        link = shop.ledger.links([event])[event]
        assert (link.now, link.past) == (old.identifier, (new.identifier,))
        found = shop.ledger.intents([old.identifier, new.identifier])
        assert found[old.identifier].state == "delivered"
        assert found[new.identifier].state == "cancelled"
        assert shop.ledger.taken("cus_1", old.minute, old.minute + 60) == {
            old.minute: old.identifier
        }
        assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 60
        assert shop.place(event)[0] == "delivered"
        assert shop.problems() == []
        shop.clock.advance(hours=30)
        shop.steps()
        assert shop.billed() == 60


@pytest.mark.parametrize("fault", [{"lost": "response"}, {"lost": "request"}, {"status": 503}])
def test_taking_back_goes_on_after_a_lost_answer(tmp_path: Path, fault: Any) -> None:
    with till(tmp_path, verify=False) as shop:
        event, old, _ = twice(shop)
        shop.plan(StripePlan(**fault), path=ADJUSTMENTS)
        shop.steps(2)
        assert shop.ledger.links([event])[event].now != old.identifier
        shop.restart()
        shop.steps(60, apart=5)
        assert shop.ledger.links([event])[event].now == old.identifier
        assert shop.billed() == 60


def test_what_can_no_longer_be_taken_back_is_told_to_a_person(tmp_path: Path) -> None:
    with till(tmp_path, verify=False) as shop:
        _, _, new = twice(shop)
        shop.clock.advance(hours=30)
        shop.steps()
        (words,) = shop.problems()
        assert "is counted twice" in words
        assert new.identifier in words
        assert "correct the invoice by 60 seconds" in words
        assert shop.billed() == 120


def test_what_stripe_will_not_take_back_is_told_in_its_words(tmp_path: Path) -> None:
    with till(tmp_path, verify=False) as shop:
        twice(shop)
        shop.plan(StripePlan(status=400), path=ADJUSTMENTS)
        shop.steps()
        (words,) = shop.problems()
        assert "Refused by plan." in words


def test_a_reissue_that_is_never_counted_is_told_after_a_day(tmp_path: Path) -> None:
    with till(tmp_path, verify=False) as shop:
        event, _ = lost_for_a_day(shop)
        reissued(shop, event)
        shop.lose(event)
        for _ in range(24):
            shop.clock.advance(hours=1)
            shop.steps(2)
        assert shop.problems() == []
        shop.clock.advance(hours=2)
        shop.steps(2)
        (words,) = shop.problems()
        assert "was sent a second time; Stripe counts still none of it" in words


def test_while_summaries_cannot_be_had_the_check_waits(tmp_path: Path) -> None:
    with till(tmp_path, verify=False) as shop:
        event, old, _ = twice(shop)
        shop.plan(StripePlan(status=503), path=SUMMARIES)
        shop.steps(2)
        (good,) = shop.sent("b")
        assert shop.place(good)[0] == "delivered"
        shop.steps(30, apart=60)
        assert shop.ledger.links([event])[event].now == old.identifier


def taken_back_without_an_answer(shop: Till, event: str) -> Intent:
    """Take an event back by a negative event whose first generation never arrived."""
    shop.clock.advance(hours=30)
    now = shop.clock.now()
    shop.plan(*[StripePlan(lost="request")] * 500, path=POSTS)
    writes = [shop.ledger.decide(event, Decision("cancel", "anna", now))]
    shop.journal.exceptions.recall(SINK, {event: "taken back"}, now, writes).wait()
    for _ in range(24):
        shop.steps(2)
        shop.clock.advance(hours=1)
    shop.stripe._plans.clear()
    for _ in range(200):
        shop.steps(2, apart=1)
        made = shop.intents(event)[-1]
        if made.state == "delivered" and made.replaces is not None:
            return made
        shop.clock.advance(seconds=900)
    raise AssertionError("it was never sent again")


def test_a_negative_event_that_is_sent_anew_takes_from_the_same_meter_event(
    tmp_path: Path,
) -> None:
    with till(tmp_path, verify=False) as shop:
        (event,) = shop.sent("a")
        (usage,) = shop.intents(event)
        made = taken_back_without_an_answer(shop, event)
        assert made.takes_from == usage.identifier
        assert shop.billed() == 0
        said = "\n".join(shop.unopened().explain(made.identifier))
        assert f"for {usage.identifier}, instead of {made.replaces}" in said


def test_a_negative_event_that_arrives_twice_takes_back_once(tmp_path: Path) -> None:
    with till(tmp_path, verify=False) as shop:
        (event,) = shop.sent("a")
        made = taken_back_without_an_answer(shop, event)
        shop.add_at_stripe(-60, made.slot, identifier=str(made.replaces))
        assert shop.billed() == -60
        shop.clock.advance(hours=1.1)
        shop.steps()
        assert shop.billed() == 0
        assert shop.ledger.links([event])[event].cancelled
        assert shop.problems() == []


def test_what_was_taken_from_a_second_generation_is_taken_from_the_one_that_stands(
    tmp_path: Path,
) -> None:
    with till(tmp_path, verify=False) as shop:
        event, old, new = twice(shop)
        shop.edit(new.changed(cancel_refused=True))  # so that a negative event takes it back
        now = shop.clock.now()
        shop.commit([shop.ledger.decide(event, Decision("cancel", "anna", now))])
        shop.journal.exceptions.recall(SINK, {event: "taken back"}, now).wait()
        shop.steps()
        (taker,) = [i for i in shop.intents(event) if i.kind == "correction"]
        shop.edit(shop.intents(event)[1].changed(cancel_refused=False))
        shop.clock.advance(hours=6)
        shop.steps()
        assert shop.billed() == 0
        (after,) = shop.ledger.intents([taker.identifier]).values()
        assert after.takes_from == old.identifier
