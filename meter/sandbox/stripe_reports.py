"""Thin events: reports of meter events that were accepted and do not count."""

import dataclasses
import hashlib
import hmac
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from meter.sandbox.stripe_event_book import MeterEvent
from meter.sandbox.stripe_ids import StripeIds
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_times import rfc3339

ERROR_REPORT = "v1.billing.meter.error_report_triggered"
NO_METER_FOUND = "v1.billing.meter.no_meter_found"
NO_METER_CODES = frozenset({"no_meter"})
PUSHED_FIELDS = ("id", "object", "type", "created", "livemode", "context", "related_object")
"""What a push tells of an event; the data must be fetched."""


@dataclasses.dataclass(frozen=True, slots=True)
class Webhook:
    """Where thin events are pushed to, and the secret that signs them."""

    url: str
    secret: str


@dataclasses.dataclass(frozen=True, slots=True)
class Push:
    """One thin event on its way to one webhook; `body` is sent and signed byte for byte."""

    webhook: Webhook
    event_id: str
    body: bytes

    def headers(self, at: float) -> dict[str, str]:
        """Return the headers, signed at a time in unix seconds."""
        signed = f"{int(at)}.".encode() + self.body
        digest = hmac.new(self.webhook.secret.encode(), signed, hashlib.sha256).hexdigest()
        return {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": f"t={int(at)},v1={digest}",
        }


class _Pending(NamedTuple):
    due: datetime
    event: MeterEvent


class Reports:
    """The thin events of one account and mode."""

    def __init__(self, *, ids: StripeIds, rules: StripeRules, livemode: bool) -> None:
        self._ids = ids
        self._samples = rules.report_samples
        self._lag = timedelta(seconds=rules.report_lag_seconds)
        self._livemode = livemode
        self._pending: list[_Pending] = []
        self._made: dict[str, dict[str, Any]] = {}

    def reject(self, event: MeterEvent) -> None:
        """Have an accepted event reported once the lag has passed."""
        self._pending.append(_Pending(event.received_at + self._lag, event))

    def get(self, event_id: str) -> dict[str, Any] | None:
        """Return a thin event with its data."""
        return self._made.get(event_id)

    def settle(self, now: datetime) -> list[dict[str, Any]]:
        """Make the reports that are due, one per meter, and return them."""
        due = [pending.event for pending in self._pending if pending.due <= now]
        if not due:
            return []
        self._pending = [pending for pending in self._pending if pending.due > now]
        groups: dict[str | None, list[MeterEvent]] = defaultdict(list)
        for event in due:
            groups[None if event.rejected in NO_METER_CODES else event.meter].append(event)
        documents = [self._document(meter, events, now) for meter, events in groups.items()]
        self._made.update({document["id"]: document for document in documents})
        return documents

    def _document(
        self, meter: str | None, events: list[MeterEvent], now: datetime
    ) -> dict[str, Any]:
        related = {"id": meter, "type": "billing.meter", "url": f"/v1/billing/meters/{meter}"}
        return {
            "id": self._ids.new("evt"),
            "object": "v2.core.event",
            "type": NO_METER_FOUND if meter is None else ERROR_REPORT,
            "created": rfc3339(now),
            "livemode": self._livemode,
            "context": None,
            "reason": None,
            "related_object": None if meter is None else related,
            "data": {
                "developer_message_summary": f"There is {len(events)} invalid event",
                "reason": {"error_count": len(events), "error_types": self._types(events)},
                "validation_start": rfc3339(min(event.received_at for event in events)),
                "validation_end": rfc3339(now),
            },
        }

    def _types(self, events: Iterable[MeterEvent]) -> list[dict[str, Any]]:
        codes: dict[str, list[MeterEvent]] = defaultdict(list)
        for event in events:
            codes[str(event.rejected)].append(event)
        return [
            {
                "code": code,
                "error_count": len(found),
                "sample_errors": [
                    {
                        "error_message": f"The event was rejected: {code}",
                        "request": {"identifier": event.identifier},
                    }
                    for event in found[: self._samples]
                ],
            }
            for code, found in codes.items()
        ]


def pushes(document: dict[str, Any], webhooks: Iterable[Webhook]) -> list[Push]:
    """Return what is sent of a thin event; an event without a related object names none."""
    told = {name: document[name] for name in PUSHED_FIELDS if name in document}
    if told["related_object"] is None:
        del told["related_object"]
    body = msgspec.json.encode(told)
    return [Push(webhook, document["id"], body) for webhook in webhooks]
