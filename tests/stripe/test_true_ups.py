"""True-ups: what undone meter events leave too much or too little is evened out by itself."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meter.sandbox.stripe_faults import StripePlan
from meter_stripe.customers import customers_for
from meter_stripe.forecast import EVENS_OUT, Forecast, forecast
from meter_stripe.imbalances import imbalances, undone
from meter_stripe.intents import Intent
from meter_stripe.ledger import Tally
from support.stripe_desk import DeskTill, desk_till
from support.stripe_till import EVENT, Till, till

NOT_FOUND = "meter_event_customer_not_found"
MINUTES = [{"event_name": EVENT, "unit": "minute"}]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Till]:
    with till(tmp_path, verify=False, meters=MINUTES) as made:
        yield made


def too_much(shop: Till) -> tuple[str, str]:
    """Have 90 and 40 seconds billed as 1 + 1 minutes, and the first one reported as not counted."""
    shop.plan(StripePlan(rejected_later=NOT_FOUND))
    one = shop.use("one", 90, ago=timedelta(minutes=9))
    shop.steps(2)
    two = shop.use("two", 40, ago=timedelta(minutes=5))
    shop.steps(2)
    assert shop.ledger.tallies(["cus_1"])["cus_1"] == Tally(Decimal(130), 2)
    shop.reported()
    shop.steps(2)
    assert shop.place(one)[0] == "dead"
    assert shop.billed() == 1, "40 s are no minute"
    return one, two


def true_ups(shop: Till) -> list[Intent]:
    return [intent for intent in shop.ledger.page("", 100) if intent.kind == "true_up"]


def pass_time(shop: Till, **span: float) -> None:
    shop.clock.advance(**span)
    shop.steps(3)


def test_a_fraction_that_was_rounded_on_top_is_taken_back_in_the_same_hour(shop: Till) -> None:
    one, _ = too_much(shop)
    pass_time(shop, minutes=2)
    assert shop.billed() == 0
    (made,) = true_ups(shop)
    (rejected,) = shop.intents(one)
    assert (made.value, made.seconds, made.state) == (-1, Decimal(0), "delivered")
    assert not made.events
    assert made.slot.replace(minute=0) == rejected.slot.replace(minute=0)
    assert made.minute != rejected.minute
    assert shop.ledger.tallies(["cus_1"])["cus_1"] == Tally(Decimal(40), 0)
    assert not list(imbalances(shop.ledger))
    shop.use("three", 20)
    shop.steps()
    assert shop.billed() == 1, "40 s and 20 s are a minute"


def test_what_comes_back_by_itself_needs_no_true_up(shop: Till) -> None:
    one, _ = too_much(shop)
    shop.redrive()
    shop.steps()
    pass_time(shop, minutes=5)
    assert shop.billed() == 2
    assert shop.place(one)[0] == "delivered"
    assert true_ups(shop) == []
    assert not list(imbalances(shop.ledger))


def test_a_true_up_without_an_answer_is_sent_again_as_it_was(shop: Till) -> None:
    too_much(shop)
    shop.plan(StripePlan(lost="response"), StripePlan(lost="request"))
    shop.clock.advance(minutes=2)
    shop.steps(1)
    (waiting,) = true_ups(shop)
    assert waiting.state == "open"
    shop.restart()
    pass_time(shop, minutes=2)
    (made,) = true_ups(shop)
    assert (made.identifier, made.minute) == (waiting.identifier, waiting.minute)
    assert made.state == "delivered"
    assert made.attempts > 1
    assert shop.billed() == 0


def test_usage_that_comes_meanwhile_waits_for_the_open_true_up(shop: Till) -> None:
    too_much(shop)
    shop.plan(StripePlan(lost="response"))
    pass_time(shop, minutes=2)
    event = shop.use("three", 100, ago=timedelta(minutes=1))
    shop.steps(20)
    assert shop.place(event)[0] == "delivered"
    assert shop.billed() == 2, "40 s and 100 s"


def test_a_true_up_that_stripe_does_not_count_is_shown_and_tried_again(shop: Till) -> None:
    too_much(shop)
    shop.plan(StripePlan(rejected_later=NOT_FOUND))
    pass_time(shop, minutes=2)
    assert shop.reported()
    shop.steps(3)
    (words,) = shop.problems()
    assert "1 minute too much stays billed: evening it out did not count: Stripe reported" in words
    assert "tried again by itself" in words
    assert any(words in line for line in shop.unopened().status())
    pass_time(shop, minutes=10)
    first, second = sorted(true_ups(shop), key=lambda intent: intent.generation)
    assert (first.state, second.state) == ("rejected", "delivered")
    assert second.minute != first.minute
    assert shop.billed() == 0
    assert shop.problems() == []


def test_a_true_up_is_tried_until_one_stands(shop: Till) -> None:
    too_much(shop)
    for minutes in (2, 10):
        shop.plan(StripePlan(rejected_later=NOT_FOUND))
        pass_time(shop, minutes=minutes)
        assert shop.reported()
        shop.steps(3)
        assert len(shop.problems()) == 1
    pass_time(shop, hours=1)
    assert shop.billed() == 0
    assert shop.problems() == []
    assert len(true_ups(shop)) == 3


def test_a_true_up_that_stripe_refuses_is_shown_until_usage_makes_up_for_it(shop: Till) -> None:
    too_much(shop)
    shop.plan(*[StripePlan(status=400)] * 3)
    pass_time(shop, minutes=2)
    assert [intent.state for intent in true_ups(shop)] == ["rejected"]
    assert len(shop.problems()) == 1
    shop.use("three", 20)
    shop.steps()
    pass_time(shop, days=1)
    assert shop.billed() == 1
    assert shop.problems() == []
    assert len(true_ups(shop)) == 1


def test_where_stripe_takes_nothing_any_more_it_is_evened_out_today(shop: Till) -> None:
    too_much(shop)
    (rejected,) = [i for i in shop.ledger.page("", 100) if i.state == "rejected"]
    old = rejected.changed(minute=rejected.minute - 36 * 86_400)
    shop.commit([undone(shop.ledger, [old], shop.clock.now())])
    pass_time(shop, minutes=2)
    (made,) = true_ups(shop)
    assert made.slot > shop.clock.now() - timedelta(hours=1)
    assert shop.billed() == 0


def test_plan_shows_it_and_stripe_gets_just_that(tmp_path: Path) -> None:
    with desk_till(tmp_path, verify=False, meters=MINUTES) as shop:
        too_much(shop)
        made = planned(shop)
        (line,) = made.lines.values()
        assert (line.when, line.total().units, line.remainder) == (EVENS_OUT, -1, Decimal(40))
        before = shop.billed()
        pass_time(shop, minutes=2)
        assert shop.billed() - before == line.total().units
        assert planned(shop).lines == {}


def planned(shop: DeskTill) -> Forecast:
    return forecast(shop.desk(), customers_for(shop.options, shop.unopened().api))


def test_an_identifier_of_a_true_up_is_explained(shop: Till) -> None:
    too_much(shop)
    pass_time(shop, minutes=2)
    (made,) = true_ups(shop)
    said = "\n".join(shop.unopened().explain(made.identifier))
    assert "evening out what meter events that do not stand left over" in said
    assert "no usage of its own" in said
    assert "cover" not in said
