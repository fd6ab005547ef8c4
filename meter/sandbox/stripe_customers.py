"""Stripe's customers, as far as metering needs them: their ids and metadata."""

from meter.sandbox.stripe_ledger import Call, Document
from meter.sandbox.stripe_lists import PAGING, page
from meter.sandbox.stripe_params import only, optional_text, texts
from meter.sandbox.stripe_refusals import no_such
from meter.sandbox.stripe_times import unix

URL = "/v1/customers"
FIELDS = ("name", "email", "description", "phone")


def create(call: Call) -> Document:
    """`POST /v1/customers`."""
    only(call.params, *FIELDS, "metadata")
    customer: Document = {
        "id": call.ledger.ids.new("cus"),
        "object": "customer",
        "created": unix(call.now),
        "livemode": call.ledger.livemode,
        **{name: optional_text(call.params, name) for name in FIELDS},
        "metadata": texts(call.params, "metadata"),
    }
    call.ledger.customers[customer["id"]] = customer
    return customer


def retrieve(call: Call) -> Document:
    """`GET /v1/customers/{id}`."""
    only(call.params)
    return _found(call)


def update(call: Call) -> Document:
    """`POST /v1/customers/{id}`: metadata is merged, and an empty text removes its name."""
    only(call.params, *FIELDS, "metadata")
    customer = _found(call)
    for name in FIELDS:
        if name in call.params:
            customer[name] = optional_text(call.params, name)
    merged = {**customer["metadata"], **texts(call.params, "metadata")}
    customer["metadata"] = {name: item for name, item in merged.items() if item}
    return customer


def listing(call: Call) -> Document:
    """`GET /v1/customers`."""
    only(call.params, *PAGING, "email")
    customers = list(reversed(call.ledger.customers.values()))
    if "email" in call.params:
        customers = [each for each in customers if each["email"] == call.params["email"]]
    return page(customers, call.params, url=URL, noun="customer")


def _found(call: Call) -> Document:
    customer = call.ledger.customers.get(call.object_id)
    if customer is None:
        raise no_such("customer", call.object_id)
    return customer
