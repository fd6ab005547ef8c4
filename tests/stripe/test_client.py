"""Sending and cancelling: every way a call can end at the double, with the real SDK."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_rules import StripeRules
from meter_stripe.answers import Answer, Outcome
from sandbox.stripe_client import TRANSPORTS
from support.stripe_bench import APIS, DAY, EVENT, MINUTE, START, Bench, bench
from support.waiting import eventually


@pytest.fixture(params=[(transport, api) for transport in TRANSPORTS for api in APIS], ids=str)
def each(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Both transports, both APIs."""
    transport, api = request.param
    with bench(transport, api=api) as made:
        yield made


@pytest.fixture(params=TRANSPORTS)
def v1(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(request.param) as made:
        yield made


def test_an_event_that_is_taken_is_delivered(each: Bench) -> None:
    answer = each.send()
    assert answer.outcome is Outcome.DELIVERED
    assert answer.arrived
    assert answer.status == 200
    assert (answer.request_id or "").startswith("req_")
    assert each.total == 60
    (event,) = each.books.truth().events
    assert event.timestamp == datetime.fromtimestamp(START, UTC)
    assert event.idempotency_key == "key id-1"
    assert event.payload == {"stripe_customer_id": each.customer, "value": "60"}


def test_an_identifier_that_was_taken_is_a_duplicate(each: Bench) -> None:
    each.send()
    again = each.send(idempotency_key="another")
    assert again.outcome is Outcome.DUPLICATE
    assert again.arrived
    assert "id-1" in again.message
    assert each.total == 60


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        ("1E+3", "1000"),
        ("1E-7", "0.0000001"),
        ("0", "0"),
        ("-5", "-5"),
        ("123456789012345", "123456789012345"),
        ("0.1", "0.1"),
    ],
)
def test_a_value_is_written_out_in_full(each: Bench, value: str, wire: str) -> None:
    assert each.send(value).outcome is Outcome.DELIVERED
    (event,) = each.books.truth().events
    assert event.payload["value"] == wire


def test_sixteen_digits_are_refused_in_stripes_words(each: Bench) -> None:
    answer = each.send("1234567890123456")
    assert answer.outcome is Outcome.REFUSED
    assert "15 significant digits" in answer.message


def test_the_meters_own_payload_fields_are_used(each: Bench) -> None:
    each.books.add(
        "/v1/billing/meters",
        {
            "display_name": "Own",
            "event_name": "own",
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "who"},
            "value_settings": {"event_payload_key": "how_much"},
        },
    )
    answer = each.send(event_name="own", customer_key="who", value_key="how_much")
    assert answer.outcome is Outcome.DELIVERED
    (event,) = each.books.truth().events
    assert event.payload == {"who": each.customer, "how_much": "60"}


@pytest.mark.parametrize(
    "customer",
    [
        "Zoë & Söhne 株式会社 🎧",
        " leading and trailing ",
        'it\'s "quoted" \\ and\ttabbed\nlines',
        "a=b&c[d]=e%20+;#?/",
        "{}[]<>|^`~",
        "x" * 100,
        "é" * 100,
        "No such customer: 'An event already exists with identifier id-1.'",
    ],
)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("api", APIS)
def test_odd_customer_ids_pass_unchanged(transport: str, api: str, customer: str) -> None:
    rules = StripeRules(unknown_customers="accepted")
    with bench(transport, api=api, books={"rules": rules}) as made:
        assert made.send(customer=customer).outcome is Outcome.DELIVERED
        (event,) = made.books.truth().events
        assert event.customer == customer
        counted = made.api.counted(
            meter_id=made.meter, customer=customer, start=START, end=START + MINUTE
        )
        assert counted == {START: Decimal(60)}


def test_an_odd_customer_that_is_refused_is_no_duplicate(each: Bench) -> None:
    odd = "An event already exists with identifier id-1. 5 minutes"
    answer = each.send(customer=odd)
    assert answer.outcome is Outcome.REFUSED
    assert odd in answer.message


def test_a_customer_that_no_text_can_hold_is_refused_before_anything_leaves() -> None:
    with bench("in process") as made:
        answer = made.send(customer="broken \udc80")
        assert answer.outcome is Outcome.REFUSED
        assert answer.status is None
        assert not made.books.requests


@pytest.mark.parametrize("lost", ["request", "response"])
def test_a_lost_call_is_unknown(each: Bench, lost: Any) -> None:
    each.plan(StripePlan(lost=lost))
    answer = each.send()
    assert answer.outcome is Outcome.UNKNOWN
    assert answer.status is None
    assert "connection" in answer.message
    assert each.total == (60 if lost == "response" else 0)
    again = each.send()
    assert again.arrived
    assert each.total == 60


def test_half_of_an_answer_is_unknown(each: Bench) -> None:
    each.plan(StripePlan(malformed=True))
    answer = each.send()
    assert answer.outcome is Outcome.UNKNOWN
    assert answer.status == 200
    assert (answer.request_id or "").startswith("req_")
    assert each.total == 60


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429])
def test_half_of_a_refusal_is_unknown(each: Bench, status: int) -> None:
    each.plan(StripePlan(status=status, malformed=True, retry_after_seconds=3))
    answer = each.send()
    assert (answer.outcome, answer.status) == (Outcome.UNKNOWN, status)
    assert answer.retry_after == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_failure_of_stripes_is_unknown(each: Bench, status: int, *, recorded: bool) -> None:
    each.plan(StripePlan(status=status, recorded=recorded))
    answer = each.send()
    assert (answer.outcome, answer.status) == (Outcome.UNKNOWN, status)
    assert each.send(idempotency_key="another").arrived
    assert each.total == 60


