from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from meter.events import AsyncCompleted, AsyncFailed, StreamAbandoned, StreamTerminated
from meter.journal import NewSession

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


def terminated(provider_id: str | int, **changes: Any) -> StreamTerminated:
    given: dict[str, Any] = {
        "customer_id": "acme",
        "collector": "apps",
        "occurred_at": NOON,
        "recorded_at": NOON,
        "seconds": Decimal(60),
        **changes,
    }
    return StreamTerminated(provider_id=str(provider_id), **given)


def abandoned(provider_id: str | int, **changes: Any) -> StreamAbandoned:
    given: dict[str, Any] = {
        "customer_id": "acme",
        "collector": "apps",
        "occurred_at": NOON,
        "recorded_at": NOON,
        "lower_seconds": Decimal(0),
        "upper_seconds": Decimal(3600),
        **changes,
    }
    return StreamAbandoned(provider_id=str(provider_id), **given)


def begun(provider_id: str | int, **changes: Any) -> NewSession:
    given: dict[str, Any] = {
        "collector": "apps",
        "customer_id": "acme",
        "started_at": NOON,
        "expires_at": NOON + timedelta(hours=3),
        **changes,
    }
    return NewSession(provider_id=str(provider_id), **given)
