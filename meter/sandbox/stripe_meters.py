"""Billing meters: immutable but for their name, and never free of their event name again."""

from meter.sandbox.stripe_ledger import Call, Document
from meter.sandbox.stripe_lists import PAGING, page
from meter.sandbox.stripe_params import choice, nested, only, text
from meter.sandbox.stripe_refusals import no_such, refused
from meter.sandbox.stripe_times import unix

URL = "/v1/billing/meters"
CUSTOMER_KEY, VALUE_KEY = "stripe_customer_id", "value"
NAME_LIMIT, EVENT_NAME_LIMIT, KEY_LIMIT = 250, 100, 100
FORMULAS = ("sum", "count", "last")
CREATE = (
    "display_name",
    "event_name",
    "default_aggregation",
    "customer_mapping",
    "value_settings",
    "event_time_window",
)


def create(call: Call) -> Document:
    """`POST /v1/billing/meters`."""
    params, ledger = call.params, call.ledger
    only(params, *CREATE)
    event_name = text(params, "event_name", limit=EVENT_NAME_LIMIT)
    aggregation = nested(params, "default_aggregation", "formula")
    customer_key, value_key, window = CUSTOMER_KEY, VALUE_KEY, None
    if "customer_mapping" in params:
        mapping = nested(params, "customer_mapping", "event_payload_key", "type")
        choice(mapping, "type", ("by_id",), within="customer_mapping")
        customer_key = text(
            mapping, "event_payload_key", within="customer_mapping", limit=KEY_LIMIT
        )
    if "value_settings" in params:
        settings = nested(params, "value_settings", "event_payload_key")
        value_key = text(settings, "event_payload_key", within="value_settings", limit=KEY_LIMIT)
    if "event_time_window" in params:
        window = choice(params, "event_time_window", ("day", "hour"))
    meter: Document = {
        "id": "",
        "object": "billing.meter",
        "created": unix(call.now),
        "updated": unix(call.now),
        "livemode": ledger.livemode,
        "display_name": text(params, "display_name", limit=NAME_LIMIT),
        "event_name": event_name,
        "event_time_window": window,
        "default_aggregation": {
            "formula": choice(aggregation, "formula", FORMULAS, within="default_aggregation")
        },
        "customer_mapping": {"event_payload_key": customer_key, "type": "by_id"},
        "value_settings": {"event_payload_key": value_key},
        "status": "active",
        "status_transitions": {"deactivated_at": None},
    }
    taken = ledger.meter_named(event_name)
    if taken is not None:
        raise refused(
            f"There is already a meter with event_name '{event_name}': {taken['id']} "
            f"({taken['status']}).",
            param="event_name",
        )
    meter["id"] = ledger.ids.new("mtr" if ledger.livemode else "mtr_test")
    ledger.add_meter(meter)
    return meter


def listing(call: Call) -> Document:
    """`GET /v1/billing/meters`."""
    only(call.params, *PAGING, "status")
    meters = list(reversed(call.ledger.meters.values()))
    if "status" in call.params:
        status = choice(call.params, "status", ("active", "inactive"))
        meters = [meter for meter in meters if meter["status"] == status]
    return page(meters, call.params, url=URL, noun="billing meter")


def retrieve(call: Call) -> Document:
    """`GET /v1/billing/meters/{id}`."""
    only(call.params)
    return found(call)


def update(call: Call) -> Document:
    """`POST /v1/billing/meters/{id}`: nothing but the display name."""
    only(call.params, "display_name")
    meter = found(call)
    if "display_name" in call.params:
        meter["display_name"] = text(call.params, "display_name", limit=NAME_LIMIT)
        meter["updated"] = unix(call.now)
    return meter


def deactivate(call: Call) -> Document:
    """`POST /v1/billing/meters/{id}/deactivate`."""
    return _switch(call, "inactive")


def reactivate(call: Call) -> Document:
    """`POST /v1/billing/meters/{id}/reactivate`."""
    return _switch(call, "active")


def found(call: Call) -> Document:
    """Return the meter that the path names."""
    meter = call.ledger.meters.get(call.object_id)
    if meter is None:
        raise no_such("billing meter", call.object_id)
    return meter


def _switch(call: Call, status: str) -> Document:
    only(call.params)
    meter = found(call)
    if meter["status"] == status:
        raise refused(f"The meter {meter['id']} is already {status}.")
    meter["status"] = status
    meter["updated"] = unix(call.now)
    deactivated_at = unix(call.now) if status == "inactive" else None
    meter["status_transitions"] = {"deactivated_at": deactivated_at}
    return meter
