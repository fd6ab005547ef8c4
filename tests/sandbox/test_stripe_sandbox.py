"""The Stripe double as a server: its life, its pace, and that nothing breaks it."""

import asyncio
import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_faults import StripeFaults, StripePlan
from meter.sandbox.stripe_inprocess import InProcessStripe
from meter.sandbox.stripe_routes import ROUTES
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox
from sandbox.stripe_client import KEY, SECONDS, sdk

METER = {
    "display_name": "m",
    "event_name": SECONDS,
    "default_aggregation": {"formula": "sum"},
}
HEADERS = {"Authorization": f"Bearer {KEY}", "Stripe-Version": "2026-10-28.endive"}


def test_it_starts_once_and_its_books_outlive_it() -> None:
    double = StripeSandbox()
    with pytest.raises(RuntimeError, match="no address"):
        _ = double.base_url
    double.stop()
    with double, sdk(double.base_url) as client:
        client.v1.customers.create({"name": "Anna"})
        with pytest.raises(RuntimeError, match="starts once"):
            double.start()
    double.stop()
    assert double.truth().requests == {("POST", "/v1/customers", 200): 1}
    assert not [each for each in threading.enumerate() if each.name == "stripe-sandbox"]


def test_it_serves_asynchronous_callers_too() -> None:
    async def main() -> None:
        async with StripeSandbox() as double, httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{double.base_url}/v1/customers", headers=HEADERS)
            assert answer.json()["data"] == []

    asyncio.run(main())


def test_the_sdk_is_asynchronous_in_process_too() -> None:
    client = stripe.StripeClient(KEY, http_client=InProcessStripe(StripeBooks()))

    async def main() -> None:
        made = await client.v1.customers.create_async({"name": "Anna"})
        assert (await client.v1.customers.retrieve_async(made.id)).name == "Anna"

    asyncio.run(main())


def test_an_address_that_is_taken_is_an_oserror() -> None:
    with StripeSandbox() as double:
        port = int(double.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            StripeSandbox(port=port).start()


def test_100_calls_a_second_at_50_ms_of_latency() -> None:
    rules = StripeRules(test_events_per_second=None)
    with StripeSandbox(latency_seconds=0.05, rules=rules) as double:
        double.books.add("/v1/billing/meters", METER)
        customers = [double.books.add("/v1/customers", {})["id"] for _ in range(20)]
        now = int(time.time())

        def send_all(customer: str) -> None:
            with sdk(double.base_url) as own:
                for number in range(10):
                    own.v1.billing.meter_events.create(
                        {
                            "event_name": SECONDS,
                            "identifier": f"{customer} {number}",
                            "payload": {"stripe_customer_id": customer, "value": "1"},
                            "timestamp": now,
                        }
                    )

        began = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(send_all, customers))
        seconds = time.monotonic() - began
        assert sum(double.truth().totals.values()) == 200
        assert 0.5 <= seconds < 2


def test_a_request_may_be_slow_on_its_way_and_its_answer_too_slow() -> None:
    rules = StripeRules(unknown_customers="accepted")
    with StripeSandbox(rules=rules, keys=[KEY]) as double, sdk(double.base_url) as client:
        double.books.add("/v1/billing/meters", METER)
        params: Any = {"event_name": SECONDS, "payload": {"stripe_customer_id": "c", "value": "1"}}
        double.plan_next(StripePlan(delay_seconds=0.2))
        began = time.monotonic()
        client.v1.billing.meter_events.create(params)
        assert time.monotonic() - began >= 0.2
        double.plan_next(StripePlan(hold_seconds=60))
        with (
            sdk(double.base_url, timeout_seconds=0.2) as impatient,
            pytest.raises(stripe.APIConnectionError, match="timed out"),
        ):
            impatient.v1.billing.meter_events.create(params)
        assert sum(double.truth().totals.values()) == 2
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_a_share_of_requests_is_slow() -> None:
    faults = StripeFaults(slow=1, slow_seconds=0.1)
    with StripeSandbox(faults=faults) as double, sdk(double.base_url) as client:
        began = time.monotonic()
        client.v1.customers.list()
        assert time.monotonic() - began >= 0.1
        double.faults = StripeFaults()
        client.v1.customers.list()


def test_a_body_that_is_too_large_and_json_that_is_none_are_refused() -> None:
    with (
        StripeSandbox() as double,
        httpx.Client(base_url=double.base_url, headers=HEADERS, trust_env=False) as http,
    ):
        assert http.post("/v1/customers", content=b"x" * (1 << 21)).status_code == 413
        for body in (b"{", b"[]", b"null", b"\xff"):
            answer = http.post("/v2/billing/meter_events", content=body)
            assert (answer.status_code, "error" in answer.json()) == (400, True)
        answer = http.post(
            "/v2/billing/meter_events", headers={"Stripe-Version": ""}, content=b"{}"
        )
        assert answer.status_code == 400


def test_v2_without_a_version_is_refused() -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = StripeBooks().handle("POST", "/v2/billing/meter_events", headers, "{}")
    assert (answer.status, "Stripe-Version" in answer.document()["error"]["message"]) == (400, True)


def test_the_books_may_keep_the_latest_requests_only() -> None:
    books = StripeBooks(keep_requests=2)
    for number in range(5):
        books.handle("GET", f"/v1/customers?limit={number + 1}", HEADERS)
    assert [record.params["limit"] for record in books.requests] == ["4", "5"]
    assert books.truth().reads == 5


NAMES = sorted(
    {"event_name", "payload", "payload[value]", "payload[a]", "timestamp", "limit", "active"}
    | {"metadata", "metadata[a]", "tiers[0]", "tiers[0][up_to]", "tiers", "recurring", "currency"}
    | {"recurring[meter]", "lookup_keys[]", "name", "cancel", "cancel[identifier]", "start_time"}
    | {"type", "customer", "end_time", "default_aggregation[formula]", "display_name", "email"}
    | {"product_data", "unit_amount", "transform_quantity", "starting_after", "value_settings"}
)
VALUES = st.one_of(
    st.sampled_from(["", "0", "60", "3600", "known", "true", "cancel", "sum", "-1"]), st.text()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=8,
)


@settings(max_examples=150)
@given(
    route=st.sampled_from(ROUTES),
    form=st.dictionaries(st.sampled_from(NAMES) | st.text(), VALUES),
    document=st.dictionaries(st.sampled_from(NAMES), JSON),
)
def test_no_parameter_breaks_it(route: Any, form: dict[str, str], document: dict[str, Any]) -> None:
    books = StripeBooks()
    meter = books.add("/v1/billing/meters", {**METER, "event_name": "60"})["id"]
    customer = books.add("/v1/customers", {})["id"]
    form = {name: customer if text == "known" else text for name, text in form.items()}
    path = route.path.replace("{id}", customer if "customers" in route.path else meter)
    query = str(httpx.QueryParams(form))
    if route.method == "GET":
        answer = books.handle("GET", f"{path}?{query}", HEADERS)
    elif path.startswith("/v2"):
        answer = books.handle(
            "POST", path, HEADERS, httpx.Request("POST", "http://x", json=document).content
        )
    else:
        answer = books.handle("POST", path, HEADERS, query)
    assert answer.status in {200, 400, 404}
    assert answer.status == 200 or answer.document()["error"]["message"]


def test_records_are_facts() -> None:
    books = StripeBooks()
    books.handle("GET", "/v1/customers", HEADERS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        books.requests[0].status = 1  # type: ignore[misc]  # on purpose
