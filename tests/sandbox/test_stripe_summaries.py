"""Event summaries, minute by minute, and the cancelling of events."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import stripe

from meter.sandbox.stripe_rules import StripeRules
from sandbox.stripe_client import SECONDS, START, TRANSPORTS, World
from sandbox.stripe_client import world as a_world

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MIDNIGHT = START.replace(hour=0)


def unix(at: datetime) -> int:
    return int(at.timestamp())


@pytest.fixture(params=TRANSPORTS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with a_world(request.param) as world:
        yield world


@pytest.fixture
def quick() -> Iterator[World]:
    with a_world("in process", rules=StripeRules(test_events_per_second=None)) as world:
        yield world


@pytest.fixture
def lagging() -> Iterator[World]:
    with a_world("in process", rules=StripeRules(summary_lag_seconds=600)) as world:
        yield world


def send_at(world: World, at: datetime, value: str, **fields: Any) -> None:
    world.send(value, identifier=f"{at} {value} {fields}", timestamp=unix(at), **fields)


def cancel(world: World, identifier: str, event_name: str = SECONDS) -> Any:
    return world.client.v1.billing.meter_event_adjustments.create(
        {"event_name": event_name, "type": "cancel", "cancel": {"identifier": identifier}}
    )


def test_a_slot_of_a_minute_answers_exactly(world: World) -> None:
    for second, value in ((-61, "1"), (-60, "2"), (-1, "4"), (0, "8"), (59, "16"), (60, "32")):
        send_at(world, START + timedelta(seconds=second), value)
    send_at(world, START, "100", customer=world.new_customer())
    assert world.summed(START, START + MINUTE) == [(unix(START), 24)]
    assert world.summed(START - MINUTE, START) == [(unix(START - MINUTE), 6)]
    assert world.summed(START - 2 * MINUTE, START + 2 * MINUTE) == [(unix(START - 2 * MINUTE), 63)]
    assert world.summed(START + 5 * MINUTE, START + 6 * MINUTE) == []


def test_a_sum_is_a_float_of_the_exact_decimal(quick: World) -> None:
    for value in ("0.1", "0.2"):
        send_at(quick, START, value)
    ((_, summed),) = quick.summed(START, START + MINUTE)
    assert isinstance(summed, float)
    assert summed == 0.3


def test_negative_events_count(quick: World) -> None:
    send_at(quick, START, "10")
    send_at(quick, START, "-25")
    assert quick.summed(START, START + MINUTE) == [(unix(START), -15)]


def test_hours_and_utc_days_are_windows_of_their_own(quick: World) -> None:
    for at, value in ((MIDNIGHT - MINUTE, "1"), (MIDNIGHT, "2"), (START - HOUR, "4"), (START, "8")):
        send_at(quick, at, value)
    start, end = MIDNIGHT - DAY, MIDNIGHT + DAY
    assert quick.summed(start, end, value_grouping_window="day") == [
        (unix(MIDNIGHT), 14),
        (unix(MIDNIGHT - DAY), 1),
    ]
    assert quick.summed(MIDNIGHT, end, value_grouping_window="hour") == [
        (unix(START), 8),
        (unix(START - HOUR), 4),
        (unix(MIDNIGHT), 2),
    ]


@pytest.mark.parametrize(
    ("start", "end", "window"),
    [
        (START + timedelta(seconds=1), START + MINUTE, None),
        (START, START + timedelta(seconds=90), None),
        (START + MINUTE, START + HOUR, "hour"),
        (START, START + DAY, "day"),
        (START, START, None),
        (START + MINUTE, START, None),
        (START, START + HOUR, "week"),
    ],
)
def test_times_that_are_not_aligned_are_refused(
    quick: World, start: datetime, end: datetime, window: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        quick.summed(start, end, **({"value_grouping_window": window} if window else {}))
    assert caught.value.http_status == 400


def test_counts_and_last_values(quick: World) -> None:
    count, last = quick.new_meter("calls", "count"), quick.new_meter("seats", "last")
    for name in ("calls", "seats"):
        send_at(quick, START, "5", event_name=name)
        send_at(quick, START - MINUTE, "7", event_name=name)
    quick.meter = count
    assert quick.summed(START - HOUR, START + HOUR) == [(unix(START - HOUR), 2)]
    quick.meter = last
    assert quick.summed(START - HOUR, START + HOUR) == [(unix(START - HOUR), 5)]


def test_the_sdk_walks_the_pages(world: World) -> None:
    for number in range(12):
        send_at(world, START - number * HOUR, f"{number + 1}")
    params: Any = {
        "customer": world.customer,
        "start_time": unix(START - DAY),
        "end_time": unix(START + HOUR),
        "value_grouping_window": "hour",
    }
    page = world.client.v1.billing.meters.event_summaries.list(world.meter, params)
    assert (len(page.data), page.has_more) == (10, True)
    values = [row.aggregated_value for row in page.auto_paging_iter()]
    assert values == list(range(1, 13))
    assert world.books.truth().reads == 2
    with pytest.raises(stripe.InvalidRequestError):
        world.summed(START, START + HOUR, limit=101)


def test_summaries_lag_on_the_doubles_clock(lagging: World) -> None:
    lagging.send("60")
    window = (START, START + MINUTE)
    lagging.clock.advance(599)
    assert lagging.summed(*window) == []
    assert lagging.total == 60
    lagging.clock.advance(1)
    assert lagging.summed(*window) == [(unix(START), 60)]
    cancel(lagging, "id-1")
    assert lagging.summed(*window) == [(unix(START), 60)]
    lagging.clock.advance(600)
    assert lagging.summed(*window) == []


def test_empty_windows_may_have_rows_of_zero() -> None:
    with a_world("in process", rules=StripeRules(zero_summaries=True)) as world:
        assert world.summed(START, START + MINUTE) == [(unix(START), 0)]
        rows = world.summed(START, START + 3 * HOUR, value_grouping_window="hour")
        assert [value for _, value in rows] == [0, 0, 0]


def test_unknown_meters_and_customers_have_no_summaries(quick: World) -> None:
    quick.customer = "cus_nobody"
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        quick.summed(START, START + MINUTE)
    quick.meter = "mtr_none"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        quick.summed(START, START + MINUTE)
    assert caught.value.http_status == 404


def test_an_event_can_be_cancelled_for_24_hours(world: World) -> None:
    world.send("60", identifier="a")
    world.send("1", identifier="b")
    world.clock.advance(hours=24, seconds=-1)
    adjustment = cancel(world, "a")
    assert (adjustment.status, adjustment.cancel.identifier) == ("pending", "a")
    world.clock.advance(1)
    with pytest.raises(stripe.InvalidRequestError, match="can no longer be cancelled"):
        cancel(world, "b")
    assert world.total == 1
    assert [event.cancelled for event in world.books.truth().events] == [True, False]
    assert world.summed(START, START + MINUTE) == [(unix(START), 1)]


def test_v2_cancels_too(quick: World) -> None:
    quick.send_v2(identifier="a")
    adjustment = quick.client.v2.billing.meter_event_adjustments.create(
        {"event_name": SECONDS, "type": "cancel", "cancel": {"identifier": "a"}}
    )
    assert adjustment.object == "v2.billing.meter_event_adjustment"
    assert quick.total == 0


def test_a_cancelled_event_keeps_its_identifier(quick: World) -> None:
    quick.send(identifier="a")
    cancel(quick, "a")
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        quick.send(identifier="a")


def test_only_an_event_that_is_there_is_cancelled_and_once(quick: World) -> None:
    quick.send(identifier="a")
    for identifier, event_name in (("none", SECONDS), ("a", "other")):
        with pytest.raises(stripe.InvalidRequestError, match="has the identifier"):
            cancel(quick, identifier, event_name)
    cancel(quick, "a")
    with pytest.raises(stripe.InvalidRequestError, match="cancelled already"):
        cancel(quick, "a")
