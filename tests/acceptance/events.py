"""Events as another system exports them: one a line, in their own JSON form."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from acceptance import books
from meter.events import AsyncCompleted, encode_event
from meter.sandbox.customers import CUSTOMERS

FIRST = datetime(2026, 10, 31, 22, tzinfo=UTC)


def events(count: int) -> Iterator[AsyncCompleted]:
    """Make events of all customers, in two months, with whole and fractional seconds."""
    for number in range(count):
        customer = CUSTOMERS[number % len(CUSTOMERS)]
        at = FIRST + timedelta(seconds=number)
        yield AsyncCompleted(
            provider_id=f"job-{number:06d}",
            customer_id=customer.customer_id,
            dimensions={"project_id": customer.project_ids[0]},
            collector="import",
            occurred_at=at,
            recorded_at=at,
            seconds=Decimal(number % 4000) / 8,
            model="universal",
        )


def write_events(path: Path, made: Iterable[AsyncCompleted]) -> list[books.Usage]:
    """Write a jsonl file; answer what the sinks must hold of it."""
    kept = list(made)
    path.write_bytes(b"".join(encode_event(event) + b"\n" for event in kept))
    return sorted(
        books.usage(e.provider_id, e.customer_id, e.seconds, **e.dimensions) for e in kept
    )
