"""Delivered is not counted: what was sent is compared with what Stripe counts, night by night."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from meter.sandbox.stripe_faults import StripePlan
from meter_stripe.read_budget import ReadBudget
from meter_stripe.troubles import troubles
from support.stripe_till import SUMMARIES, Till, till


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Till]:
    with till(tmp_path) as made:
        yield made


def night(shop: Till) -> int:
    """Let a night's audit pass; return its reads."""
    before = shop.reads
    shop.until(hour=2)
    shop.steps(60)
    return shop.reads - before


# -- the nights ------------------------------------------------------------------------------------


def test_a_day_that_agrees_is_compared_once_and_done_with(shop: Till) -> None:
    shop.sent(*"abc")
    assert night(shop) == 1
    assert list(shop.ledger.days()) == []
    assert night(shop) == 0
    assert shop.problems() == shop.day_problems() == []


def test_nothing_is_compared_before_it_is_an_hour_old(shop: Till) -> None:
    shop.until(hour=23, minute=50)
    shop.sent("a")
    shop.until(hour=1, minute=2)
    shop.use("late", ago=timedelta(hours=2))
    shop.steps(30)
    assert shop.reads == 0
    shop.clock.advance(hours=1.2)
    shop.steps(30)
    assert shop.reads == 1


def test_what_stripe_does_not_count_is_shown_and_sent_by_nobody(shop: Till) -> None:
    events = shop.sent(*"abc")
    shop.lose(events[1])
    night(shop)
    (words,) = shop.problems()
    assert words.startswith("2026-11-22 ")
    assert "cus_1: Stripe took 60 seconds on 2026-11-22" in words
    assert "counts none of it; see `meter stripe resolve`" in words
    (day,) = shop.day_problems()
    assert day == (
        "2026-11-22 UTC, cus_1: 180 seconds delivered, Stripe counts 120 seconds: "
        "60 seconds too little"
    )
    assert shop.billed() == 120
    assert len(shop.stripe.truth().events) == 3
    assert shop.balance.delivered == 3


def test_a_problem_goes_by_itself_once_the_figures_agree(tmp_path: Path) -> None:
    with till(tmp_path, rules={"summary_lag_seconds": 30 * 3600}) as shop:
        shop.sent(*"abc")
        night(shop)
        assert len(shop.problems()) == 3
        assert len(shop.day_problems()) == 1
        reads = night(shop)
        assert reads == 1
        assert shop.problems() == shop.day_problems() == []
        assert list(shop.ledger.days()) == []


def test_a_day_that_differs_is_looked_at_once_a_night_until_nothing_can_be_done(
    shop: Till,
) -> None:
    (event,) = shop.sent("a")
    shop.lose(event)
    reads = [night(shop) for _ in range(3)]
    assert reads == [2, 2, 2]
    shop.clock.advance(days=41)
    assert night(shop) == 1
    assert night(shop) == 0
    assert shop.day_problems() == []
    assert len(shop.problems()) == 1


def test_somebody_elses_amount_is_shown_with_the_day(shop: Till) -> None:
    shop.sent("a")
    shop.add_at_stripe(7, shop.clock.now() - timedelta(minutes=45))
    night(shop)
    (day,) = shop.day_problems()
    assert "7 seconds too much" in day
    assert "something else sends to this meter" in day
    assert shop.problems() == []


def test_a_disputed_intent_keeps_its_own_words(shop: Till) -> None:
    (event,) = shop.sent("a")
    (intent,) = shop.intents(event)
    shop.edit(intent.changed(state="disputed", note="disputed"))
    shop.commit([shop.ledger.problem(intent.identifier, "disputed")])
    night(shop)
    assert shop.problems() == ["disputed"]


def test_usage_that_comes_late_has_its_day_compared_again(shop: Till) -> None:
    shop.sent("a")
    assert night(shop) == 1
    shop.use("b", ago=timedelta(hours=10))
    shop.steps(2)
    assert night(shop) == 1
    assert list(shop.ledger.days()) == []


