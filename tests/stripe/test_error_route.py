"""What Stripe posts is verified, and kept before it is answered."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe

from meter.clock import SystemClock
from meter.config import PipelineConfig, ServerOptions, SinkConfig
from meter.delivery import SinkWorker
from meter.delivery.contexts import unopened
from meter.journal import Journal, open_journal
from meter.plugins import Extension
from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox
from meter.server.app import App
from meter.server.listening import HttpServer, bind
from meter_stripe.error_reports import pending
from meter_stripe.options import StripeOptions
from meter_stripe.sink import StripeSink
from support.facts import completed
from support.plugging import plugin, plugins_with
from support.stripe_till import SECRET, Till, till
from support.waiting import eventually

NOT_FOUND = "meter_event_customer_not_found"
REPORTED = f"Stripe reported {NOT_FOUND}: The event was rejected: {NOT_FOUND}"
EVENTS = "/v2/core/events"
THIN = {
    "id": "evt_1",
    "object": "v2.core.event",
    "type": "v1.billing.meter.error_report_triggered",
    "livemode": False,
    "related_object": {"id": "mtr_1", "type": "billing.meter"},
}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Till]:
    with till(tmp_path, verify=False) as made:
        yield made


def signed(body: str, *, secret: str = SECRET) -> str:
    made = stripe.WebhookSignature.generate_signature_header(body, secret, int(time.time()))
    return str(made)


def post(shop: Till, **changes: Any) -> int:
    body = json.dumps({**THIN, **changes})
    return shop.post(body.encode(), signed(body)).status


def test_without_a_secret_there_is_no_path(tmp_path: Path) -> None:
    with till(tmp_path, webhook_secret=None) as shop:
        assert shop.unopened().routes() == []


def test_a_report_is_kept_before_it_is_answered(shop: Till) -> None:
    assert post(shop) == 200
    ((event_id, kept),) = pending(shop.state)
    assert (event_id, kept.type, kept.at) == ("evt_1", THIN["type"], shop.clock.now())


def test_what_stripe_repeats_is_kept_once(shop: Till) -> None:
    assert post(shop) == 200
    shop.clock.advance(seconds=60)
    assert post(shop) == 200
    ((_, kept),) = pending(shop.state)
    assert kept.at == shop.clock.now() - timedelta(seconds=60)


@pytest.mark.parametrize("signature", [None, "", "t=1,v1=abc", "é", "nonsense"])
def test_a_missing_or_wrong_signature_is_401(shop: Till, signature: str | None) -> None:
    assert shop.post(json.dumps(THIN).encode(), signature).status == 401
    body = json.dumps(THIN)
    assert shop.post(body.encode(), signed(body, secret="whsec_other")).status == 401
    assert pending(shop.state) == []


@pytest.mark.parametrize("body", ["", "not JSON", "[" * 100_000, "\udcff"])
def test_what_is_no_json_is_400(shop: Till, body: str) -> None:
    raw = body.encode("utf-8", "surrogateescape")
    assert shop.post(raw, "t=1,v1=abc").status == 400
    assert pending(shop.state) == []


@pytest.mark.parametrize("body", ["17", "[]", "{}", '{"object": "event", "id": "evt_1"}'])
def test_a_signed_body_that_is_no_thin_event_says_what_to_set_up(shop: Till, body: str) -> None:
    answer = shop.post(body.encode(), signed(body))
    assert answer.status == 400
    assert b"thin" in answer.body


def test_types_that_are_not_ours_are_taken_and_ignored(shop: Till) -> None:
    assert post(shop, type="v1.billing.meter.updated") == 200
    assert pending(shop.state) == []


def test_a_report_of_the_other_mode_is_ignored_with_a_warning(
    shop: Till, caplog: pytest.LogCaptureFixture
) -> None:
    assert post(shop, livemode=True) == 200
    assert pending(shop.state) == []
    assert "stripe.report_of_other_mode" in caplog.text


def test_when_the_journal_cannot_store_it_stripe_is_asked_to_come_back(shop: Till) -> None:
    body = json.dumps(THIN)
    (route,) = shop.unopened().routes()
    assert route.path == "/webhooks/stripe"
    shop.journal.close()
    answer = shop.post(body.encode(), signed(body))
    assert answer.status == 503
    assert (b"retry-after", b"10") in answer.headers


def test_over_http_a_report_is_pushed_kept_fetched_and_acted_on(tmp_path: Path) -> None:
    clock = SystemClock()
    journal = open_journal(str(tmp_path / "m.db"), clock)
    rules = StripeRules(unknown_customers="accepted", report_lag_seconds=0.2)
    with StripeSandbox(rules=rules) as double:
        options = StripeOptions.model_validate(
            {
                "api_key": "sk_test_http",
                "meters": [{"event_name": "seconds"}],
                "customers": "passthrough",
                "create_missing": True,
                "period_day": "none",
                "webhook_secret": SECRET,
                "base_url": double.base_url,
            }
        )
        config = SinkConfig(
            "billing", "stripe", options, Extension("stripe", StripeSink, plugin()), "beginning"
        )
        routes = unopened(config, journal=journal, clock=clock).routes()
        app = App(
            [("sinks.billing", route) for route in routes],
            options=ServerOptions(),
            journal=journal,
            clock=clock,
        )
        pipeline = PipelineConfig.model_validate({"from": ["transcripts"], "to": ["billing"]})
        worker = SinkWorker(
            config, [pipeline], journal=journal, plugins=plugins_with(), clock=clock
        )
        with served(app) as address:
            double.webhook_to(f"{address}/webhooks/stripe", SECRET)
            double.books.plan_next(
                StripePlan(rejected_later="meter_event_customer_not_found"),
                path="/v1/billing/meter_events",
            )
            now = clock.now()
            event = completed("bad", customer_id="cus_1", occurred_at=now, recorded_at=now)
            journal.append([event]).wait()
            worker.start()
            try:
                eventually(lambda: _states(journal, event.event_id) == ["dead"], 30)
            finally:
                worker.stop()
                assert worker.join(20)
    (place,) = journal.exceptions.places(event.event_id)
    assert place.row is not None
    assert place.row.reason.startswith("Stripe reported meter_event_customer_not_found: ")
    journal.close()


def _states(journal: Journal, event_id: str) -> list[str]:
    return [place.state for place in journal.exceptions.places(event_id)]


@contextmanager
def served(app: App) -> Iterator[str]:
    """Serve an app by the very server that `meter run` uses; give its address."""
    listener = bind("127.0.0.1", 0)
    server = HttpServer(app, receipt_deadline=ServerOptions().receipt_deadline)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
