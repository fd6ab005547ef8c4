"""The real Stripe SDK at the double, over HTTP or in process, and Stripe's own description."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_inprocess import InProcessStripe
from meter.sandbox.stripe_sandbox import StripeSandbox

# The SDK writes a telemetry file under the user's home otherwise.
stripe.enable_telemetry = False

SPEC = Path(__file__).resolve().parents[2].parent / "shared/specs/stripe-meters.json"
KEY = "sk_test_sandbox"
SECONDS = "transcription_seconds"
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TRANSPORTS = ("http", "in process")
NOT_DESCRIBED = {
    ("GET", "/v1/customers"),
    ("POST", "/v1/customers/{id}"),
    ("GET", "/v1/products"),
    ("GET", "/v1/prices"),
}
"""What the double answers and the description leaves out; meter may ask for it."""


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float = 0, *, hours: float = 0, days: float = 0) -> None:
        self.at += timedelta(seconds=seconds, hours=hours, days=days)


@contextmanager
def sdk(
    base_url: str, key: str = KEY, *, timeout_seconds: float = 20, **options: Any
) -> Iterator[stripe.StripeClient]:
    """Give the SDK as meter uses it; proxies of the environment are left out."""
    with requests.Session() as session:
        session.trust_env = False
        yield stripe.StripeClient(
            key,
            base_addresses={"api": base_url, "meter_events": base_url},
            http_client=stripe.RequestsClient(timeout=(5, timeout_seconds), session=session),
            max_network_retries=0,
            **options,
        )


def in_process(books: StripeBooks, key: str = KEY, **options: Any) -> stripe.StripeClient:
    """Give the SDK without a socket."""
    client = InProcessStripe(books, wait=options.pop("wait", None))
    return stripe.StripeClient(key, http_client=client, max_network_retries=0, **options)


@dataclasses.dataclass
class World:
    """One double with a meter and a customer, and the SDK at it."""

    books: StripeBooks
    client: stripe.StripeClient
    clock: FakeClock
    meter: str = ""
    customer: str = ""

    def new_meter(self, event_name: str, formula: str = "sum", **params: Any) -> str:
        given = {"display_name": event_name, "event_name": event_name, **params}
        given["default_aggregation"] = {"formula": formula}
        return str(self.books.add("/v1/billing/meters", given)["id"])

    def new_customer(self, **params: Any) -> str:
        return str(self.books.add("/v1/customers", params)["id"])

    def event(self, value: str = "60", **fields: Any) -> dict[str, Any]:
        """Return the parameters of an event of v1; `fields` replaces them, None leaves out."""
        event = {
            "event_name": SECONDS,
            "identifier": "id-1",
            "payload": {
                "stripe_customer_id": fields.pop("customer", self.customer),
                "value": value,
            },
            "timestamp": int(self.clock().timestamp()),
            **fields,
        }
        return {name: field for name, field in event.items() if field is not None}

    def send(self, value: str = "60", *, key: str | None = None, **fields: Any) -> Any:
        params: Any = self.event(value, **fields)
        options: Any = {"idempotency_key": key} if key else {}
        return self.client.v1.billing.meter_events.create(params, options)

    def send_v2(self, value: str = "60", *, key: str | None = None, **fields: Any) -> Any:
        params: Any = self.event(value, **fields)
        if isinstance(params.get("timestamp"), int):
            at = datetime.fromtimestamp(params["timestamp"], UTC)
            params["timestamp"] = at.isoformat().replace("+00:00", "Z")
        options: Any = {"idempotency_key": key} if key else {}
        return self.client.v2.billing.meter_events.create(params, options)

    def summed(self, start: datetime, end: datetime, **params: Any) -> list[tuple[int, float]]:
        """Return the rows of event summaries, of one page: starts and values."""
        given: Any = {
            "customer": self.customer,
            "start_time": int(start.timestamp()),
            "end_time": int(end.timestamp()),
            **params,
        }
        rows = self.client.v1.billing.meters.event_summaries.list(self.meter, given)
        return [(row.start_time, row.aggregated_value) for row in rows.data]

    @property
    def total(self) -> Decimal:
        return self.books.truth().totals.get((self.customer, SECONDS), Decimal(0))


@contextmanager
def world(transport: str, **options: Any) -> Iterator[World]:
    """Give a double that is spoken to in one of `TRANSPORTS`."""
    clock = FakeClock()
    if transport == "in process":
        books = StripeBooks(clock=clock, **options)
        made = World(books, in_process(books), clock)
        made.meter, made.customer = made.new_meter(SECONDS), made.new_customer(name="Anna")
        yield made
        return
    with StripeSandbox(clock=clock, **options) as double, sdk(double.base_url) as client:
        made = World(double.books, client, clock)
        made.meter, made.customer = made.new_meter(SECONDS), made.new_customer(name="Anna")
        yield made


@cache
def description() -> Any:
    """Return Stripe's description; skip where it does not lie beside the checkout."""
    if not SPEC.exists():
        pytest.skip(f"Stripe's API description is not at {SPEC}")
    return _null_allowed(json.loads(SPEC.read_text()))


