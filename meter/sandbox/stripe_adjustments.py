"""Cancelling a meter event, for a day from its receipt."""

from datetime import timedelta

from meter.sandbox.stripe_events import EVENT_NAME_LIMIT, IDENTIFIER_LIMIT
from meter.sandbox.stripe_ledger import Call, Document
from meter.sandbox.stripe_params import choice, nested, only, text
from meter.sandbox.stripe_refusals import refused
from meter.sandbox.stripe_times import rfc3339


def create(call: Call) -> Document:
    """`POST /v1/billing/meter_event_adjustments`, and the same in v2.

    The books know the cancellation at once, the summaries after their lag; so it is `pending`.
    """
    params, ledger = call.params, call.ledger
    only(params, "event_name", "type", "cancel")
    event_name = text(params, "event_name", limit=EVENT_NAME_LIMIT)
    choice(params, "type", ("cancel",))
    cancel = nested(params, "cancel", "identifier")
    identifier = text(cancel, "identifier", within="cancel", limit=IDENTIFIER_LIMIT)
    event = ledger.events.find(identifier)
    if event is None or event.event_name != event_name:
        raise refused(f"No event of {event_name} has the identifier {identifier}.")
    if event.cancelled:
        raise refused(f"The event with the identifier {identifier} is cancelled already.")
    limit = timedelta(seconds=call.rules.cancel_seconds)
    if call.now - event.received_at >= limit:
        raise refused(
            f"The event with the identifier {identifier} was received more than "
            f"{int(limit.total_seconds() // 3600)} hours ago and can no longer be cancelled."
        )
    ledger.events.cancel(identifier, call.now)
    document: Document = {
        "object": "billing.meter_event_adjustment",
        "event_name": event_name,
        "livemode": ledger.livemode,
        "status": "pending",
        "type": "cancel",
        "cancel": {"identifier": identifier},
    }
    if call.v2:
        document |= {
            "object": "v2.billing.meter_event_adjustment",
            "id": ledger.ids.new("mtradj"),
            "created": rfc3339(call.now),
        }
    return document
