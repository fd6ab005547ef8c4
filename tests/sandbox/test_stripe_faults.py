"""Each fault does what it says, for a share of the requests or for one planned request."""

from collections.abc import Iterator

import pytest
import stripe

from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_faults import ConnectionLostError, StripeFaults, StripePlan
from meter.sandbox.stripe_rules import StripeRules
from sandbox.stripe_client import KEY, TRANSPORTS, FakeClock, World, in_process
from sandbox.stripe_client import world as a_world

EVENTS = "/v1/billing/meter_events"
UNLIMITED = StripeRules(test_events_per_second=None)


@pytest.fixture(params=TRANSPORTS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with a_world(request.param) as world:
        yield world


def test_a_lost_request_leaves_no_trace_but_its_count(world: World) -> None:
    world.books.plan_next(StripePlan(lost="request"))
    with pytest.raises(stripe.APIConnectionError):
        world.send()
    assert world.total == 0
    assert world.books.truth().requests == {("POST", EVENTS, 0): 1}
    world.send()
    assert world.total == 60


def test_a_lost_response_has_taken_effect(world: World) -> None:
    world.books.plan_next(StripePlan(lost="response"))
    with pytest.raises(stripe.APIConnectionError):
        world.send()
    assert world.total == 60
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        world.send()


def test_a_malformed_answer_has_taken_effect(world: World) -> None:
    world.books.plan_next(StripePlan(malformed=True))
    with pytest.raises(stripe.APIError, match="Invalid response body"):
        world.send()
    assert world.total == 60


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, stripe.AuthenticationError),
        (403, stripe.PermissionError),
        (409, stripe.APIError),
        (429, stripe.RateLimitError),
        (500, stripe.APIError),
        (503, stripe.APIError),
    ],
)
def test_any_status_can_be_planned(
    world: World, status: int, error: type[stripe.StripeError]
) -> None:
    world.books.plan_next(StripePlan(status=status, retry_after_seconds=7))
    with pytest.raises(error) as caught:
        world.send()
    assert caught.value.http_status == status
    assert (caught.value.headers or {})["retry-after"] == "7"
    assert world.total == 0
    world.books.plan_next(StripePlan(status=status, recorded=True))
    with pytest.raises(error):
        world.send()
    assert world.total == 60


def test_a_plan_may_wait_for_its_path(world: World) -> None:
    world.books.plan_next(StripePlan(status=503), path=EVENTS)
    world.client.v1.customers.retrieve(world.customer)
    with pytest.raises(stripe.APIError):
        world.send()
    world.send()


def test_plans_are_taken_in_order() -> None:
    with a_world("in process") as world:
        world.books.plan_next(StripePlan(status=503), StripePlan(), StripePlan(status=429))
        with pytest.raises(stripe.APIError):
            world.send()
        world.send()
        with pytest.raises(stripe.RateLimitError):
            world.send()


FAULTS = StripeFaults(
    request_lost=0.1,
    response_lost=0.1,
    malformed=0.05,
    server_error=0.1,
    server_error_recorded=0.1,
    unavailable=0.1,
    rate_limited=0.1,
    conflict=0.05,
    unauthorized=0.05,
    paths=(EVENTS,),
)


def outcomes(*, seed: int, order: int = 1) -> dict[int, str]:
    """Send 200 events in an order, and return what became of each."""
    with a_world("in process", seed=seed, rules=UNLIMITED, faults=FAULTS) as world:
        told: dict[int, str] = {}
        for number in range(200)[::order]:
            try:
                world.send("1", identifier=f"{number}")
            except stripe.StripeError as error:
                told[number] = f"{type(error).__name__} {error.http_status}"
            else:
                told[number] = "sent"
        return told


def test_shares_are_drawn_from_the_seed_whatever_the_order() -> None:
    told = outcomes(seed=3)
    kinds = set(told.values())
    assert kinds == {
        "sent",
        "APIConnectionError None",
        "APIError 200",
        "APIError 500",
        "APIError 503",
        "APIError 409",
        "RateLimitError 429",
        "AuthenticationError 401",
    }
    assert 20 < sum(kind == "sent" for kind in told.values()) < 90
    assert outcomes(seed=3, order=-1) == told
    assert outcomes(seed=4) != told


def test_a_request_that_is_sent_again_is_drawn_again() -> None:
    faults = StripeFaults(request_lost=0.9)
    with a_world("in process", faults=faults, rules=UNLIMITED) as world:
        for _ in range(200):
            try:
                world.send()
            except stripe.APIConnectionError:
                continue
            break
        assert world.total == 60


@pytest.mark.parametrize(
    "shares",
    [{"request_lost": -0.1}, {"conflict": 1.1}, {"request_lost": 0.6, "response_lost": 0.6}],
)
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="stripe faults"):
        StripeFaults(**shares)  # type: ignore[arg-type]  # shares, and no others


def test_in_process_delays_pass_on_the_callers_clock() -> None:
    clock = FakeClock()
    books = StripeBooks(clock=clock, rules=StripeRules(unknown_customers="accepted"))
    made = World(books, in_process(books, wait=clock.advance), clock)
    made.meter, made.customer = made.new_meter("transcription_seconds"), "anyone"
    began = clock()
    books.plan_next(StripePlan(delay_seconds=5, hold_seconds=2))
    made.send()
    assert (clock() - began).total_seconds() == 7
    (row,) = books.truth().events
    assert (row.received_at - began).total_seconds() == 5
    books.plan_next(StripePlan(hold_seconds=60))
    with pytest.raises(stripe.APIConnectionError, match="timed out"):
        made.send(identifier="late")
    assert (clock() - began).total_seconds() == 27
    assert made.total == 120


def test_the_machine_alone_says_which_way_was_lost() -> None:
    books = StripeBooks()
    headers = {"Authorization": f"Bearer {KEY}"}
    for loss, customers in (("request", 0), ("response", 1)):
        books.plan_next(StripePlan(lost=loss))  # type: ignore[arg-type]  # one of the two
        with pytest.raises(ConnectionLostError) as caught:
            books.handle("POST", "/v1/customers", headers, "name=Anna")
        assert caught.value.loss == loss
        answer = books.handle("GET", "/v1/customers?limit=5", headers)
        assert len(answer.document()["data"]) == customers
