"""Stripe's prices, those of a meter above all."""

import re
from decimal import Decimal
from typing import Any

from meter.sandbox.stripe_ledger import Call, Document
from meter.sandbox.stripe_lists import PAGING, page
from meter.sandbox.stripe_params import (
    boolean,
    choice,
    integer,
    nested,
    only,
    optional_text,
    text,
    texts,
)
from meter.sandbox.stripe_products import FIELDS as PRODUCT_FIELDS
from meter.sandbox.stripe_products import add_product
from meter.sandbox.stripe_refusals import invalid, missing, no_such, refused
from meter.sandbox.stripe_times import unix
from meter.sandbox.stripe_wire import Params, listed

URL = "/v1/prices"
INTERVALS = ("day", "week", "month", "year")
TIER = ("flat_amount", "flat_amount_decimal", "unit_amount", "unit_amount_decimal", "up_to")
CREATE = (
    "active",
    "billing_scheme",
    "currency",
    "lookup_key",
    "metadata",
    "nickname",
    "product",
    "product_data",
    "recurring",
    "tax_behavior",
    "tiers",
    "tiers_mode",
    "transfer_lookup_key",
    "transform_quantity",
    "unit_amount",
    "unit_amount_decimal",
)
FILTERS = ("active", "currency", "lookup_keys", "product", "recurring", "type")
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]{1,12})?")


def create(call: Call) -> Document:
    """`POST /v1/prices`."""
    params, ledger = call.params, call.ledger
    only(params, *CREATE)
    currency = text(params, "currency").lower()
    tiered = optional_text(params, "billing_scheme") == "tiered"
    unit_amount, unit_amount_decimal = (None, None) if tiered else _amounts(params, "unit_amount")
    lookup_key = optional_text(params, "lookup_key")
    price: Document = {
        "id": "",
        "object": "price",
        "created": unix(call.now),
        "livemode": ledger.livemode,
        "active": boolean(params, "active", default=True),
        "billing_scheme": "tiered" if tiered else "per_unit",
        "currency": currency,
        "lookup_key": lookup_key,
        "metadata": texts(params, "metadata"),
        "nickname": optional_text(params, "nickname"),
        "product": "",
        "recurring": _recurring(call) if "recurring" in params else None,
        "tax_behavior": optional_text(params, "tax_behavior") or "unspecified",
        "tiers_mode": choice(params, "tiers_mode", ("graduated", "volume")) if tiered else None,
        "transform_quantity": _transform(params),
        "type": "recurring" if "recurring" in params else "one_time",
        "unit_amount": unit_amount,
        "unit_amount_decimal": unit_amount_decimal,
    }
    if tiered:
        price["tiers"] = _tiers(params)
    _take_lookup_key(call, lookup_key)
    price["product"] = _product(call)
    price["id"] = ledger.ids.new("price")
    ledger.prices[price["id"]] = price
    return price


def retrieve(call: Call) -> Document:
    """`GET /v1/prices/{id}`."""
    only(call.params)
    price = call.ledger.prices.get(call.object_id)
    if price is None:
        raise no_such("price", call.object_id)
    return price


def listing(call: Call) -> Document:
    """`GET /v1/prices`."""
    params = call.params
    only(params, *PAGING, *FILTERS)
    prices = list(reversed(call.ledger.prices.values()))
    for name in ("currency", "product", "type"):
        if name in params:
            prices = [price for price in prices if price[name] == params[name]]
    if "active" in params:
        active = boolean(params, "active", default=True)
        prices = [price for price in prices if price["active"] == active]
    if "lookup_keys" in params:
        keys = listed(params["lookup_keys"])
        prices = [price for price in prices if price["lookup_key"] in keys]
    if "recurring" in params:
        wanted = nested(params, "recurring", "interval", "meter", "usage_type").items()
        prices = [price for price in prices if price["recurring"] and _has(price, wanted)]
    return page(prices, params, url=URL, noun="price")


