"""Each intent owns one minute of its customer and meter (reference: stripe.md §5.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter_stripe.slots import FURTHEST, HOUR, MINUTE, Wait, choose

NINE = 1_795_165_200
"""2026-11-20 09:00 UTC."""
TEN = NINE + HOUR
LATER = NINE + 5 * HOUR


def minutes(*numbers: int) -> set[int]:
    """Return minutes after nine."""
    return {NINE + MINUTE * number for number in numbers}


def test_usage_gets_the_minute_in_which_it_happened() -> None:
    assert choose(NINE + 754, LATER, set()) == NINE + 720


def test_a_taken_minute_gives_way_to_the_next_free_one_of_the_hour() -> None:
    assert choose(NINE + 5, LATER, minutes(0, 1, 3)) == NINE + 2 * MINUTE


def test_in_the_hour_that_goes_on_the_next_minute_is_waited_for() -> None:
    with pytest.raises(Wait) as caught:
        choose(NINE + 130, NINE + 150, minutes(2))
    assert caught.value.until == NINE + 3 * MINUTE


def test_a_flush_takes_the_nearest_free_minute_before_instead() -> None:
    assert choose(NINE + 130, NINE + 150, minutes(1, 2), flushing=True) == NINE


def test_a_flush_never_goes_back_into_the_hour_before() -> None:
    with pytest.raises(Wait):
        choose(NINE + 30, NINE + 40, minutes(0), flushing=True)


def test_once_the_hour_is_over_a_free_minute_before_is_as_good() -> None:
    assert choose(TEN - 30, LATER, minutes(58, 59)) == NINE + 57 * MINUTE


def test_a_full_hour_runs_over_into_the_next_free_minute_that_has_begun() -> None:
    assert choose(NINE, LATER, minutes(*range(62))) == NINE + 62 * MINUTE


def test_a_full_hour_waits_where_no_minute_after_it_has_begun() -> None:
    with pytest.raises(Wait) as caught:
        choose(NINE, TEN + 30, minutes(*range(61)))
    assert caught.value.until == TEN + MINUTE


def test_usage_of_a_minute_that_has_not_begun_waits_for_it() -> None:
    with pytest.raises(Wait) as caught:
        choose(NINE + 600, NINE + 5, set(), flushing=True)
    assert caught.value.until == NINE + 600


@given(
    at=st.integers(NINE, NINE + 3 * HOUR),
    now=st.integers(NINE, NINE + 4 * HOUR),
    taken=st.sets(st.integers(0, 300)).map(lambda numbers: minutes(*numbers)),
    flushing=st.booleans(),
)
def test_a_chosen_minute_is_free_has_begun_and_is_in_the_hour_if_it_can_be(
    at: int,
    now: int,
    taken: set[int],
    flushing: bool,  # noqa: FBT001  because hypothesis passes it by name
) -> None:
    start = at - at % HOUR
    try:
        minute = choose(at, now, taken, flushing=flushing)
    except Wait as wait:
        until = wait.until
    else:
        until = 0
    if until:
        assert until > now
        assert until % MINUTE == 0
        return
    assert minute % MINUTE == 0
    assert minute not in taken
    assert minute <= now
    assert minute >= start
    if minute >= start + HOUR:
        assert set(range(start, start + HOUR, MINUTE)) <= taken
        assert minute < start + FURTHEST
