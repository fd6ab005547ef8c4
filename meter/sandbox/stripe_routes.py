"""Which path leads to which work, and the permission that it needs."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

from meter.sandbox import (
    stripe_adjustments,
    stripe_customers,
    stripe_events,
    stripe_meters,
    stripe_prices,
    stripe_products,
    stripe_summaries,
    stripe_thin_events,
)
from meter.sandbox.stripe_keys import Permission
from meter.sandbox.stripe_ledger import Call, Document
from meter.sandbox.stripe_refusals import StripeRefusal

Work: TypeAlias = Callable[[Call], Document]


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """One method on one path; `{id}` stands for an object's id."""

    method: str
    path: str
    work: Work
    permission: Permission
    meter_event: bool = False
    """Whether it counts against the limit on meter events per second."""


ROUTES = (
    Route("POST", "/v1/billing/meters", stripe_meters.create, "billing_meter_write"),
    Route("GET", "/v1/billing/meters", stripe_meters.listing, "billing_meter_read"),
    Route("GET", "/v1/billing/meters/{id}", stripe_meters.retrieve, "billing_meter_read"),
    Route("POST", "/v1/billing/meters/{id}", stripe_meters.update, "billing_meter_write"),
    Route(
        "POST",
        "/v1/billing/meters/{id}/deactivate",
        stripe_meters.deactivate,
        "billing_meter_write",
    ),
    Route(
        "POST",
        "/v1/billing/meters/{id}/reactivate",
        stripe_meters.reactivate,
        "billing_meter_write",
    ),
    Route(
        "GET",
        "/v1/billing/meters/{id}/event_summaries",
        stripe_summaries.listing,
        "billing_meter_event_summary_read",
    ),
    Route(
        "POST",
        "/v1/billing/meter_events",
        stripe_events.create,
        "billing_meter_event_write",
        meter_event=True,
    ),
    Route(
        "POST",
        "/v2/billing/meter_events",
        stripe_events.create,
        "billing_meter_event_write",
        meter_event=True,
    ),
    Route(
        "POST",
        "/v1/billing/meter_event_adjustments",
        stripe_adjustments.create,
        "billing_meter_event_adjustment_write",
    ),
    Route(
        "POST",
        "/v2/billing/meter_event_adjustments",
        stripe_adjustments.create,
        "billing_meter_event_adjustment_write",
    ),
    Route("POST", "/v1/customers", stripe_customers.create, "customer_write"),
    Route("GET", "/v1/customers", stripe_customers.listing, "customer_read"),
    Route("GET", "/v1/customers/{id}", stripe_customers.retrieve, "customer_read"),
    Route("POST", "/v1/customers/{id}", stripe_customers.update, "customer_write"),
    Route("POST", "/v1/products", stripe_products.create, "product_write"),
    Route("GET", "/v1/products", stripe_products.listing, "product_read"),
    Route("GET", "/v1/products/{id}", stripe_products.retrieve, "product_read"),
    Route("POST", "/v1/prices", stripe_prices.create, "price_write"),
    Route("GET", "/v1/prices", stripe_prices.listing, "price_read"),
    Route("GET", "/v1/prices/{id}", stripe_prices.retrieve, "price_read"),
    Route("GET", "/v2/core/events/{id}", stripe_thin_events.retrieve, "event_read"),
)
_EXACT = {(route.method, route.path): route for route in ROUTES}
_PARENTS = ("/v1/billing/meters", "/v1/customers", "/v1/products", "/v1/prices", "/v2/core/events")


def find_route(method: str, path: str) -> tuple[Route, str]:
    """Return the route and the object's id in the path.

    Raises:
        StripeRefusal: 404.
    """
    pattern, object_id = templated(path)
    route = _EXACT.get((method, pattern))
    if route is None:
        raise StripeRefusal(
            404,
            f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs.",
            code="not_found" if path.startswith("/v2/") else None,
        )
    return route, object_id


def templated(path: str) -> tuple[str, str]:
    """Return a path with `{id}` for the object's id, and the id."""
    for parent in _PARENTS:
        if path.startswith(f"{parent}/"):
            object_id, _, rest = path.removeprefix(f"{parent}/").partition("/")
            return "/".join([parent, "{id}", *([rest] if rest else [])]), object_id
    return path, ""
