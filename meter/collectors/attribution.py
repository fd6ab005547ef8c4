"""Whose usage is it? Read from the query string of a webhook's URL, exactly as given."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Attribution", "agree", "attribution_of", "attribution_of_url"]

CUSTOMER = "customer_id"
"""The parameter that AssemblyAI documents for the customer."""
_MOST_FIELDS = 100


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose usage it is, with its dimensions, or why that cannot be told.

    Attributes:
        customer_id: None when no one is named.
        fault: why a name that stands there cannot be used; then `customer_id` is None.
    """

    customer_id: str | None = None
    dimensions: dict[str, str] = field(default_factory=dict)
    fault: str | None = None


def attribution_of(query: str) -> Attribution:
    """Read a query string: `customer_id=123&project_id=456`.

    The customer is taken exactly as given, never trimmed or folded; empty or given twice is a
    fault. A dimension given twice keeps its values, in order, joined by a comma.
    """
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except UnicodeDecodeError:
        return Attribution(fault="the query string is not UTF-8")
    except ValueError:
        return Attribution(fault=f"the query string has over {_MOST_FIELDS} parameters")
    customers = [value for name, value in pairs if name == CUSTOMER]
    dimensions: dict[str, str] = {}
    for name, value in pairs:
        if name != CUSTOMER:
            dimensions[name] = f"{dimensions[name]},{value}" if name in dimensions else value
    if not customers:
        return Attribution(dimensions=dimensions)
    if len(customers) > 1:
        return Attribution(dimensions=dimensions, fault=f"{CUSTOMER} is given twice")
    if not customers[0]:
        return Attribution(dimensions=dimensions, fault=f"{CUSTOMER} is empty")
    return Attribution(customers[0], dimensions)


def attribution_of_url(url: object) -> Attribution:
    """Read the query string of a URL; anything but a URL names no one."""
    if not isinstance(url, str):
        return Attribution()
    try:
        return attribution_of(urlsplit(url).query)
    except ValueError:
        return Attribution()


def agree(delivered: Attribution, submitted: Attribution) -> Attribution:
    """Join what the webhook's own URL says with what the transcript's `webhook_url` says.

    Where only one names a customer, it stands; where both do, they must name the same
    (DESIGN §4). Dimensions of the webhook's own URL win.
    """
    dimensions = {**submitted.dimensions, **delivered.dimensions}
    fault = delivered.fault or submitted.fault
    if fault is not None:
        return Attribution(dimensions=dimensions, fault=fault)
    named = {a.customer_id for a in (delivered, submitted) if a.customer_id is not None}
    if len(named) > 1:
        return Attribution(
            dimensions=dimensions,
            fault="the webhook's query and the transcript's webhook_url name different customers",
        )
    return Attribution(named.pop() if named else None, dimensions)
