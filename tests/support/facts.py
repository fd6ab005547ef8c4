from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from meter.events import AsyncCompleted, AsyncFailed

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def completed(provider_id: str | int, **changes: Any) -> AsyncCompleted:
    given: dict[str, Any] = {
        "customer_id": "acme",
        "collector": "transcripts",
        "occurred_at": NOON,
        "recorded_at": NOON,
        "seconds": Decimal(60),
        **changes,
    }
    return AsyncCompleted(provider_id=str(provider_id), **given)


def failed(provider_id: str | int, **changes: Any) -> AsyncFailed:
    given: dict[str, Any] = {
        "customer_id": "acme",
        "collector": "transcripts",
        "occurred_at": NOON,
        "recorded_at": NOON,
        **changes,
    }
    return AsyncFailed(provider_id=str(provider_id), **given)
