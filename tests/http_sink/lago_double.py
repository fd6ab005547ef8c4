"""Lago's batch ingestion, as its sources have it (getlago/lago-api, August 2026).

`app/services/events/create_batch_service.rb`: all or nothing, errors by index; unique by
subscription and transaction_id. `app/controllers/concerns/api_errors.rb`: the shape of errors.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from http_sink.double import Asked, Destination, Said

KEY = "lago-k3y"
MOST = 100


class Lago(Destination):
    """Keeps events by subscription and transaction_id, for ever."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.events: dict[tuple[str, str], dict[str, Any]] = {}

    def answer(self, asked: Asked) -> Said:
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return Said.of(401, {"status": 401, "error": "Unauthorized"})
        if asked.method == "GET":
            return Said.of(200, {"billable_metrics": []})
        if asked.path != "/api/v1/events/batch":
            return Said.of(404, {"status": 404, "error": "Not Found", "code": "resource_not_found"})
        events = asked.json.get("events") or []
        if errors := self._refusals(events):
            document = {"status": 422, "error": "Unprocessable Entity", "code": "validation_errors"}
            return Said.of(422, {**document, "error_details": errors})
        self.events |= {_key(event): event for event in events}
        return Said.of(200, {"events": [{"transaction_id": e["transaction_id"]} for e in events]})

    def _refusals(self, events: list[dict[str, Any]]) -> dict[Any, Any]:
        """Return every error by the event's place; nothing is stored when there is one."""
        if not events:
            return {"events": ["no_events"]}
        if len(events) > MOST:
            return {"events": ["too_many_events"]}
        if errors := {i: e for i, event in enumerate(events) if (e := self._errors(event))}:
            return errors
        seen = set(self.events)
        twice: dict[Any, Any] = {}
        for index, event in enumerate(events):
            if _key(event) in seen:
                twice[index] = {"transaction_id": ["value_already_exist"]}
            seen.add(_key(event))
        return twice

    @staticmethod
    def _errors(event: dict[str, Any]) -> dict[str, list[str]]:
        try:
            Decimal(str(event.get("timestamp", 0)))
        except InvalidOperation:
            return {"timestamp": ["invalid_format"]}
        needed = ("transaction_id", "code")
        return {name: ["value_is_mandatory"] for name in needed if not event.get(name)}

    def usage(self, code: str) -> dict[str, Decimal]:
        """What a metric of `sum_agg` on `seconds` shows by subscription."""
        sums: dict[str, Decimal] = {}
        for (subscription, _), event in self.events.items():
            if event["code"] == code:
                value = Decimal(event["properties"]["seconds"])
                sums[subscription] = sums.get(subscription, Decimal(0)) + value
        return sums


def _key(event: dict[str, Any]) -> tuple[str, str]:
    return event.get("external_subscription_id") or "", event["transaction_id"]
