"""StripeApi at the double, at canned answers, and at servers that are not Stripe."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import stripe

from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_inprocess import InProcessStripe
from meter.sandbox.stripe_sandbox import StripeSandbox
from meter_stripe.answers import Answer
from meter_stripe.client import StripeApi
from meter_stripe.options import StripeOptions
from sandbox.stripe_client import FakeClock, check_request

KEY = "sk_test_Whole51Secret0Key"


EVENT = "transcription_seconds"


APIS = ("v1", "v2")
PAGE = "<html><head><title>Sign in to the network</title></head></html>"


START = 1_795_176_000
"""2026-11-20 12:00 UTC, where the fake clock stands."""
DAY, HOUR, MINUTE = 86_400, 3600, 60


def options(
    base_url: str = "http://127.0.0.1:1", *, key: str = KEY, api: str = "v1"
) -> StripeOptions:
    return StripeOptions.model_validate(
        {
            "api_key": key,
            "meters": [{"event_name": EVENT}],
            "customers": "passthrough",
            "api": api,
            "base_url": base_url,
        }
    )


@dataclass
class Bench:
    """The client at the double, with one meter and one customer."""

    api: StripeApi
    books: StripeBooks
    clock: FakeClock
    meter: str = ""
    customer: str = ""

    def send(self, value: str = "60", **fields: Any) -> Answer:
        event = {
            "event_name": EVENT,
            "identifier": "id-1",
            "customer": self.customer,
            "timestamp": START,
            "idempotency_key": f"key {fields.get('identifier', 'id-1')}",
            **fields,
        }
        return self.api.send(value=Decimal(value), **event)

    def plan(self, *plans: StripePlan) -> None:
        self.books.plan_next(*plans)

    @property
    def total(self) -> Decimal:
        return self.books.truth().totals.get((self.customer, EVENT), Decimal(0))

    @property
    def values(self) -> list[Decimal]:
        return [event.value for event in self.books.truth().events]


@contextmanager
def bench(
    transport: str, *, api: str = "v1", key: str = KEY, books: Mapping[str, Any] | None = None
) -> Iterator[Bench]:
    clock = FakeClock()
    if transport == "http":
        with StripeSandbox(clock=clock, **(books or {})) as double:
            made = Bench(StripeApi(options(double.base_url, key=key, api=api)), double.books, clock)
            yield from _furnished(made)
    else:
        inside = StripeBooks(clock=clock, **(books or {}))
        client = StripeApi(options(key=key, api=api), http_client=InProcessStripe(inside))
        yield from _furnished(Bench(client, inside, clock))


def _furnished(made: Bench) -> Iterator[Bench]:
    made.meter = made.books.add(
        "/v1/billing/meters",
        {
            "display_name": "Seconds",
            "event_name": EVENT,
            "default_aggregation": {"formula": "sum"},
        },
    )["id"]
    made.customer = made.books.add("/v1/customers", {"name": "Anna"})["id"]
    yield made
    made.api.close()
    for request in made.books.requests:
        check_request(request.method, request.path, request.params)


class Canned(stripe.HTTPClient):
    """Answers the same to everything, without a socket."""

    name = "canned"

    def __init__(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.answer = (body, status, {"request-id": "req_1", **(headers or {})})
        self.urls: list[str] = []

    def request(self, method: str, url: str, *_rest: Any, **_more: Any) -> Any:
        self.urls.append(f"{method} {url}")
        return self.answer

    def close(self) -> None:
        """Nothing is open."""


def refusal(message: str, **fields: Any) -> str:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", **fields}})


def canned(
    status: int, body: str, *, api: str = "v1", headers: Mapping[str, str] | None = None
) -> StripeApi:
    return StripeApi(options(api=api), http_client=Canned(status, body, headers))


def sent(api: StripeApi, *, identifier: str = "id-1", **fields: Any) -> Answer:
    event = {
        "event_name": EVENT,
        "identifier": identifier,
        "customer": "cus_1",
        "value": Decimal(60),
        "timestamp": START,
        "idempotency_key": "key",
        **fields,
    }
    return api.send(**event)


@dataclass
class Stranger:
    """A server that is not Stripe."""

    status: int = 200
    body: str = PAGE
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0
    seen: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def at(self) -> Iterator[str]:
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                stranger.seen.append((self.command, self.headers.get("authorization", "")))
                released.wait(stranger.seconds)
                body = stranger.body.replace("ECHO", self.headers.get("authorization", "")).encode()
                self.send_response(stranger.status)
                for name, text in stranger.headers.items():
                    self.send_header(name, text)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST  # noqa: N815  because the name is the base class's

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

        released = threading.Event()
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                released.set()
                server.shutdown()
                thread.join()


_NUMBERS = count(1)


def new_key() -> str:
    """Return an idempotency key that was never used."""
    return f"key {next(_NUMBERS)}"


READS: list[Callable[[StripeApi], Any]] = [
    lambda api: api.meters(),
    lambda api: list(api.customers()),
    lambda api: api.counted(meter_id="m", customer="c", start=START, end=START + 60),
    lambda api: api.error_report("evt_1"),
    lambda api: api.products(),
    lambda api: api.prices(meter_id="mtr_1"),
    lambda api: api.create_meter(event_name="e", display_name="E", idempotency_key=new_key()),
    lambda api: api.create_product(name="P", metadata={}, idempotency_key=new_key()),
    lambda api: api.create_price(
        product="p",
        meter_id="m",
        currency="usd",
        unit_amount_decimal="1",
        idempotency_key=new_key(),
    ),
    lambda api: api.reactivate_meter("m"),
]
