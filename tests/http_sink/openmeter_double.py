"""OpenMeter's ingestion, as its sources have it (openmeterio/openmeter, August 2026).

`openmeter/ingest/httpdriver/ingest.go`: three content types, compared as whole texts; 204 at once.
Deduplication, when it is switched on, goes by namespace, source and id.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from http_sink.double import Asked, Destination, Said

TOKEN = "om-t0ken"
NEEDED = ("id", "source", "specversion", "type", "subject")


class OpenMeter(Destination):
    """Keeps each event once by source and id; a meter sums `$.seconds` by type and subject."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.events: dict[tuple[str, str], dict[str, Any]] = {}

    def answer(self, asked: Asked) -> Said:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return _problem(401, "Unauthorized")
        if asked.path != "/api/v1/events":
            return _problem(404, "Not Found")
        match asked.headers["content-type"]:
            case "application/cloudevents+json":
                events = [asked.json]
            case "application/cloudevents-batch+json":
                events = asked.json
            case other:
                return _problem(400, f"invalid content type: {other}")
        for event in events:
            if lacking := [name for name in NEEDED if not event.get(name)]:
                return _problem(400, f"invalid event: {lacking[0]}: MUST be a non-empty string")
        for event in events:
            self.events.setdefault((event["source"], event["id"]), event)
        return Said(204)

    def usage(self, event_type: str) -> dict[str, Decimal]:
        """What a meter of `aggregation: SUM, valueProperty: $.seconds` shows by subject."""
        sums: dict[str, Decimal] = {}
        for event in self.events.values():
            if event["type"] == event_type:
                value = Decimal(event["data"]["seconds"])
                sums[event["subject"]] = sums.get(event["subject"], Decimal(0)) + value
        return sums


def _problem(status: int, detail: str) -> Said:
    document = {"type": "about:blank", "title": "error", "status": status, "detail": detail}
    return Said.of(status, document)
