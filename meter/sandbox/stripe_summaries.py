"""Event summaries: what Stripe has counted for a customer and meter, window by window."""

from collections import defaultdict
from decimal import Decimal

from meter.sandbox.stripe_event_book import MeterEvent
from meter.sandbox.stripe_ids import derived
from meter.sandbox.stripe_ledger import Call, Document
from meter.sandbox.stripe_lists import PAGING, page
from meter.sandbox.stripe_meters import found
from meter.sandbox.stripe_params import choice, integer, only, text
from meter.sandbox.stripe_refusals import invalid, no_such

MINUTE = 60
WINDOWS = {"hour": 3600, "day": 86_400}


def listing(call: Call) -> Document:
    """`GET /v1/billing/meters/{id}/event_summaries`: newest window first."""
    params, ledger = call.params, call.ledger
    only(params, *PAGING, "customer", "start_time", "end_time", "value_grouping_window")
    meter = found(call)
    customer = text(params, "customer")
    start, end = integer(params, "start_time"), integer(params, "end_time")
    window = None
    if "value_grouping_window" in params:
        window = choice(params, "value_grouping_window", tuple(WINDOWS))
    _check_range(start, end, window)
    if customer not in ledger.customers and call.rules.unknown_customers != "accepted":
        raise no_such("customer", customer, param="customer", status=400)
    size = WINDOWS[window] if window else end - start
    windows: dict[int, list[MeterEvent]] = defaultdict(list)
    for event in ledger.events.counted((meter["event_name"], customer), call.now):
        seconds = event.timestamp.timestamp()
        if start <= seconds < end:
            windows[start + int((seconds - start) // size) * size].append(event)
    if call.rules.zero_summaries:
        for at in range(start, end, size):
            windows.setdefault(at, [])
    formula = meter["default_aggregation"]["formula"]
    rows = [
        {
            "id": derived("mtrusg", meter["id"], customer, at, at + size),
            "object": "billing.meter_event_summary",
            # A float, as Stripe has it: exact only up to 15 digits.
            "aggregated_value": float(_aggregated(windows[at], formula)),
            "start_time": at,
            "end_time": at + size,
            "livemode": ledger.livemode,
            "meter": meter["id"],
        }
        for at in sorted(windows, reverse=True)
    ]
    url = f"/v1/billing/meters/{meter['id']}/event_summaries"
    return page(rows, params, url=url, noun="billing meter event summary")


def _check_range(start: int, end: int, window: str | None) -> None:
    step = WINDOWS[window] if window else MINUTE
    noun = {None: "minute", "hour": "hour", "day": "UTC day"}[window]
    for name, seconds in (("start_time", start), ("end_time", end)):
        if seconds % step:
            raise invalid(f"{name} must be aligned with {noun} boundaries.", param=name)
    if not 0 <= start < end:
        raise invalid("end_time must be after start_time.", param="end_time")


def _aggregated(events: list[MeterEvent], formula: str) -> Decimal:
    if formula == "count":
        return Decimal(len(events))
    if formula == "last":
        latest = max(enumerate(events), key=lambda item: (item[1].timestamp, item[0]), default=None)
        return latest[1].value if latest else Decimal(0)
    return sum((event.value for event in events), Decimal(0))
