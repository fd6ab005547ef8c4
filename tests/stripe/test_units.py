"""Whole units on the wire, and no fraction lost: the floor of everything, less what was sent."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter_stripe.intents import Intent
from meter_stripe.ledger import Tally

UNITS = (1, 60, 3600)
SECONDS = st.decimals(0, 10_000, places=3)


def intent(seconds: Decimal, value: int) -> Intent:
    return Intent(
        identifier="meter-0",
        event_name="seconds",
        customer="cus_1",
        value=value,
        seconds=seconds,
        minute=0,
        events=("a",),
        frozen_at=datetime(2026, 11, 20, tzinfo=UTC),
    )


def billed(tally: Tally, seconds: Decimal, unit: int) -> tuple[Tally, Intent]:
    value = tally.units(seconds, unit)
    return tally.plus(seconds, value), intent(seconds, value)


def test_fractions_add_up_to_units_and_are_never_rounded_one_by_one() -> None:
    tally, sent = Tally(), []
    for _ in range(10):
        tally, made = billed(tally, Decimal("0.7"), 1)
        sent.append(made.value)
    assert sent == [0, 1, 1, 0, 1, 1, 0, 1, 1, 1]
    assert tally == Tally(Decimal("7.0"), 7)


def test_what_is_less_than_a_unit_waits_for_more() -> None:
    tally, first = billed(Tally(), Decimal("3599.999"), 3600)
    tally, second = billed(tally, Decimal("0.001"), 3600)
    assert (first.value, second.value) == (0, 1)


@given(usage=st.lists(SECONDS, max_size=30), unit=st.sampled_from(UNITS))
def test_what_is_sent_is_the_floor_of_everything_after_each_step(
    usage: list[Decimal], unit: int
) -> None:
    tally = Tally()
    for seconds in usage:
        tally, made = billed(tally, seconds, unit)
        assert made.value >= 0
        assert tally.sent == int(tally.used // unit)
    assert tally.used == sum(usage, Decimal(0))


@given(
    usage=st.lists(SECONDS, min_size=1, max_size=20),
    rejected=st.sets(st.integers(0, 19)),
    unit=st.sampled_from(UNITS),
)
def test_what_is_rejected_and_redriven_is_billed_exactly_once(
    usage: list[Decimal], rejected: set[int], unit: int
) -> None:
    tally, back = Tally(), []
    for number, seconds in enumerate(usage):
        tally, made = billed(tally, seconds, unit)
        if number in rejected:
            tally = tally.less(made)
            back.append(seconds)
    for seconds in back:
        tally, made = billed(tally, seconds, unit)
        assert made.value >= 0
    assert tally == Tally(sum(usage, Decimal(0)), int(sum(usage, Decimal(0)) // unit))


@given(
    usage=st.lists(SECONDS, min_size=2, max_size=20),
    unit=st.sampled_from(UNITS),
    gone=st.integers(0, 19),
)
def test_after_a_late_rejection_nothing_negative_is_sent_and_new_usage_makes_up_for_it(
    usage: list[Decimal], unit: int, gone: int
) -> None:
    tally, made = Tally(), []
    for seconds in usage:
        tally, one = billed(tally, seconds, unit)
        made.append(one)
    lost = made[gone % len(made)]
    tally = tally.less(lost)
    ahead = tally.sent - int(tally.used // unit)
    assert ahead <= 1
    assert tally.units(Decimal(0), unit) >= 0
    tally, _ = billed(tally, Decimal(2 * unit), unit)
    assert tally.sent == int(tally.used // unit)


@pytest.mark.parametrize("unit", UNITS)
def test_a_correction_takes_exactly_its_own_usage_back(unit: int) -> None:
    tally, _ = billed(Tally(), Decimal("5000.5"), unit)
    tally, _ = billed(tally, Decimal("7000.5"), unit)
    used = tally.used - Decimal("5000.5")
    value = int(used // unit) - tally.sent
    assert value <= 0
    assert tally.plus(Decimal("-5000.5"), value) == Tally(
        Decimal("7000.5"), int(Decimal("7000.5") // unit)
    )
