"""Thin events as they are fetched."""

from meter.sandbox.stripe_ledger import Call, Document
from meter.sandbox.stripe_params import only
from meter.sandbox.stripe_refusals import StripeRefusal


def retrieve(call: Call) -> Document:
    """`GET /v2/core/events/{id}`: the event with its data, which the push has not."""
    only(call.params)
    document = call.ledger.reports.get(call.object_id)
    if document is None:
        raise StripeRefusal(404, f"No such event: {call.object_id}", code="not_found")
    return {name: value for name, value in document.items() if value is not None}
