"""The double answers as Stripe's description allows, and the SDK's requests fit it as well."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe

from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_inprocess import InProcessStripe
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_wire import form_params, request_of
from sandbox.stripe_client import (
    KEY,
    SECONDS,
    START,
    World,
    check_answer,
    check_request,
    check_schema,
    description,
    templated,
    world,
)


class Checking(InProcessStripe):
    """Checks what goes out and what comes back, where the description knows of it."""

    def request(
        self, method: str, url: str, headers: Any, post_data: Any = None, **options: Any
    ) -> tuple[str, int, Any]:
        body, status, answered = super().request(method, url, headers, post_data, **options)
        split = urlsplit(url)
        request = request_of(method, f"{split.path}?{split.query}", headers, post_data)
        if status == 200:
            check_request(request.method, request.path, request.params())
        if templated(request.method, request.path) is not None:
            check_answer(request.method, request.path, status, json.loads(body))
        return body, status, answered


@pytest.fixture
def checked() -> Iterator[World]:
    description()
    with world("in process", rules=StripeRules(test_events_per_second=None)) as made:
        made.client = stripe.StripeClient(KEY, http_client=Checking(made.books))
        yield made


def test_meters_conform(checked: World) -> None:
    meters = checked.client.v1.billing.meters
    made = meters.create(
        {
            "display_name": "Streaming",
            "event_name": "streaming_seconds",
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
            "event_time_window": "hour",
        }
    )
    meters.retrieve(made.id)
    meters.update(made.id, {"display_name": "Live"})
    meters.deactivate(made.id)
    meters.list({"status": "inactive", "limit": 5, "expand": ["data"]})
    meters.reactivate(made.id)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_events_adjustments_and_summaries_conform(checked: World, version: str) -> None:
    send: Callable[..., Any] = checked.send if version == "v1" else checked.send_v2
    send("61.25", identifier="a")
    send("1", identifier=None, timestamp=None)
    cancel: Any = {"event_name": SECONDS, "type": "cancel", "cancel": {"identifier": "a"}}
    getattr(checked.client, version).billing.meter_event_adjustments.create(cancel)
    checked.summed(START.replace(hour=0), START, limit=1)
    checked.summed(START.replace(hour=0), START.replace(hour=13), value_grouping_window="hour")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_refusals_conform(checked: World, version: str) -> None:
    send: Callable[..., Any] = checked.send if version == "v1" else checked.send_v2
    send()
    old = int(START.timestamp()) - 36 * 86_400
    refusals: list[dict[str, Any]] = [
        {},
        {"event_name": "none"},
        {"customer": "cus_none"},
        {"value": "x"},
        {"payload": {"value": "1"}},
        {"payload": {"stripe_customer_id": checked.customer}},
        {"timestamp": old},
        {"colour": "red"},
    ]
    for fields in refusals:
        with pytest.raises(stripe.InvalidRequestError):
            send(**fields)
    for status in (401, 403, 409, 429, 500, 503):
        checked.books.plan_next(StripePlan(status=status, retry_after_seconds=1))
        with pytest.raises(stripe.StripeError):
            send()
    send(identifier="k", key="k")
    with pytest.raises(stripe.IdempotencyError):
        send(identifier="other", key="k")


def test_the_catalogue_conforms(checked: World) -> None:
    customer = checked.client.v1.customers.create({"name": "Anna", "metadata": {"meter": "a"}})
    checked.client.v1.customers.retrieve(customer.id)
    checked.client.v1.customers.list({"limit": 5})
    product = checked.client.v1.products.create({"name": "Speech", "metadata": {"by": "meter"}})
    checked.client.v1.products.retrieve(product.id)
    params: Any = {
        "product": product.id,
        "currency": "eur",
        "unit_amount_decimal": "0.0185",
        "recurring": {"interval": "month", "usage_type": "metered", "meter": checked.meter},
        "transform_quantity": {"divide_by": 60, "round": "up"},
    }
    checked.client.v1.prices.retrieve(checked.client.v1.prices.create(params).id)


def test_thin_events_conform(checked: World) -> None:
    checked.books.webhook_to("http://127.0.0.1:9/", "whsec")
    for code in ("meter_event_invalid_value", "no_meter"):
        checked.books.plan_next(StripePlan(rejected_later=code))
        checked.send(identifier=code)
    for push in checked.books.take_pushes():
        check_answer("GET", "/v2/core/events/evt", 200, json.loads(push.body))
        signature = push.headers(time.time())["stripe-signature"]
        notice: Any = checked.client.parse_event_notification(push.body, signature, "whsec")
        check_schema("meter_error_report_data", notice.fetch_event().data.to_dict())


@pytest.mark.parametrize(
    ("method", "path", "form"),
    [
        ("POST", "/v1/billing/meter_events", "event_name=a"),
        ("POST", "/v1/billing/meter_events", "event_name=a&payload[value]=1&colour=red"),
        ("POST", "/v1/billing/meter_events", "event_name=a&payload[value]=1&timestamp=1.5"),
        ("POST", "/v1/billing/meter_events", f"event_name=a&payload[v]=1&identifier={'x' * 101}"),
        ("POST", "/v1/billing/meters/mtr_1", "event_name=b"),
        ("GET", "/v1/billing/meters", "status=gone"),
        ("GET", "/v1/billing/meters/mtr_1/event_summaries", "customer=c&start_time=0"),
        ("DELETE", "/v1/billing/meters/mtr_1", ""),
        ("GET", "/v1/nothing", ""),
    ],
)
def test_the_check_sees_what_does_not_conform(method: str, path: str, form: str) -> None:
    description()
    with pytest.raises(AssertionError):
        check_request(method, path, form_params(form))


def test_every_request_that_a_world_made_can_be_checked(checked: World) -> None:
    checked.send()
    checked.client.v1.customers.list({"limit": 5})
    for record in checked.books.requests:
        check_request(record.method, record.path, record.params)
