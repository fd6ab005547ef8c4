"""Meter events: what is taken, what is refused in which words, and for how long it is known."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import stripe

from meter.sandbox.stripe_rules import StripeRules
from sandbox.stripe_client import SECONDS, START, TRANSPORTS, World
from sandbox.stripe_client import world as a_world


@pytest.fixture(params=TRANSPORTS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with a_world(request.param) as world:
        yield world


@pytest.fixture
def quick() -> Iterator[World]:
    with a_world("in process") as world:
        yield world


def refusal(world: World, **fields: Any) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        world.send(**fields)
    assert caught.value.http_status == 400
    return caught.value


def refusal_v2(world: World, **fields: Any) -> str:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        world.send_v2(**fields)
    return str(caught.value.code)


def test_an_accepted_event_is_in_the_books_to_the_digit(world: World) -> None:
    event = world.send("61.250", identifier="a")
    assert (event.object, event.identifier, event.livemode) == ("billing.meter_event", "a", False)
    assert event.timestamp == event.created == int(START.timestamp())
    truth = world.books.truth()
    (row,) = truth.events
    assert (row.identifier, row.customer, row.value) == ("a", world.customer, Decimal("61.250"))
    assert (row.timestamp, row.received_at, row.api) == (START, START, "v1")
    assert truth.totals == {(world.customer, SECONDS): Decimal("61.250")}
    assert truth.slots == {(world.customer, SECONDS, START): Decimal("61.250")}


def test_v2_takes_the_same_event_as_json(world: World) -> None:
    event = world.send_v2("7", identifier="a", timestamp="2026-11-20T12:00:30.5+01:00")
    assert (event.object, event.timestamp) == ("v2.billing.meter_event", "2026-11-20T11:00:30.500Z")
    (row,) = world.books.truth().events
    assert (row.api, row.minute) == ("v2", START - timedelta(hours=1))


def test_an_identifier_is_unique_for_24_hours_and_no_longer(world: World) -> None:
    world.send(identifier="a")
    world.clock.advance(hours=24, seconds=-1)
    error = refusal(world, identifier="a")
    assert error.code is None
    assert "An event already exists with identifier a." in str(error)
    assert refusal_v2(world, identifier="a") == "duplicate_meter_event"
    assert world.total == 60
    world.clock.advance(1)
    world.send(identifier="a")
    assert world.total == 120
    world.clock.advance(hours=23)
    refusal(world, identifier="a")


def test_an_identifier_is_unique_across_meters_and_customers(quick: World) -> None:
    quick.new_meter("other")
    quick.send(identifier="a")
    refusal(quick, identifier="a", event_name="other")
    refusal(quick, identifier="a", customer=quick.new_customer())


def test_a_refused_event_leaves_its_identifier_free(quick: World) -> None:
    refusal(quick, identifier="a", value="many")
    quick.send(identifier="a")
    assert quick.total == 60


def test_an_identifier_and_a_timestamp_are_made_where_none_is_given(quick: World) -> None:
    event = quick.send(identifier=None, timestamp=None)
    assert event.identifier
    assert event.timestamp == int(START.timestamp())
    assert quick.send(identifier=None).identifier != event.identifier


@pytest.mark.parametrize(
    ("offset", "words", "code"),
    [
        (-35 * 86_400 - 1, "cannot be more than 35 days in past", "timestamp_too_far_in_past"),
        (301, "cannot be more than 5 minutes in the future", "timestamp_in_future"),
    ],
    ids=["past", "future"],
)
def test_a_timestamp_has_its_walls(quick: World, offset: int, words: str, code: str) -> None:
    at = int(START.timestamp()) + offset
    assert words in str(refusal(quick, timestamp=at))
    assert refusal_v2(quick, timestamp=at) == code
    quick.send(timestamp=at - (1 if offset > 0 else -1))
    assert quick.total == 60


@pytest.mark.parametrize("value", ["0", "-5", "123456789012345", "0.00012345678901234", "007"])
def test_values_of_up_to_15_significant_digits_are_taken(quick: World, value: str) -> None:
    quick.send(value)
    assert quick.total == Decimal(value)


@pytest.mark.parametrize(
    "value", ["1234567890123456", "1.234567890123456", "1e3", "NaN", "Infinity", " 1", "1,5", "٣"]
)
def test_values_that_are_no_such_number_are_refused(quick: World, value: str) -> None:
    assert "value" in str(refusal(quick, value=value)).lower()
    assert refusal_v2(quick, value=value) == "payload_invalid_value"
    assert quick.total == 0


def test_what_the_sdk_makes_of_a_float_is_refused(quick: World) -> None:
    payload: Any = {"stripe_customer_id": quick.customer, "value": 0.1 + 0.2}
    assert "significant digits" in str(refusal(quick, payload=payload))


def test_unknown_and_deactivated_meters_take_no_events(quick: World) -> None:
    error = refusal(quick, event_name="nobodys")
    assert (error.code, "No meter found" in str(error)) == (None, True)
    assert refusal_v2(quick, event_name="nobodys") == "no_meter"
    quick.client.v1.billing.meters.deactivate(quick.meter)
    assert "deactivated" in str(refusal(quick))
    assert refusal_v2(quick) == "archived_meter"
    quick.client.v1.billing.meters.reactivate(quick.meter)
    quick.send()
    assert quick.total == 60


def test_a_payload_must_name_a_customer_and_a_value(quick: World) -> None:
    for payload, code in (
        ({"value": "1"}, "payload_no_customer_defined"),
        ({"stripe_customer_id": quick.customer}, "payload_no_value_defined"),
    ):
        assert refusal(quick, payload=payload).code is None
        assert refusal_v2(quick, payload=payload) == code


def test_a_meters_own_keys_count(quick: World) -> None:
    quick.new_meter(
        "own",
        customer_mapping={"type": "by_id", "event_payload_key": "who"},
        value_settings={"event_payload_key": "much"},
    )
    quick.send(event_name="own", payload={"who": quick.customer, "much": "3"})
    assert quick.books.truth().totals == {(quick.customer, "own"): 3}
    refusal(quick, event_name="own", identifier="b")


def test_an_unknown_customer_is_refused_at_once(quick: World) -> None:
    error = refusal(quick, customer="cus_nobody")
    assert (error.code, "No such customer: 'cus_nobody'" in str(error)) == (None, True)
    assert refusal_v2(quick, customer="cus_nobody") == "meter_event_customer_not_found"


def test_a_sandbox_may_accept_customers_that_nobody_made() -> None:
    with a_world("in process", rules=StripeRules(unknown_customers="accepted")) as world:
        world.send(customer="Müller & Söhne [1]", value="5")
        world.customer = "Müller & Söhne [1]"
        assert world.total == 5
        assert world.summed(START, START + timedelta(minutes=1)) == [(int(START.timestamp()), 5)]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"event_name": None}, "event_name"),
        ({"event_name": "x" * 101}, "event_name"),
        ({"identifier": "x" * 101}, "identifier"),
        ({"payload": None}, "payload"),
        ({"payload": "text"}, "payload"),
        ({"timestamp": "soon"}, "timestamp"),
        ({"timestamp": "1.5"}, "timestamp"),
        ({"timestamp": "9" * 18}, "timestamp"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_malformed_is_refused_by_its_name(
    quick: World, fields: dict[str, Any], param: str
) -> None:
    assert refusal(quick, **fields).param == param


@pytest.mark.parametrize("timestamp", ["yesterday", "2026-11-20T12:00:00", "2026-13-01T00:00:00Z"])
def test_v2_wants_a_time_with_a_zone(quick: World, timestamp: str) -> None:
    assert refusal_v2(quick, timestamp=timestamp) == "invalid_fields"


def test_live_and_test_mode_share_nothing(quick: World) -> None:
    quick.books.add(
        "/v1/billing/meters",
        {
            "display_name": "live",
            "event_name": SECONDS,
            "default_aggregation": {"formula": "sum"},
        },
        livemode=True,
    )
    customer = quick.books.add("/v1/customers", {}, livemode=True)["id"]
    options: Any = {"api_key": "sk_live_sandbox"}
    params: Any = quick.event("9", customer=customer)
    event = quick.client.v1.billing.meter_events.create(params, options)
    assert event.livemode
    quick.send()
    assert quick.books.truth(livemode=True).totals == {(customer, SECONDS): 9}
    assert quick.books.truth(livemode=False).totals == {(quick.customer, SECONDS): 60}
