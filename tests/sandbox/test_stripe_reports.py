"""Thin events: what was accepted and never counts is reported, signed, and can be fetched."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import stripe

from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_faults import StripeFaults, StripePlan
from meter.sandbox.stripe_reports import Push, Webhook
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox
from meter.sandbox.webhooks import WebhookRules
from sandbox.receiver import Receiver, eventually
from sandbox.stripe_client import START, FakeClock, World, sdk
from sandbox.stripe_client import world as a_world

SECRET = "whsec_test"
URL = "http://127.0.0.1:9/webhooks/stripe"
NOT_FOUND = "meter_event_customer_not_found"


@pytest.fixture
def quick() -> Iterator[World]:
    rules = StripeRules(report_lag_seconds=60, report_samples=2)
    with a_world("in process", rules=rules) as world:
        world.books.webhook_to(URL, SECRET)
        yield world


def parsed(world: World, push: Push) -> Any:
    signature = push.headers(time.time())["stripe-signature"]
    return world.client.parse_event_notification(push.body, signature, SECRET)


def test_an_event_that_is_rejected_later_is_reported_and_never_counts(quick: World) -> None:
    quick.books.plan_next(StripePlan(rejected_later=NOT_FOUND))
    quick.send(identifier="bad")
    quick.send(identifier="good")
    assert quick.total == 60
    assert quick.summed(START, START + timedelta(minutes=1)) == [(int(START.timestamp()), 60)]
    assert [event.rejected for event in quick.books.truth().events] == [NOT_FOUND, None]
    quick.clock.advance(59)
    assert quick.books.take_pushes() == []
    quick.clock.advance(1)
    (push,) = quick.books.take_pushes()
    assert quick.books.take_pushes() == []
    assert "data" not in json.loads(push.body)
    notice = parsed(quick, push)
    assert notice.type == "v1.billing.meter.error_report_triggered"
    assert notice.related_object.id == quick.meter
    event = notice.fetch_event()
    assert event.data.reason.error_count == 1
    (kind,) = event.data.reason.error_types
    assert (kind.code, kind.error_count) == (NOT_FOUND, 1)
    (sample,) = kind.sample_errors
    assert sample.request.identifier == "bad"
    assert sample.error_message
    assert notice.fetch_related_object().id == quick.meter


def test_a_report_lists_samples_only_and_one_entry_per_code(quick: World) -> None:
    codes = [NOT_FOUND] * 3 + ["meter_event_invalid_value"]
    for number, code in enumerate(codes):
        quick.books.plan_next(StripePlan(rejected_later=code))
        quick.send(identifier=f"{number}")
    quick.clock.advance(60)
    (push,) = quick.books.take_pushes()
    event = parsed(quick, push).fetch_event()
    assert event.data.reason.error_count == 4
    first, second = event.data.reason.error_types
    assert (first.error_count, [each.request.identifier for each in first.sample_errors]) == (
        3,
        ["0", "1"],
    )
    assert (second.code, second.error_count) == ("meter_event_invalid_value", 1)


def test_each_meter_has_a_report_of_its_own_and_a_lost_meter_another_type(quick: World) -> None:
    quick.new_meter("other")
    for identifier, code, name in (
        ("a", NOT_FOUND, "transcription_seconds"),
        ("b", NOT_FOUND, "other"),
        ("c", "no_meter", "other"),
    ):
        quick.books.plan_next(StripePlan(rejected_later=code))
        quick.send(identifier=identifier, event_name=name)
    quick.clock.advance(60)
    notices = [parsed(quick, push) for push in quick.books.take_pushes()]
    assert sorted(notice.type for notice in notices) == [
        "v1.billing.meter.error_report_triggered",
        "v1.billing.meter.error_report_triggered",
        "v1.billing.meter.no_meter_found",
    ]
    lost = next(notice for notice in notices if notice.type.endswith("no_meter_found"))
    (kind,) = lost.fetch_event().data.reason.error_types
    assert (kind.code, kind.sample_errors[0].request.identifier) == ("no_meter", "c")


def test_unknown_customers_may_be_reported_rather_than_refused() -> None:
    with a_world("in process", rules=StripeRules(unknown_customers="reported")) as world:
        world.books.webhook_to(URL, SECRET)
        world.send(customer="cus_nobody")
        (push,) = world.books.take_pushes()
        (kind,) = parsed(world, push).fetch_event().data.reason.error_types
        assert kind.code == NOT_FOUND
        assert world.books.truth().totals == {}


def test_a_share_of_events_is_rejected_later(quick: World) -> None:
    quick.books.faults = StripeFaults(rejected_later=0.5)
    for number in range(20):
        quick.send(identifier=f"{number}")
    rejected = sum(event.rejected is not None for event in quick.books.truth().events)
    assert 3 < rejected < 17


def test_a_push_is_signed_as_the_sdk_signs() -> None:
    push = Push(Webhook(URL, SECRET), "evt_1", b'{"a":1}')
    ours = push.headers(1_700_000_000.9)["stripe-signature"]
    sign: Any = stripe.WebhookSignature.generate_signature_header
    assert ours == sign('{"a":1}', SECRET, 1_700_000_000)


def test_over_http_a_push_comes_until_it_is_taken() -> None:
    rules = WebhookRules(attempts=3, retry_wait=0.02, timeout=1)
    clock = FakeClock()
    with (
        Receiver(500, 400) as receiver,
        StripeSandbox(webhook_rules=rules, clock=clock) as double,
        sdk(double.base_url) as client,
    ):
        double.webhook_to(receiver.url, SECRET)
        made = World(double.books, client, clock)
        made.meter, made.customer = made.new_meter("transcription_seconds"), made.new_customer()
        double.plan_next(StripePlan(rejected_later=NOT_FOUND))
        made.send()
        eventually(lambda: len(receiver.received) == 3)
        last = receiver.received[-1]
        body = json.dumps(last.body, separators=(",", ":"))
        notice: Any = client.parse_event_notification(
            body, last.headers["stripe-signature"], SECRET
        )
        assert notice.fetch_event().data.reason.error_count == 1


@pytest.mark.parametrize(
    "url", ["https://meter.example.com/webhooks/stripe", "http://10.0.0.1/", "stripe.com", ""]
)
def test_a_webhook_off_this_machine_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="this machine only"):
        StripeSandbox().webhook_to(url, SECRET)


def test_an_unknown_thin_event_is_404(quick: World) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        quick.client.v2.core.events.retrieve("evt_none")
    assert caught.value.http_status == 404


def test_without_a_webhook_the_event_is_still_there() -> None:
    books = StripeBooks()
    assert books.take_pushes() == []
