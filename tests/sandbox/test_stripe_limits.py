"""One call at a time for a customer and meter, and so many events a second."""

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import stripe

from meter.sandbox.stripe_books import Exchange
from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_wire import request_of
from sandbox.receiver import eventually
from sandbox.stripe_client import KEY, SECONDS, World
from sandbox.stripe_client import world as a_world

MANY = StripeRules(test_events_per_second=None)


@pytest.fixture
def world() -> Iterator[World]:
    with a_world("in process") as world:
        yield world


def unanswered(world: World) -> Exchange:
    """Begin an event of the world's customer that stays on its way."""
    form = {
        "event_name": SECONDS,
        "payload[stripe_customer_id]": world.customer,
        "payload[value]": "1",
    }
    headers = {"authorization": f"Bearer {KEY}"}
    request = request_of("POST", "/v1/billing/meter_events", headers, urlencode(form))
    exchange = world.books.begin(request, StripePlan())
    assert exchange.answer.status == 200
    return exchange


def test_a_second_call_for_one_customer_and_meter_is_locked_out(world: World) -> None:
    exchange = unanswered(world)
    with pytest.raises(stripe.RateLimitError) as caught:
        world.send()
    assert caught.value.http_status == 429
    assert caught.value.error is not None
    assert caught.value.error.code == "lock_timeout"
    with pytest.raises(stripe.RateLimitError) as caught:
        world.send_v2()
    assert caught.value.error is not None
    assert caught.value.error.code == "too_many_concurrent_requests"
    world.send(customer=world.new_customer())
    world.new_meter("other")
    world.send(event_name="other", identifier="b")
    world.books.end(exchange)
    world.send(identifier="c")
    assert world.total == 61


def test_the_lock_may_answer_409() -> None:
    with a_world("in process", rules=StripeRules(lock_status=409)) as world:
        exchange = unanswered(world)
        with pytest.raises(stripe.APIError) as caught:
            world.send()
        assert caught.value.http_status == 409
        world.books.end(exchange)


def test_a_locked_out_call_may_keep_its_key(world: World) -> None:
    exchange = unanswered(world)
    with pytest.raises(stripe.RateLimitError):
        world.send(key="k")
    world.books.end(exchange)
    world.send(key="k")
    assert world.total == 61


def test_over_http_the_lock_is_held_until_the_answer() -> None:
    with a_world("http") as world:
        world.books.plan_next(StripePlan(hold_seconds=1))
        slow = threading.Thread(target=world.send)
        slow.start()
        eventually(lambda: world.total == 60)
        with pytest.raises(stripe.RateLimitError):
            world.send(identifier="b")
        world.send(identifier="b", customer=world.new_customer())
        slow.join()
        world.send(identifier="c")
        assert world.total == 120


def test_a_sandbox_takes_25_events_in_a_second(world: World) -> None:
    for number in range(25):
        world.send(identifier=f"{number}")
    for send in (world.send, world.send_v2):
        with pytest.raises(stripe.RateLimitError) as caught:
            send(identifier="one more")
        assert caught.value.http_status == 429
    world.clock.advance(0.999)
    with pytest.raises(stripe.RateLimitError):
        world.send(identifier="one more")
    world.clock.advance(0.001)
    world.send(identifier="one more")
    assert world.total == 26 * 60


def test_live_mode_has_a_limit_of_its_own() -> None:
    with a_world("in process", rules=StripeRules(live_events_per_second=2)) as world:
        options: Any = {"api_key": "sk_live_x"}
        params: Any = world.event()
        for _ in range(2):
            with pytest.raises(stripe.InvalidRequestError):
                world.client.v1.billing.meter_events.create(params, options)
        with pytest.raises(stripe.RateLimitError):
            world.client.v1.billing.meter_events.create(params, options)
        world.send()


def test_a_limit_can_be_lifted() -> None:
    with a_world("in process", rules=MANY) as world:
        for number in range(100):
            world.send("1", identifier=f"{number}")
        assert world.total == 100


def test_other_requests_are_not_limited(world: World) -> None:
    for _ in range(60):
        world.client.v1.customers.retrieve(world.customer)
    assert world.books.truth().reads == 60