@pytest.mark.parametrize("status", [409, 429])
def test_a_busy_stripe_took_nothing_and_says_when(each: Bench, status: int) -> None:
    each.plan(StripePlan(status=status, retry_after_seconds=7), StripePlan(status=status))
    answer = each.send()
    assert (answer.outcome, answer.retry_after) == (Outcome.BUSY, 7)
    assert each.send().retry_after is None
    assert each.total == 0


@pytest.mark.parametrize("lock_status", [409, 429])
@pytest.mark.parametrize("api", APIS)
def test_two_calls_for_one_customer_and_meter_are_busy(api: str, lock_status: Any) -> None:
    rules = StripeRules(lock_status=lock_status)
    with bench("http", api=api, books={"rules": rules}) as made:
        made.plan(StripePlan(hold_seconds=1))
        first: list[Answer] = []
        thread = threading.Thread(target=lambda: first.append(made.send()))
        thread.start()
        eventually(lambda: made.total == 60)
        assert made.send(identifier="id-2").outcome is Outcome.BUSY
        # The same call again, while Stripe still works at it.
        at_work = made.send()
        assert at_work.outcome is Outcome.UNKNOWN
        assert at_work.code == "idempotency_key_in_use"
        thread.join()
        assert [answer.outcome for answer in first] == [Outcome.DELIVERED]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_is_denied(each: Bench, status: int) -> None:
    each.plan(StripePlan(status=status))
    answer = each.send()
    assert (answer.outcome, answer.status) == (Outcome.DENIED, status)
    assert each.total == 0


@pytest.mark.parametrize("status", [400, 402, 404, 405, 413, 422])
def test_any_other_refusal_is_refused_in_stripes_words(each: Bench, status: int) -> None:
    each.plan(StripePlan(status=status))
    answer = each.send()
    assert (answer.outcome, answer.status) == (Outcome.REFUSED, status)
    assert answer.message == "Refused by plan."


def test_unknown_meters_and_customers_are_refused(each: Bench) -> None:
    answer = each.send(event_name="none", idempotency_key="another")
    assert answer.outcome is Outcome.REFUSED
    answer = each.send(customer="cus_none")
    assert answer.outcome is Outcome.REFUSED
    assert "cus_none" in answer.message


def test_an_archived_meter_is_refused(each: Bench) -> None:
    each.books.add(f"/v1/billing/meters/{each.meter}/deactivate", {})
    answer = each.send()
    assert answer.outcome is Outcome.REFUSED
    assert "deactivated" in answer.message


def test_a_clock_that_is_ahead_is_early_and_one_that_is_old_refused(each: Bench) -> None:
    early = each.send(timestamp=START + 301)
    assert early.outcome is Outcome.EARLY
    assert "5 minutes in the future" in early.message
    assert each.send(timestamp=START + 300, idempotency_key="k2").outcome is Outcome.DELIVERED
    old = each.send(timestamp=START - 35 * DAY - 1, identifier="id-3")
    assert old.outcome is Outcome.REFUSED
    assert "35 days" in old.message


def test_a_key_that_was_used_for_something_else_is_unknown(each: Bench) -> None:
    each.send()
    answer = each.send("61")
    assert answer.outcome is Outcome.UNKNOWN
    assert answer.status == 400
    assert answer.code == "idempotency_error"


def test_a_stored_500_is_repeated_until_there_is_another_key(v1: Bench) -> None:
    v1.plan(StripePlan(status=500))
    assert v1.send().status == 500
    assert v1.send().status == 500
    assert v1.send(idempotency_key="another").outcome is Outcome.DELIVERED


def test_a_cancelled_event_no_longer_counts(each: Bench) -> None:
    each.send()
    assert each.api.cancel(event_name=EVENT, identifier="id-1").outcome is Outcome.DELIVERED
    assert each.total == 0
    again = each.api.cancel(event_name=EVENT, identifier="id-1")
    assert again.outcome is Outcome.REFUSED
    assert "already" in again.message


def test_a_cancellation_ends_in_the_same_outcomes(each: Bench) -> None:
    each.send()
    each.clock.advance(hours=24)
    assert each.api.cancel(event_name=EVENT, identifier="id-1").outcome is Outcome.REFUSED
    assert each.api.cancel(event_name=EVENT, identifier="none").outcome is Outcome.REFUSED
    for plan, outcome in (
        (StripePlan(lost="request"), Outcome.UNKNOWN),
        (StripePlan(status=503), Outcome.UNKNOWN),
        (StripePlan(status=429), Outcome.BUSY),
        (StripePlan(status=401), Outcome.DENIED),
    ):
        each.plan(plan)
        assert each.api.cancel(event_name=EVENT, identifier="id-1").outcome is outcome


def test_threads_share_one_client() -> None:
    rules = StripeRules(test_events_per_second=None)
    with bench("http", books={"rules": rules}) as made:
        customers = [str(made.books.add("/v1/customers", {})["id"]) for _ in range(16)]

        def work(customer: str) -> None:
            for number in range(10):
                made.send("1", customer=customer, identifier=f"{customer}-{number}")
                made.api.counted(
                    meter_id=made.meter, customer=customer, start=START, end=START + MINUTE
                )

        threads = [threading.Thread(target=work, args=(customer,)) for customer in customers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made.values) == 160
        assert made.api.reads == made.books.truth().reads == 160
