"""Every meter event that one account accepted in one mode, and what became of it."""

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from meter.sandbox.stripe_limits import Pair


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MeterEvent:
    """One accepted meter event: Stripe answered 200, or would have.

    Attributes:
        account, livemode: Whose it is.
        api: The version that took it.
        event_name, meter: The meter's event name, and its id.
        customer: The Stripe customer's id.
        identifier: The client's, or one that was made for it.
        value: Exactly as sent.
        timestamp, received_at: Aware UTC.
        payload: All of it.
        idempotency_key: Of the request that brought it.
        cancelled_at: When an adjustment cancelled it.
        rejected: The code of an error report, for an event that never counts.
    """

    account: str
    livemode: bool
    api: Literal["v1", "v2"]
    event_name: str
    meter: str
    customer: str
    identifier: str
    value: Decimal
    timestamp: datetime
    received_at: datetime
    payload: Mapping[str, str]
    idempotency_key: str | None
    cancelled_at: datetime | None = None
    rejected: str | None = None

    @property
    def cancelled(self) -> bool:
        """Whether an adjustment cancelled it."""
        return self.cancelled_at is not None

    @property
    def stands(self) -> bool:
        """Whether it is billed in the end, however long the summaries lag."""
        return not self.cancelled and self.rejected is None

    @property
    def minute(self) -> datetime:
        """The minute in which the usage happened."""
        return self.timestamp.replace(second=0, microsecond=0)


class EventBook:
    """The accepted events, found by identifier and by customer and meter.

    `lag` is the time from an event's receipt, or its cancellation, until summaries show it.
    """

    def __init__(self, *, identifier: timedelta, lag: timedelta) -> None:
        self._identifier = identifier
        self._lag = lag
        self._events: list[MeterEvent] = []
        self._latest: dict[str, int] = {}
        self._places: dict[Pair, list[int]] = {}

    def __iter__(self) -> Iterator[MeterEvent]:
        return iter(self._events)

    def add(self, event: MeterEvent) -> None:
        """Record an event, in the order of receipt."""
        place = len(self._events)
        self._events.append(event)
        self._latest[event.identifier] = place
        self._places.setdefault((event.event_name, event.customer), []).append(place)

    def find(self, identifier: str) -> MeterEvent | None:
        """Return the latest event that had this identifier."""
        place = self._latest.get(identifier)
        return None if place is None else self._events[place]

    def taken(self, identifier: str, now: datetime) -> bool:
        """Whether an event still holds this identifier; a cancelled one does too."""
        event = self.find(identifier)
        return event is not None and now - event.received_at < self._identifier

    def cancel(self, identifier: str, now: datetime) -> None:
        """Mark the latest event of this identifier as cancelled."""
        place = self._latest[identifier]
        self._events[place] = dataclasses.replace(self._events[place], cancelled_at=now)

    def counted(self, pair: Pair, now: datetime) -> Iterator[MeterEvent]:
        """Yield the events that the summaries of a customer and meter show at this moment."""
        shown_until = now - self._lag
        for place in self._places.get(pair, ()):
            event = self._events[place]
            gone = event.cancelled_at is not None and event.cancelled_at <= shown_until
            if event.rejected is None and event.received_at <= shown_until and not gone:
                yield event
