"""Lateness: older than Stripe takes, or of a period whose invoice is final."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter_stripe.late import MARGIN, late_reason, period_end
from meter_stripe.options import StripeOptions

SECOND = timedelta(seconds=1)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  because hypothesis wants naive bounds


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def options(**given: Any) -> StripeOptions:
    return StripeOptions.model_validate(
        {
            "api_key": "sk_test_sandbox",
            "meters": [{"event_name": "seconds"}],
            "customers": "passthrough",
            **given,
        }
    )


@pytest.mark.parametrize(
    ("moment", "day", "end"),
    [
        ("2026-10-31T23:59:59.999999", 1, "2026-11-01"),
        ("2026-11-01T00:00:00", 1, "2026-12-01"),
        ("2026-12-31T12:00:00", 1, "2027-01-01"),
        ("2026-12-15T00:00:00", 15, "2027-01-15"),
        ("2026-12-14T23:59:59", 15, "2026-12-15"),
        ("2024-02-28T23:00:00", 28, "2024-03-28"),
        ("2024-02-29T00:00:00", 1, "2024-03-01"),
    ],
)
def test_a_period_ends_on_its_day_at_midnight_utc(moment: str, day: int, end: str) -> None:
    assert period_end(at(moment), day) == at(end)


def test_a_period_is_told_in_utc_wherever_the_time_comes_from() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert period_end(datetime(2026, 11, 1, 8, 59, tzinfo=tokyo), 1) == at("2026-11-01")


@given(moment=MOMENTS, day=st.integers(1, 28))
def test_every_moment_is_in_a_period_that_ends_within_a_month(moment: datetime, day: int) -> None:
    end = period_end(moment, day)
    assert timedelta(0) < end - moment <= timedelta(days=31)
    assert (end.day, end.hour, end.minute, end.second, end.microsecond) == (day, 0, 0, 0, 0)


def test_usage_is_in_time_until_shortly_before_its_invoice_is_final() -> None:
    used, final = at("2026-10-31T23:59:00"), at("2026-11-01T01:00:00")
    assert late_reason(used, final - MARGIN, options()) is None
    reason = late_reason(used, final - MARGIN + SECOND, options())
    assert reason == "the invoice of its period (up to 2026-11-01) is final"


def test_the_grace_is_an_option() -> None:
    used, now = at("2026-10-31T23:59:00"), at("2026-11-03T00:00:00")
    assert late_reason(used, now, options()) is not None
    assert late_reason(used, now, options(invoice_grace="72h")) is None


def test_without_a_period_only_the_35_days_count() -> None:
    now = at("2026-11-20T12:00:00")
    oldest = now - timedelta(days=35) + MARGIN
    without = options(period_day="none")
    assert late_reason(oldest, now, without) is None
    assert late_reason(oldest - SECOND, now, without) == (
        "it is older than the 35 days that Stripe takes"
    )


def test_the_35_days_count_also_within_a_long_grace() -> None:
    now = at("2026-11-20T12:00:00")
    assert "35 days" in str(
        late_reason(now - timedelta(days=36), now, options(invoice_grace="90d"))
    )


def test_the_words_stay_the_same_from_day_to_day() -> None:
    used = at("2026-10-02T00:00:00")
    words = {late_reason(used, at(f"2026-11-0{day}T12:00:00"), options()) for day in (2, 3, 4)}
    assert len(words) == 1
