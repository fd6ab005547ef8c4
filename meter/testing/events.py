"""Events for tests: ordinary ones by the thousand, and hostile ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

from meter.events import AsyncCompleted, AsyncFailed, Event, StreamAbandoned, StreamTerminated
from meter.testing.clock import NOON

__all__ = [
    "COLLECTOR",
    "HOSTILE_TEXTS",
    "async_completed",
    "hostile_events",
    "some_events",
    "stream_terminated",
    "unbilled_events",
]

COLLECTOR: Final = "given"
"""The collector that events for tests come from, unless the test names another."""

EVERY_FOURTH: Final = 3
"""Of four events, the last is a session."""
CUSTOMERS: Final = ("acme", "globex", "initech")

HOSTILE_TEXTS: Final = {
    "quotes": """say "hi", it's `ok` \\ '); DROP TABLE usage; --""",
    "newlines": "two\nlines\r\nand\rmore\n",
    "emoji": "🙂 👩‍👩‍👧‍👦 é e\u0301 ﬁ",
    "nul": "before\x00after",
    "controls": "\t\x01\x1b[31m\x7f\u2028\ufeff",
    "equals": "=1+1",
    "plus": "+1",
    "minus": "-1",
    "at": "@SUM(A1:A9)",
    "rtl": "\u202eabc שלום مرحبا",
    "spaces": "  two  spaces  ",
    "number": "007",
    "null": "NULL",
    "braces": "{month} ${HOME} %s {{x}}",
    "markup": "<b>&amp;</b>,;|\t",
    "long": "ü" * 5_000,
}
"""Texts that have broken somebody's table, spreadsheet, template or shell; the longest is 10 kB."""

_MODELS: Final = ("universal", "nano", None)


def async_completed(provider_id: str | int = "t1", **changes: Any) -> AsyncCompleted:
    """Return a pre-recorded job of 60 seconds for the customer `acme`.

    Args:
        provider_id: tells events apart: the event id is derived from it.
        changes: any other field of `meter.events.AsyncCompleted`.
    """
    given = {**_common(), "seconds": Decimal(60), **changes}
    return AsyncCompleted(provider_id=str(provider_id), **given)


def stream_terminated(provider_id: str | int = "s1", **changes: Any) -> StreamTerminated:
    """Return a streaming session of 60 seconds for the customer `acme`.

    Args:
        provider_id: tells events apart: the event id is derived from it.
        changes: any other field of `meter.events.StreamTerminated`.
    """
    given = {**_common(), "seconds": Decimal(60), **changes}
    return StreamTerminated(provider_id=str(provider_id), **given)


def some_events(
    count: int,
    *,
    seed: int | str = 1,
    customers: Sequence[str] = CUSTOMERS,
    at: datetime = NOON,
) -> list[Event]:
    """Return events of both billed kinds with varied customers, seconds, models and dimensions.

    The same arguments give the same events. They occur within the hour before `at`, in order.

    Args:
        count: how many.
        seed: other seeds give other event ids too.
        customers: whose they are.
        at: the latest moment, aware.
    """
    chance = Random(f"events/{seed}")  # noqa: S311  because a test wants the same again
    events: list[Event] = []
    for number in range(count):
        moment = at - timedelta(hours=1) * ((count - number) / count)
        given: dict[str, Any] = {
            "customer_id": customers[number % len(customers)],
            "seconds": Decimal(chance.randrange(1, 4_000_000)) / 1000,
            "model": chance.choice(_MODELS),
            "dimensions": {"project_id": f"p{chance.randrange(3)}"} if number % 2 else {},
            "occurred_at": moment,
            "recorded_at": at,
        }
        make = stream_terminated if number % 4 == EVERY_FOURTH else async_completed
        events.append(make(f"{seed}-{number:05}", **given))
    return events


def hostile_events(*, at: datetime = NOON, customer_id: str | None = None) -> list[Event]:
    """Return events whose texts are hostile, each text in every place where text may stand.

    Args:
        at: when they occur, aware.
        customer_id: whose they are; None makes the customers hostile too.
    """
    return [
        async_completed(
            f"{name} {text}",
            customer_id=text if customer_id is None else customer_id,
            model=text,
            dimensions={name: text, text: name},
            occurred_at=at,
            recorded_at=at,
            seconds=Decimal(number + 1),
        )
        for number, (name, text) in enumerate(HOSTILE_TEXTS.items())
    ]


def unbilled_events(*, at: datetime = NOON, customer_id: str = "acme") -> list[Event]:
    """Return one event of each kind that is never billed.

    Args:
        at: when they occur, aware.
        customer_id: whose they are.
    """
    given = {**_common(), "customer_id": customer_id, "occurred_at": at, "recorded_at": at}
    return [
        AsyncFailed(provider_id="never-1", error="the file could not be read", **given),
        StreamAbandoned(
            provider_id="never-2", lower_seconds=Decimal(5), upper_seconds=Decimal(9), **given
        ),
    ]


def _common() -> dict[str, Any]:
    return {
        "customer_id": "acme",
        "collector": COLLECTOR,
        "occurred_at": NOON,
        "recorded_at": NOON,
    }
