"""Stored answers: the same key gives the same answer for a day, a 500 too."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import stripe

from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_wire import request_of
from sandbox.stripe_client import KEY, TRANSPORTS, World
from sandbox.stripe_client import world as a_world

SERVER_ERROR = StripePlan(status=500)


@pytest.fixture(params=TRANSPORTS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with a_world(request.param) as world:
        yield world


@pytest.fixture
def quick() -> Iterator[World]:
    with a_world("in process") as world:
        yield world


def test_the_same_key_replays_a_success_and_counts_once(world: World) -> None:
    first = world.send(key="k")
    world.clock.advance(3600)
    again = world.client.v1.billing.meter_events.create(
        params(world, first.timestamp), {"idempotency_key": "k"}
    )
    assert again.to_dict() == first.to_dict()
    assert again.last_response is not None
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert world.total == 60


def params(world: World, timestamp: int) -> Any:
    return world.event(timestamp=timestamp)


def test_a_stored_500_is_replayed_until_a_new_key_is_taken(world: World) -> None:
    at = int(world.clock().timestamp())
    world.books.plan_next(SERVER_ERROR)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            world.send(key="k", timestamp=at)
        assert caught.value.http_status == 500
    assert world.total == 0
    world.send(key="k2", timestamp=at)
    assert world.total == 60


def test_a_500_after_the_work_is_known_by_the_identifier(world: World) -> None:
    world.books.plan_next(StripePlan(status=500, recorded=True))
    with pytest.raises(stripe.APIError):
        world.send(key="k")
    assert world.total == 60
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        world.send(key="k2")


def test_an_answer_is_stored_for_24_hours(quick: World) -> None:
    quick.books.plan_next(SERVER_ERROR)
    at = int(quick.clock().timestamp())
    with pytest.raises(stripe.APIError):
        quick.send(key="k", timestamp=at)
    quick.clock.advance(hours=24, seconds=-1)
    with pytest.raises(stripe.APIError):
        quick.send(key="k", timestamp=at)
    quick.clock.advance(1)
    quick.send(key="k", timestamp=at)
    assert quick.total == 60


def test_a_key_belongs_to_its_parameters(world: World) -> None:
    world.send(key="k")
    with pytest.raises(stripe.IdempotencyError) as caught:
        world.send("61", key="k")
    assert caught.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError):
        world.client.v1.customers.create({}, {"idempotency_key": "k"})
    assert world.total == 60


def test_a_refusal_is_stored_once_the_work_had_begun(quick: World) -> None:
    quick.client.v1.billing.meters.deactivate(quick.meter)
    with pytest.raises(stripe.InvalidRequestError, match="deactivated"):
        quick.send(key="k")
    quick.client.v1.billing.meters.reactivate(quick.meter)
    with pytest.raises(stripe.InvalidRequestError, match="deactivated"):
        quick.send(key="k")
    quick.send(key="k2")
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        quick.send(key="k3")
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        quick.send(key="k3")


@pytest.mark.parametrize("status", [401, 409, 429, 503])
def test_what_never_reached_the_work_is_not_stored(quick: World, status: int) -> None:
    quick.books.plan_next(StripePlan(status=status))
    with pytest.raises(stripe.StripeError) as caught:
        quick.send(key="k")
    assert caught.value.http_status == status
    quick.send(key="k")
    assert quick.total == 60


def test_a_lost_response_is_found_again_under_its_key(world: World) -> None:
    world.books.plan_next(StripePlan(lost="response"))
    with pytest.raises(stripe.APIConnectionError):
        world.send(key="k")
    assert world.send(key="k").last_response.headers["idempotent-replayed"] == "true"
    assert world.total == 60


def test_a_key_whose_request_is_not_answered_yet_is_in_use(quick: World) -> None:
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Idempotency-Key": "k",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    body = str(httpx.QueryParams({"name": "Anna"}))
    request = request_of("post", "/v1/customers", headers, body)
    exchange = quick.books.begin(request, StripePlan())
    with pytest.raises(stripe.APIError) as caught:
        quick.client.v1.customers.create({"name": "Anna"}, {"idempotency_key": "k"})
    assert caught.value.http_status == 409
    quick.books.end(exchange)
    made = quick.client.v1.customers.create({"name": "Anna"}, {"idempotency_key": "k"})
    assert made.id == exchange.answer.document()["id"]


def test_v2_stores_what_succeeded_and_tries_again_what_failed(quick: World) -> None:
    quick.books.plan_next(SERVER_ERROR)
    with pytest.raises(stripe.APIError):
        quick.send_v2(key="k")
    first = quick.send_v2(key="k")
    assert quick.send_v2(key="k").created == first.created
    quick.clock.advance(days=2)
    at = int(quick.clock().timestamp()) - 2 * 86_400
    assert quick.send_v2(key="k", timestamp=at).created == first.created
    assert quick.total == 60


def test_accounts_and_modes_do_not_share_keys(quick: World) -> None:
    one = quick.client.v1.customers.create({}, {"idempotency_key": "k"})
    other = quick.client.v1.customers.create({}, {"idempotency_key": "k", "api_key": "sk_live_x"})
    assert one.id != other.id
