"""Metronome's ingestion, as its API reference and its guide describe it (docs.metronome.com, 2026).

A bare array of 1 to 100 events, perhaps with gzip; a transaction_id is ignored for 34 days after
it was taken. What the refusals look like is not described: the words here are this double's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from http_sink.double import Asked, Destination, Said
from meter.clock import Clock

TOKEN = "metronome-t0ken"
WINDOW = timedelta(days=34)
AHEAD = timedelta(hours=24)
MOST = 100


class Metronome(Destination):
    """Keeps events; ignores a transaction_id that it took within the window."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(self.answer)
        self.events: list[dict[str, Any]] = []
        self._clock = clock
        self._taken: dict[str, datetime] = {}

    def answer(self, asked: Asked) -> Said:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Said.of(401, {"message": "Unauthorized"})
        if asked.path != "/v1/ingest":
            return Said.of(404, {"message": "Not Found"})
        events, now = asked.json, self._clock.now()
        if not isinstance(events, list) or not 1 <= len(events) <= MOST:
            return Said.of(400, {"message": "expected 1 to 100 events"})
        for event in events:
            for name in ("transaction_id", "customer_id", "timestamp", "event_type"):
                if not isinstance(event.get(name), str) or not event[name]:
                    return Said.of(400, {"message": f"{name} is required"})
            if datetime.fromisoformat(event["timestamp"]) > now + AHEAD:
                return Said.of(400, {"message": "timestamp is too far in the future"})
        for event in events:
            taken = self._taken.get(event["transaction_id"])
            if taken is None or now - taken > WINDOW:
                self._taken[event["transaction_id"]] = now
                self.events.append(event)
        return Said(200)

    def usage(self, event_type: str) -> dict[str, Decimal]:
        """What a metric that sums `seconds` shows by customer."""
        sums: dict[str, Decimal] = {}
        for event in self.events:
            if event["event_type"] == event_type:
                value = Decimal(event["properties"]["seconds"])
                sums[event["customer_id"]] = sums.get(event["customer_id"], Decimal(0)) + value
        return sums