def check_request(method: str, path: str, form: Mapping[str, Any]) -> None:
    """Check a request against the description, its parameters decoded as `RequestRecord` has them.

    Texts become what the description says that they are: forms know nothing else.
    """
    template = templated(method, path)
    if template is None:
        assert (method, re.sub(r"^(/v1/\w+)/[^/]+$", r"\1/{id}", path)) in NOT_DESCRIBED, (
            f"{method} {path} is not in the description"
        )
        return
    operation = description()["paths"][template][method.lower()]
    if method == "GET":
        queried = [each for each in operation["parameters"] if each["in"] == "query"]
        schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {each["name"]: each["schema"] for each in queried},
            "required": [each["name"] for each in queried if each["required"]],
        }
    elif "requestBody" in operation:
        (content,) = operation["requestBody"]["content"].values()
        schema = content["schema"]
    else:
        schema = {"type": "object", "additionalProperties": False}
    form = dict(form) if template.startswith("/v2/") else typed(form, schema)
    _validate(schema, form, f"{method} {path}")


def check_answer(method: str, path: str, status: int, document: Any) -> None:
    """Check an answer against the description."""
    template = templated(method, path)
    assert template is not None, f"{method} {path} is not in the description"
    responses = description()["paths"][template][method.lower()]["responses"]
    schema = responses["200" if status == 200 else "default"]["content"]["application/json"]
    # Of several errors one fits exactly, and the general one fits each.
    one_of = schema["schema"].get("oneOf")
    _validate({"anyOf": one_of} if one_of else schema["schema"], document, f"{method} {path}")


def check_schema(name: str, document: Any) -> None:
    """Check a document against one of the description's own schemas."""
    _validate(description()["components"]["schemas"][name], document, name)


def templated(method: str, path: str) -> str | None:
    """Return the description's own path, or None where it has none."""
    for template, operations in description()["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        if method.lower() in operations and re.fullmatch(pattern, path):
            return str(template)
    return None


def typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a form's value in the types of its schema."""
    for branch in schema.get("anyOf", ()):
        if (branch.get("type") == "object") == isinstance(value, Mapping):
            return typed(value, branch)
    kind = schema.get("type")
    if kind == "object" and isinstance(value, Mapping):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        rest = others if isinstance(others, Mapping) else {}
        return {name: typed(inner, known.get(name, rest)) for name, inner in value.items()}
    if kind == "array" and isinstance(value, Mapping):
        return [typed(inner, schema.get("items", {})) for inner in value.values()]
    if kind == "integer" and re.fullmatch(r"-?\d+", str(value)):
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    return value


def _validate(schema: Any, document: Any, where: str) -> None:
    registry: Registry[Any] = Registry().with_resource(
        "urn:stripe", DRAFT202012.create_resource(description())
    )
    validator = Draft202012Validator(_absolute(schema), registry=registry)
    faults = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    assert not faults, (where, faults)


def _absolute(schema: Any) -> Any:
    """Return a schema whose references lead into the description from anywhere."""
    if isinstance(schema, dict):
        return {
            name: f"urn:stripe{inner}" if name == "$ref" else _absolute(inner)
            for name, inner in schema.items()
        }
    return [_absolute(inner) for inner in schema] if isinstance(schema, list) else schema


def _null_allowed(schema: Any) -> Any:
    """Return OpenAPI 3.0's `nullable` in JSON Schema's words."""
    if isinstance(schema, list):
        return [_null_allowed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _null_allowed(inner) for name, inner in schema.items() if name != "nullable"}
    return {"anyOf": [{"type": "null"}, kept]} if schema.get("nullable") is True else kept
