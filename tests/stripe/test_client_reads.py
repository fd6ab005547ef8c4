"""What Stripe is asked, page by page, and what is raised when it does not tell."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from meter.errors import FatalSinkError, RetryableSinkError
from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_rules import StripeRules
from meter_stripe.api_records import exact
from meter_stripe.client import StripeApi, StripeRefused
from sandbox.stripe_client import TRANSPORTS
from support.stripe_bench import DAY, EVENT, HOUR, MINUTE, READS, START, Bench, bench, canned


@pytest.fixture(params=TRANSPORTS)
def v1(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(request.param) as made:
        yield made


def test_all_meters_are_listed_page_by_page(v1: Bench) -> None:
    for number in range(150):
        aggregation = {"formula": "count" if number % 2 else "sum"}
        name = f"meter {number}"
        v1.books.add(
            "/v1/billing/meters",
            {"display_name": name, "event_name": name, "default_aggregation": aggregation},
        )
    v1.books.add(f"/v1/billing/meters/{v1.meter}/deactivate", {})
    meters = v1.api.meters()
    assert len({meter.id for meter in meters}) == len(meters) == 151
    ours = next(meter for meter in meters if meter.id == v1.meter)
    assert not ours.active
    assert not ours.livemode
    assert (ours.event_name, ours.display_name, ours.formula) == (EVENT, "Seconds", "sum")
    assert (ours.customer_key, ours.value_key) == ("stripe_customer_id", "value")
    assert v1.api.reads == v1.books.truth().reads == 2


def test_customers_come_with_their_metadata_page_by_page(v1: Bench) -> None:
    for number in range(250):
        v1.books.add("/v1/customers", {"metadata": {"meter_id": f"Kunde {number} ü"}})
    listed = v1.api.customers()
    assert v1.api.reads == 0
    first = next(listed)
    assert first.metadata == {"meter_id": "Kunde 249 ü"}
    assert v1.api.reads == 1
    assert len({each.id for each in listed} | {first.id}) == 251
    assert v1.api.reads == v1.books.truth().reads == 3


def test_what_is_counted_comes_by_window(v1: Bench) -> None:
    hours = START - 2 * HOUR
    for number, (at, value) in enumerate(
        [(hours, "10"), (hours + 90, "0.5"), (hours + HOUR, "7"), (START - DAY, "100")]
    ):
        v1.send(value, timestamp=at, identifier=f"id-{number}")
    ask: dict[str, Any] = {"meter_id": v1.meter, "customer": v1.customer}
    counted = v1.api.counted
    assert counted(**ask, start=hours, end=hours + MINUTE) == {hours: 10}
    assert counted(**ask, start=hours - MINUTE, end=hours) == {}
    assert counted(**ask, start=hours, end=START) == {hours: Decimal("17.5")}
    by_hour = {hours: Decimal("10.5"), hours + HOUR: Decimal(7)}
    assert counted(**ask, start=hours - HOUR, end=START, window="hour") == by_hour
    midnight = START - 12 * HOUR
    by_day = {midnight - DAY: Decimal(100), midnight: Decimal("17.5")}
    assert counted(**ask, start=midnight - DAY, end=midnight + DAY, window="day") == by_day


def test_many_windows_take_as_many_reads_as_pages() -> None:
    rules = StripeRules(test_events_per_second=None)
    with bench("in process", books={"rules": rules}) as made:
        first = START - 250 * HOUR
        for number in range(250):
            made.send(f"{number + 1}", timestamp=first + number * HOUR, identifier=f"{number}")
        counted = made.api.counted(
            meter_id=made.meter, customer=made.customer, start=first, end=START, window="hour"
        )
        assert counted == {first + number * HOUR: number + 1 for number in range(250)}
        assert made.api.reads == 3


def test_fifteen_digits_come_back_as_they_were_sent(v1: Bench) -> None:
    for number, value in enumerate(
        ["0.1", "0.000000000000001", "123456789.123456", "999999999999999", "-0.3"]
    ):
        at = START - number * MINUTE
        assert v1.send(value, timestamp=at, identifier=f"{number}").arrived
        ask: dict[str, Any] = {"meter_id": v1.meter, "customer": v1.customer}
        assert v1.api.counted(**ask, start=at, end=at + MINUTE) == {at: Decimal(value)}


@pytest.mark.parametrize(
    ("number", "decimal"),
    [
        (0.1 + 0.2, "0.3"),
        (1e22, "1E+22"),
        (1e-7, "1E-7"),
        (9007199254740991.0, "9007199254740991"),
        (123456789012345.1, "123456789012345"),
        (60, "60"),
        (0.0, "0"),
    ],
)
def test_a_float_is_read_up_to_its_fifteenth_digit(number: float, decimal: str) -> None:
    assert exact(number) == Decimal(decimal)


@pytest.mark.parametrize(
    "row",
    [
        {"meter": "mtr_other"},
        {"start_time": START - 60},
        {"aggregated_value": True},
        {"aggregated_value": float("nan")},
        {"aggregated_value": "60"},
    ],
)
def test_a_summary_of_something_else_is_no_answer(row: dict[str, Any]) -> None:
    whole = {"id": "x", "meter": "mtr_1", "start_time": START, "aggregated_value": 60.0, **row}
    body = json.dumps({"object": "list", "has_more": False, "data": [whole]})
    with pytest.raises(RetryableSinkError, match="not what was asked for"):
        canned(200, body).counted(meter_id="mtr_1", customer="c", start=START, end=START + 60)


@pytest.mark.parametrize(
    "body",
    [
        {"object": "list", "has_more": False},
        {"object": "list", "data": []},
        {"object": "list", "data": [], "has_more": True},
        {"object": "list", "data": {"id": 1}, "has_more": False},
        {"object": "customer", "data": [], "has_more": False},
        {"object": "list", "data": [17], "has_more": False},
        {"object": "list", "data": [{"id": None}], "has_more": False},
        {"object": "list", "data": [{"id": "cus_1"}], "has_more": True},
    ],
)
def test_a_list_that_is_none_ends_in_an_error(body: dict[str, Any]) -> None:
    with pytest.raises(RetryableSinkError):
        list(canned(200, json.dumps(body)).customers())


@pytest.mark.parametrize("call", READS)
def test_reads_and_setup_raise_what_to_do_next(call: Callable[[StripeApi], Any]) -> None:
    with bench("in process") as made:
        for plan in (
            StripePlan(lost="request"),
            StripePlan(lost="response"),
            StripePlan(malformed=True, status=404),
            StripePlan(status=500),
            StripePlan(status=409),
            StripePlan(status=429, retry_after_seconds=9),
        ):
            made.plan(plan)
            with pytest.raises(RetryableSinkError) as later:
                call(made.api)
            assert later.value.retry_after == plan.retry_after_seconds
            assert later.value.__cause__ is later.value.__context__ is None
        for status in (401, 403):
            made.plan(StripePlan(status=status))
            with pytest.raises(FatalSinkError, match=f"api_key of the sink .{status}"):
                call(made.api)
        made.plan(StripePlan(status=404))
        with pytest.raises(StripeRefused, match=r"Refused by plan\.") as refused:
            call(made.api)
        assert refused.value.status == 404
