"""Money is exact until it is printed."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from meter.config import RateCard
from meter.errors import ConfigurationError
from meter.reports.money import charge, check_rates, exact_text, rounded_text
from meter.reports.usage import Rated

CARD = RateCard.model_validate(
    {
        "async_completed": {"models": {"best": "0.37", "free": 0}, "features": {"x": "0.08"}},
        "stream_terminated": {"models": {"live": "0.15"}, "no_model": "0.2"},
    }
)
HOUR = 3600 * 10**9


@pytest.mark.parametrize(
    ("amount", "cents", "whole"),
    [
        ("0.125", "0.12", "0"),
        ("0.135", "0.14", "0"),
        ("0.5", "0.50", "0"),
        ("1.5", "1.50", "2"),
        ("-0.125", "-0.12", "0"),
        ("-12.349", "-12.35", "-12"),
        ("123456789012345678901234567890.005", "123456789012345678901234567890.00",
         "123456789012345678901234567890"),
    ],
)  # fmt: skip
def test_money_is_rounded_half_to_even(amount: str, cents: str, whole: str) -> None:
    assert rounded_text(Fraction(amount), 2) == cents
    assert rounded_text(Fraction(amount), 0) == whole


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1/3", "1/3"), ("1/8", "0.125"), ("-3/2", "-1.5"), ("7", "7"), ("0", "0")],
)
def test_exact_money_is_a_decimal_where_it_has_an_end(amount: str, text: str) -> None:
    assert exact_text(Fraction(amount)) == text
    assert Fraction(text) == Fraction(amount)


def test_add_ons_are_on_top_of_the_model_and_no_fraction_is_lost() -> None:
    used = {
        Rated("async_completed", "best", ("x",)): 1,
        Rated("async_completed", "best", ()): HOUR,
        Rated("stream_terminated", None, ()): 2 * HOUR,
        Rated("async_completed", "free", ()): HOUR,
    }
    check_rates({"rates.cost": CARD}, used)
    assert charge(CARD, used) == Fraction("0.45") / HOUR + Fraction("0.37") + Fraction("0.4")
    thirds = {Rated("async_completed", "best", ()): HOUR // 3600}
    assert 3600 * charge(CARD, thirds) == Fraction(Decimal("0.37"))


def test_every_missing_rate_is_named_with_its_place() -> None:
    used = [
        Rated("async_completed", "nano", ("x", "y")),
        Rated("async_completed", None, ()),
        Rated("stream_terminated", "best", ()),
    ]
    with pytest.raises(ConfigurationError) as caught:
        check_rates({"rates.cost": CARD, "rates.price": None}, used)
    assert caught.value.exit_code == 2
    assert set(str(caught.value).splitlines()[1:]) == {
        "  rates.cost.async_completed.models: no rate for the model 'nano'",
        "  rates.cost.async_completed.features: no rate for the add-on 'y'",
        "  rates.cost.async_completed.no_model: missing, and there are events that name no model",
        "  rates.cost.stream_terminated.models: no rate for the model 'best'",
    }