def test_without_verify_nothing_is_compared(tmp_path: Path) -> None:
    with till(tmp_path, verify=False) as shop:
        shop.sent("a")
        assert night(shop) == 0


# -- the read budget -------------------------------------------------------------------------------


def fill(shop: Till, count: int) -> None:
    for number in range(count):
        shop.use("x" * (number + 1), customer=f"cus_{number:03d}", ago=timedelta(minutes=3))
    shop.steps(2)


def test_the_budget_is_kept_and_nobody_starves(tmp_path: Path) -> None:
    with till(tmp_path, reads_per_month=100) as shop:
        fill(shop, 40)
        reads = [night(shop) for _ in range(10)]
        # 22 November: 9 days are left of the month, and 100 reads.
        assert reads[0] == 100 // 8
        assert sum(reads) == 40
        assert max(reads) <= 15
        assert list(shop.ledger.days()) == []


def test_the_count_of_reads_survives_a_restart(tmp_path: Path) -> None:
    with till(tmp_path, reads_per_month=100) as shop:
        fill(shop, 40)
        shop.until(hour=2)
        for _ in range(6):
            shop.restart()
            shop.steps(20)
        assert shop.reads == 12


def test_one_read_covers_all_the_days_that_a_customer_waited(tmp_path: Path) -> None:
    with till(tmp_path) as shop:
        for day in range(5):
            shop.use(f"day {day}", ago=timedelta(days=day, minutes=5))
        shop.steps(10)
        assert night(shop) == 1
        assert list(shop.ledger.days()) == []


def test_a_drill_down_spends_the_months_reads_and_no_more(tmp_path: Path) -> None:
    with till(tmp_path, reads_per_month=100) as shop:
        budget = ReadBudget(shop.state, 100)
        shop.commit(budget.spend(92, shop.clock.now()))
        events = shop.sent(*"abcdefghij")
        for event in events[1::2]:
            shop.lose(event)
        shop.clock.advance(days=1)
        before = shop.reads
        shop.steps(100, apart=60)
        assert shop.reads - before == 8
        assert budget.left(shop.clock.now()) == 0
        assert len(shop.day_problems()) == 1
        assert 1 <= len(shop.problems()) < 5


def test_a_month_begins_with_a_full_budget(tmp_path: Path) -> None:
    with till(tmp_path) as shop:
        budget = ReadBudget(shop.state, 300)
        shop.commit(budget.spend(300, shop.clock.now()))
        assert budget.left(shop.clock.now()) == budget.left_today(shop.clock.now()) == 0
        shop.clock.advance(days=9)
        assert budget.left(shop.clock.now()) == 300
        assert budget.left_today(shop.clock.now()) == 300 // 31


# -- when Stripe does not answer -------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 503, 429, 401, 403])
def test_while_summaries_cannot_be_had_deliveries_go_on(shop: Till, status: int) -> None:
    shop.sent("a")
    shop.until(hour=2)
    shop.plan(StripePlan(status=status), path=SUMMARIES)
    shop.steps(5)
    (event,) = shop.sent("b")
    assert shop.place(event)[0] == "delivered"
    assert shop.balance.parked is None
    assert len(troubles(shop.state)) == (status in (401, 403))
    shop.clock.advance(seconds=900)
    shop.steps(20)
    assert list(shop.ledger.days()) != []
    assert [day for day, _, _ in shop.ledger.days()] == ["2026-11-23"]
    assert troubles(shop.state) == []


def test_a_refusal_is_shown_in_stripes_words_and_keeps_nobody_else_back(shop: Till) -> None:
    shop.sent("a", customer="cus_1")
    shop.sent("b", customer="cus_2")
    shop.until(hour=2)
    shop.plan(StripePlan(status=400), path=SUMMARIES)
    shop.steps(20)
    (words,) = shop.day_problems()
    assert "cus_1: Stripe does not say what it counts" in words
    assert "Refused by plan." in words
    assert [who for _, who, _ in shop.ledger.days()] == ["cus_1"]
    night(shop)
    assert shop.day_problems() == []
