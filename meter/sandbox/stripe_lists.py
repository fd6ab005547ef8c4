"""Stripe's lists: newest first, a page at a time, from one object to the next."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from meter.sandbox.stripe_params import integer
from meter.sandbox.stripe_refusals import invalid, no_such
from meter.sandbox.stripe_wire import Params

Document: TypeAlias = dict[str, Any]

PAGING = ("limit", "starting_after", "ending_before")
DEFAULT_LIMIT, LIMIT_MAX = 10, 100


def page(items: Sequence[Document], params: Params, *, url: str, noun: str) -> Document:
    """Return the page of `items`, which come in the list's order, that the parameters ask for."""
    limit = integer(params, "limit", DEFAULT_LIMIT)
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid(f"limit must be from 1 to {LIMIT_MAX}", param="limit")
    after, before = params.get("starting_after"), params.get("ending_before")
    if after is not None and before is not None:
        raise invalid("You may only specify one of these parameters: starting_after, ending_before")
    if before is not None:
        end = _place(items, before, noun, "ending_before")
        start = max(0, end - limit)
        more = start > 0
    else:
        start = 0 if after is None else _place(items, after, noun, "starting_after") + 1
        end = start + limit
        more = end < len(items)
    return {"object": "list", "url": url, "has_more": more, "data": list(items[start:end])}


def _place(items: Sequence[Document], object_id: str, noun: str, param: str) -> int:
    for place, item in enumerate(items):
        if item["id"] == object_id:
            return place
    raise no_such(noun, object_id, param=param, status=400)
