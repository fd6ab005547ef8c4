"""Stripe's products: what a price is for."""

from meter.sandbox.stripe_ledger import Call, Document, StripeLedger
from meter.sandbox.stripe_lists import PAGING, page
from meter.sandbox.stripe_params import boolean, only, optional_text, text, texts
from meter.sandbox.stripe_refusals import no_such, refused
from meter.sandbox.stripe_times import unix
from meter.sandbox.stripe_wire import Params, listed

URL = "/v1/products"
FIELDS = ("description", "statement_descriptor", "tax_code", "unit_label", "url")


def create(call: Call) -> Document:
    """`POST /v1/products`; a client may choose the id."""
    only(call.params, *FIELDS, "id", "name", "active", "metadata")
    return add_product(call.ledger, call.params, created=unix(call.now))


def retrieve(call: Call) -> Document:
    """`GET /v1/products/{id}`."""
    only(call.params)
    product = call.ledger.products.get(call.object_id)
    if product is None:
        raise no_such("product", call.object_id)
    return product


def listing(call: Call) -> Document:
    """`GET /v1/products`."""
    only(call.params, *PAGING, "active", "ids")
    products = list(reversed(call.ledger.products.values()))
    if "active" in call.params:
        active = boolean(call.params, "active", default=True)
        products = [product for product in products if product["active"] == active]
    if "ids" in call.params:
        ids = listed(call.params["ids"])
        products = [product for product in products if product["id"] in ids]
    return page(products, call.params, url=URL, noun="product")


def add_product(ledger: StripeLedger, params: Params, *, created: int) -> Document:
    """Keep a new product, also one that comes with a price."""
    product_id = optional_text(params, "id") or ledger.ids.new("prod")
    product: Document = {
        "id": product_id,
        "object": "product",
        "created": created,
        "updated": created,
        "livemode": ledger.livemode,
        "active": boolean(params, "active", default=True),
        "name": text(params, "name"),
        **{name: optional_text(params, name) for name in FIELDS},
        "default_price": None,
        "metadata": texts(params, "metadata"),
    }
    if product_id in ledger.products:
        raise refused("Product already exists.", code="resource_already_exists", param="id")
    ledger.products[product_id] = product
    return product
