"""Meter events as they are posted: `POST /v1/billing/meter_events`, and the same in v2."""

import re
from datetime import datetime, timedelta
from decimal import Decimal

from meter.sandbox.stripe_event_book import MeterEvent
from meter.sandbox.stripe_ledger import Call, Document
from meter.sandbox.stripe_params import integer, nested, only, optional_text, text, texts
from meter.sandbox.stripe_refusals import StripeRefusal, refused
from meter.sandbox.stripe_times import from_rfc3339, from_unix, rfc3339, unix

IDENTIFIER_LIMIT = EVENT_NAME_LIMIT = PAYLOAD_LIMIT = 100
CUSTOMER_NOT_FOUND = "meter_event_customer_not_found"
# No exponent and no sign but a minus: what else Stripe may take, meter never sends.
_VALUE = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def create(call: Call) -> Document:
    """Receive one meter event; that it counts is for the summaries to say, later."""
    params, ledger = call.params, call.ledger
    only(params, "event_name", "identifier", "payload", "timestamp")
    event_name = text(params, "event_name", limit=EVENT_NAME_LIMIT)
    nested(params, "payload")
    payload = texts(params, "payload")
    given = optional_text(params, "identifier", limit=IDENTIFIER_LIMIT)
    timestamp = _timestamp(call)
    identifier = given or ledger.ids.new("mtrevt")
    meter = _active_meter(call, event_name)
    customer = _customer(call, meter, payload)
    call.ledger.locks.take((event_name, customer), status=call.rules.lock_status, v2=call.v2)
    call.holding = (event_name, customer)
    _check_timestamp(call, timestamp)
    value = _value(call, meter, payload)
    rejected = _check_customer(call, customer) or call.plan.rejected_later
    if ledger.events.taken(identifier, call.now):
        raise refused(
            f"An event already exists with identifier {identifier}.",
            code="duplicate_meter_event" if call.v2 else None,
        )
    event = MeterEvent(
        account=ledger.account,
        livemode=ledger.livemode,
        api="v2" if call.v2 else "v1",
        event_name=event_name,
        meter=meter["id"],
        customer=customer,
        identifier=identifier,
        value=value,
        timestamp=timestamp,
        received_at=call.now,
        payload=payload,
        idempotency_key=call.idempotency_key,
        rejected=rejected,
    )
    ledger.events.add(event)
    if rejected is not None:
        ledger.reports.reject(event)
    return {
        "object": "v2.billing.meter_event" if call.v2 else "billing.meter_event",
        "created": rfc3339(call.now) if call.v2 else unix(call.now),
        "event_name": event_name,
        "identifier": identifier,
        "livemode": ledger.livemode,
        "payload": payload,
        "timestamp": rfc3339(timestamp) if call.v2 else unix(timestamp),
    }


def _timestamp(call: Call) -> datetime:
    if call.params.get("timestamp") is None:
        return call.now.replace(microsecond=0)
    if call.v2:
        return from_rfc3339(text(call.params, "timestamp"))
    return from_unix(integer(call.params, "timestamp"))


def _check_timestamp(call: Call, timestamp: datetime) -> None:
    past = timedelta(seconds=call.rules.past_seconds)
    future = timedelta(seconds=call.rules.future_seconds)
    if timestamp < call.now - past:
        raise refused(
            f"The timestamp {unix(timestamp)} cannot be more than {past.days} days in past.",
            param=None if call.v2 else "timestamp",
            code="timestamp_too_far_in_past" if call.v2 else None,
        )
    if timestamp > call.now + future:
        raise refused(
            f"The timestamp {unix(timestamp)} cannot be more than "
            f"{int(future.total_seconds() // 60)} minutes in the future.",
            param=None if call.v2 else "timestamp",
            code="timestamp_in_future" if call.v2 else None,
        )


def _active_meter(call: Call, event_name: str) -> Document:
    meter = call.ledger.meter_named(event_name)
    if meter is None:
        raise refused(
            f"No meter found for event name {event_name}.", code="no_meter" if call.v2 else None
        )
    if meter["status"] != "active":
        raise refused(
            f"The meter for event name {event_name} is deactivated and takes no events.",
            code="archived_meter" if call.v2 else None,
        )
    return meter


def _customer(call: Call, meter: Document, payload: dict[str, str]) -> str:
    for name, item in payload.items():
        if max(len(name), len(item)) > PAYLOAD_LIMIT:
            raise refused(f"The payload's {name[:20]} must be at most {PAYLOAD_LIMIT} characters.")
    key = meter["customer_mapping"]["event_payload_key"]
    customer = payload.get(key)
    if not customer:
        raise _payload_fault(
            call, f"The payload must have the customer's id under {key}.", "customer"
        )
    return customer


def _value(call: Call, meter: Document, payload: dict[str, str]) -> Decimal:
    key = meter["value_settings"]["event_payload_key"]
    written = payload.get(key)
    if not written:
        if meter["default_aggregation"]["formula"] == "count":
            return Decimal(1)
        raise _payload_fault(call, f"The payload must have a value under {key}.", "value")
    if not _VALUE.fullmatch(written):
        raise _invalid_value(call, f"The value {written} under {key} is not a number.")
    digits = written.lstrip("-").replace(".", "").lstrip("0")
    if len(digits) > call.rules.digits:
        raise _invalid_value(
            call, f"The value {written} has more than {call.rules.digits} significant digits."
        )
    return Decimal(written)


def _payload_fault(call: Call, message: str, noun: str) -> StripeRefusal:
    return refused(message, code=f"payload_no_{noun}_defined" if call.v2 else None)


def _invalid_value(call: Call, message: str) -> StripeRefusal:
    return refused(message, code="payload_invalid_value" if call.v2 else None)


def _check_customer(call: Call, customer: str) -> str | None:
    """Return the code under which an unknown customer is reported later, if that is the rule."""
    if customer in call.ledger.customers or call.rules.unknown_customers == "accepted":
        return None
    if call.rules.unknown_customers == "reported":
        return CUSTOMER_NOT_FOUND
    raise refused(f"No such customer: '{customer}'", code=CUSTOMER_NOT_FOUND if call.v2 else None)
