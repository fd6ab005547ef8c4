"""What the Stripe double knows in the end, for tests to compare with."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from meter.sandbox.stripe_event_book import MeterEvent
from meter.sandbox.stripe_faults import Loss
from meter.sandbox.stripe_wire import Params

CustomerMeter: TypeAlias = tuple[str, str]
"""A customer and an event name."""
Slot: TypeAlias = tuple[str, str, datetime]
"""A customer, an event name and a minute, aware UTC."""
RequestCounts: TypeAlias = Mapping[tuple[str, str, int], int]
"""By method, path with `{id}` for ids, and status; 0 is a request that never arrived."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StripeTruth:
    """The books at one moment.

    Attributes:
        events: Every accepted event, in the order of receipt.
        totals: What stands in the end per customer and event name, however long the summaries
            lag: neither cancelled nor rejected. Sums, whatever the meter's formula.
        slots: The same per minute of the events' timestamps.
        requests: How often each path was asked for, and how it was answered.
    """

    events: tuple[MeterEvent, ...]
    totals: Mapping[CustomerMeter, Decimal]
    slots: Mapping[Slot, Decimal]
    requests: RequestCounts

    @property
    def reads(self) -> int:
        """All GETs that arrived: what counts against Stripe's read budget."""
        return sum(
            count
            for (method, _, status), count in self.requests.items()
            if method == "GET" and status
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request as it came.

    Attributes:
        at: Aware UTC, by the double's clock.
        method, path: The path with its ids, without the query.
        route: The path with `{id}` for ids.
        params: Of the query and the body, decoded; empty where they cannot be.
        headers: The few that matter; never the key.
        status: What was answered, also when the answer was lost; 0 when the request was.
        lost: On which way it was lost.
    """

    at: datetime
    method: str
    path: str
    route: str
    params: Params
    headers: Mapping[str, str]
    status: int
    lost: Loss | None


def truth_of(events: Iterable[MeterEvent], requests: Counter[tuple[str, str, int]]) -> StripeTruth:
    """Add up what stands."""
    kept = tuple(events)
    totals: dict[CustomerMeter, Decimal] = defaultdict(Decimal)
    slots: dict[Slot, Decimal] = defaultdict(Decimal)
    for event in kept:
        if event.stands:
            totals[event.customer, event.event_name] += event.value
            slots[event.customer, event.event_name, event.minute] += event.value
    return StripeTruth(events=kept, totals=dict(totals), slots=dict(slots), requests=dict(requests))
