"""What was delivered beside what Stripe counts: by day, by meter event, and in all."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meter.sandbox.stripe_faults import StripePlan
from meter_stripe.comparison import DayFigures, compare
from meter_stripe.drilling import SlotFigures, drill
from support.stripe_till import Till, till

TODAY = date(2026, 11, 22)
TOMORROW = date(2026, 11, 23)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Till]:
    with till(tmp_path) as made:
        yield made


def numbers(*values: int | Decimal) -> tuple[Decimal, ...]:
    return tuple(Decimal(value) for value in values)


def compared(shop: Till, *customers: str) -> list[DayFigures]:
    return list(
        compare(
            shop.unopened().api(),
            shop.books,
            customers=customers or None,
            start=TODAY - timedelta(days=40),
            end=TOMORROW + timedelta(days=5),
            now=shop.clock.now(),
        )
    )


def drilled(shop: Till, customer: str = "cus_1", day: date = TODAY) -> list[SlotFigures]:
    api = shop.unopened().api()
    return list(drill(api, shop.books, customer, day, now=shop.clock.now()))


def test_a_customers_days_are_compared_by_one_read(shop: Till) -> None:
    for ago in range(30):
        shop.use(f"day {ago}", 100 + ago, ago=timedelta(days=ago, minutes=5))
    shop.steps(40)
    shop.clock.advance(hours=2)
    before = shop.reads
    days = compared(shop, "cus_1")
    assert shop.reads - before == 1
    assert len(days) == 30
    assert [each.delivered for each in days] == list(range(129, 99, -1))
    assert all(each.counted == each.delivered for each in days)
    assert all(each.difference == each.young == each.doubtful == 0 for each in days)
    assert [len(each.identifiers) for each in days] == [1] * 30


def test_only_customers_with_usage_in_the_days_are_asked_for(shop: Till) -> None:
    shop.sent("a", customer="cus_1")
    shop.sent("b", customer="cus_2")
    shop.clock.advance(days=60)
    shop.sent("c", customer="cus_3")
    before = shop.reads
    figures = list(
        compare(
            shop.unopened().api(),
            shop.books,
            customers=None,
            start=TODAY,
            end=TODAY + timedelta(days=1),
            now=shop.clock.now(),
        )
    )
    assert [each.customer for each in figures] == ["cus_1", "cus_2"]
    assert shop.reads - before == 2


def test_what_is_too_young_is_shown_and_is_no_difference(tmp_path: Path) -> None:
    with till(tmp_path, rules={"summary_lag_seconds": 1800}) as shop:
        shop.sent("a")
        (figures,) = compared(shop)
        assert numbers(figures.delivered, figures.counted, figures.young) == numbers(60, 0, 60)
        assert figures.difference == 0
        shop.clock.advance(hours=1)
        (figures,) = compared(shop)
        assert numbers(figures.delivered, figures.counted, figures.young) == numbers(60, 60, 0)


def test_what_waits_for_its_answer_is_doubtful_and_may_be_counted_or_not(shop: Till) -> None:
    shop.sent("a")
    shop.plan(*[StripePlan(lost="request")] * 3)
    shop.use("b", 30)
    shop.steps(1)
    shop.clock.advance(hours=1)
    (figures,) = compared(shop)
    assert numbers(figures.delivered, figures.doubtful, figures.counted) == numbers(60, 30, 60)
    assert figures.difference == 0
    shop.add_at_stripe(31, shop.clock.now() - timedelta(minutes=30))
    (figures,) = compared(shop)
    assert figures.difference == 1


def test_what_stripe_counts_too_little_is_found_to_the_meter_event(shop: Till) -> None:
    events = shop.sent(*"abcdefgh")
    shop.lose(events[3])
    shop.clock.advance(hours=1.5)
    (figures,) = compared(shop)
    assert numbers(figures.delivered, figures.counted, figures.difference) == numbers(480, 420, -60)
    before = shop.reads
    (found,) = drilled(shop)
    assert shop.reads - before <= 1 + 4
    (intent,) = shop.intents(events[3])
    assert found.intent == intent
    assert numbers(found.expected, found.counted) == numbers(60, 0)
    assert found.event_ids == (events[3],)
    assert found.start == intent.slot


def test_a_day_of_which_stripe_counts_nothing_is_drilled_down_by_one_read(shop: Till) -> None:
    events = shop.sent(*"abcdefgh")
    for event in events:
        shop.lose(event)
    shop.clock.advance(hours=1.5)
    before = shop.reads
    found = drilled(shop)
    assert shop.reads - before == 1
    assert {event for each in found for event in each.event_ids} == set(events)


def test_what_somebody_else_sends_is_named_as_such(shop: Till) -> None:
    shop.sent("a", "b")
    start = shop.clock.now()
    shop.add_at_stripe(7, start - timedelta(hours=5))
    shop.add_at_stripe(5, start - timedelta(minutes=30), identifier="more")
    shop.clock.advance(hours=1.5)
    (figures,) = compared(shop)
    assert figures.difference == 12
    found = drilled(shop)
    assert {each.intent for each in found} == {None}
    assert sorted(numbers(each.expected, each.counted) for each in found) == [
        numbers(0, 5),
        numbers(0, 7),
    ]


def test_what_somebody_else_sends_into_our_minute_is_that_meter_events_difference(
    shop: Till,
) -> None:
    (event,) = shop.sent("a")
    (intent,) = shop.intents(event)
    shop.add_at_stripe(7, intent.slot)
    shop.clock.advance(hours=1.5)
    (found,) = drilled(shop)
    assert found.intent == intent
    assert numbers(found.expected, found.counted) == numbers(60, 67)


def test_a_day_on_which_only_somebody_else_sent_is_shown_to_who_asks(shop: Till) -> None:
    shop.steps(2)
    shop.add_at_stripe(7, shop.clock.now() - timedelta(minutes=30))
    assert compared(shop) == []
    (figures,) = compared(shop, "cus_1")
    assert numbers(figures.delivered, figures.counted, figures.difference) == numbers(0, 7, 7)


def test_a_customer_that_stripe_does_not_have_has_nothing_counted(tmp_path: Path) -> None:
    with till(tmp_path, rules={"unknown_customers": "refused"}) as shop:
        customer = str(shop.stripe.add("/v1/customers", {"name": "Anna"})["id"])
        shop.sent("a", customer=customer)
        shop.clock.advance(hours=1.5)
        (figures,) = compared(shop)
        assert figures.difference == 0
        assert compared(shop, "cus_nobody") == []


def test_whole_units_are_compared_as_they_were_sent(tmp_path: Path) -> None:
    meters = [{"event_name": "seconds", "unit": "minute"}]
    with till(tmp_path, meters=meters) as shop:
        shop.use("a", 90, ago=timedelta(minutes=10))
        shop.steps(2)
        shop.use("b", 90, ago=timedelta(minutes=5))
        shop.steps(2)
        shop.clock.advance(hours=1.5)
        (figures,) = compared(shop)
        assert figures.unit == "minute"
        assert numbers(figures.delivered, figures.counted) == numbers(3, 3)


# -- totals ----------------------------------------------------------------------------------------


def test_totals_put_stripes_sums_beside_the_ledgers(shop: Till) -> None:
    first = shop.sent("a", "b")
    shop.sent("c", customer="cus_2")
    shop.lose(first[0])
    assert [
        (each.whose, each.what, each.unit, each.delivered, each.counted)
        for each in shop.unopened().totals()
    ] == [
        ("cus_1", "seconds", "second", Decimal(120), Decimal(60)),
        ("cus_2", "seconds", "second", Decimal(60), Decimal(60)),
    ]


def test_totals_of_nothing_ask_for_nothing(shop: Till) -> None:
    assert list(shop.unopened().totals()) == []


def test_what_was_just_taken_back_is_told_from_what_awaits_an_answer(shop: Till) -> None:
    shop.sent("a")
    (event,) = shop.sent("b")
    (intent,) = shop.intents(event)
    shop.clock.advance(hours=2)
    now = shop.clock.now()
    shop.edit(intent.changed(state="cancelled").noted("cancel", "delivered", now))
    (figures,) = compared(shop)
    assert numbers(figures.doubtful, figures.taken_back) == numbers(60, 60)
    shop.edit(intent.changed(state="cancelling").noted("cancel", "unknown", now))
    (figures,) = compared(shop)
    assert numbers(figures.doubtful, figures.taken_back) == numbers(60, 0)
