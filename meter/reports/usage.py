"""How much each customer used, added up exactly from the journal."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter.events import StreamTerminated

if TYPE_CHECKING:
    from meter.journal import Journal

__all__ = ["CustomerUsage", "usage_by_customer"]

_AT_ONCE: Final = 5000


@dataclass(slots=True)
class CustomerUsage:
    """One customer's billed usage, and how much of what happened is never billed.

    Attributes:
        jobs: completed ones. sessions: terminated ones.
        seconds: billed, of both.
        unbilled: failed jobs and abandoned sessions.
    """

    customer_id: str
    jobs: int = 0
    sessions: int = 0
    seconds: Decimal = Decimal(0)
    unbilled: int = 0


def usage_by_customer(journal: Journal) -> list[CustomerUsage]:
    """Add up every event of a journal by customer, most used first; exact seconds."""
    found: dict[str, CustomerUsage] = {}
    offset = 0
    while stored := journal.read(offset, _AT_ONCE):
        offset = stored[-1].offset
        for entry in stored:
            customer = entry.event.customer_id
            usage = found.setdefault(customer, CustomerUsage(customer))
            seconds = entry.event.billed_seconds
            if seconds is None:
                usage.unbilled += 1
                continue
            usage.seconds += seconds
            if isinstance(entry.event, StreamTerminated):
                usage.sessions += 1
            else:
                usage.jobs += 1
    return sorted(found.values(), key=lambda usage: (-usage.seconds, usage.customer_id))