def _has(price: Document, wanted: Any) -> bool:
    return all(price["recurring"][name] == value for name, value in wanted)


def _amounts(params: Params, name: str, *, optional: bool = False) -> tuple[int | None, str | None]:
    """Return an amount as the whole number that it may be, and as a decimal text."""
    written = optional_text(params, f"{name}_decimal")
    if name in params:
        if written is not None:
            raise invalid(f"You may only specify one of: {name}, {name}_decimal.", param=name)
        amount = integer(params, name)
        return amount, str(amount)
    if written is None:
        if optional:
            return None, None
        raise missing(name)
    if not _DECIMAL.fullmatch(written):
        raise invalid(f"Invalid decimal: {written}; at most 12 decimals", param=f"{name}_decimal")
    exact = Decimal(written)
    return int(exact) if exact == exact.to_integral_value() else None, format(exact, "f")


def _recurring(call: Call) -> Document:
    given = nested(
        call.params,
        "recurring",
        "interval",
        "interval_count",
        "meter",
        "trial_period_days",
        "usage_type",
    )
    meter = optional_text(given, "meter")
    usage = optional_text(given, "usage_type") or "licensed"
    if meter is not None and meter not in call.ledger.meters:
        raise no_such("billing meter", meter, param="recurring[meter]", status=400)
    if (usage == "metered") != (meter is not None):
        # Legacy usage records, metered without a meter, are gone since API 2025-03-31.basil.
        raise refused(
            "recurring[usage_type] is metered exactly when there is a recurring[meter].",
            param="recurring[meter]",
        )
    return {
        "interval": choice(given, "interval", INTERVALS, within="recurring"),
        "interval_count": integer(given, "interval_count", 1, within="recurring"),
        "meter": meter,
        "trial_period_days": None,
        "usage_type": usage,
    }


def _transform(params: Params) -> Document | None:
    if "transform_quantity" not in params:
        return None
    given = nested(params, "transform_quantity", "divide_by", "round")
    return {
        "divide_by": integer(given, "divide_by", within="transform_quantity"),
        "round": choice(given, "round", ("down", "up"), within="transform_quantity"),
    }


def _tiers(params: Params) -> list[Document]:
    if "tiers" not in params:
        raise missing("tiers")
    tiers = []
    for tier in listed(params["tiers"]):
        if not isinstance(tier, dict):
            raise invalid("Invalid array", param="tiers")
        only(tier, *TIER)
        up_to = text(tier, "up_to", within="tiers")
        flat, flat_decimal = _amounts(tier, "flat_amount", optional=True)
        unit, unit_decimal = _amounts(tier, "unit_amount", optional=True)
        tiers.append(
            {
                "flat_amount": flat,
                "flat_amount_decimal": flat_decimal,
                "unit_amount": unit,
                "unit_amount_decimal": unit_decimal,
                "up_to": None if up_to == "inf" else integer(tier, "up_to", within="tiers"),
            }
        )
    return tiers


def _take_lookup_key(call: Call, lookup_key: str | None) -> None:
    """Make a lookup key free for a new price, where the parameters allow it."""
    transfer = boolean(call.params, "transfer_lookup_key", default=False)
    for price in call.ledger.prices.values():
        if lookup_key is not None and price["lookup_key"] == lookup_key:
            if not transfer:
                raise refused(
                    f"A price ({price['id']}) already uses that lookup key.", param="lookup_key"
                )
            price["lookup_key"] = None


def _product(call: Call) -> str:
    product = optional_text(call.params, "product")
    if product is not None:
        if product not in call.ledger.products:
            raise no_such("product", product, param="product", status=400)
        return product
    if "product_data" not in call.params:
        raise missing("product")
    known = (*PRODUCT_FIELDS, "id", "name", "active", "metadata")
    data = nested(call.params, "product_data", *known)
    return str(add_product(call.ledger, data, created=unix(call.now))["id"])
