"""What a sink tells of its destination: rows, or sums where it keeps no rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from meter.events import Event

__all__ = [
    "Comparison",
    "Deliveries",
    "Discrepancy",
    "Elsewhere",
    "Standing",
    "Total",
    "Where",
    "Written",
]

Where = Literal["pending", "retrying", "held", "dead", "delivered"]


@dataclass(frozen=True, slots=True)
class Written:
    """One row of a destination, as it stands there. What is None is not kept, or not compared.

    Attributes:
        event_id: whose row it is.
        customer_id: whose usage it is.
        quoted_customer_id: what it is as well, where the destination writes two customers alike.
        seconds: the billed quantity, exact.
        kind: of the event, such as `async_completed`.
        occurred_at: when the usage happened, UTC.
        place: where to look, such as `usage-2026-11.csv:7`; empty where the event id says it all.
        fault: what cannot be read, or contradicts itself, in words; empty when all is well.
    """

    event_id: str
    customer_id: str | None = None
    quoted_customer_id: str | None = None
    seconds: Decimal | None = None
    kind: str | None = None
    occurred_at: datetime | None = None
    place: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Rows that somebody moved away on purpose: their absence is no difference.

    Attributes:
        since, until: of usage from then on, and before then, UTC.
        why: in words, such as `month=2026-10 was moved away`.
    """

    since: datetime
    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Total:
    """What a destination counts of one thing, beside what was delivered to it.

    Attributes:
        whose: the customer, in the destination's own words.
        what: what is counted, such as a meter's name.
        unit: of both figures, such as `second`.
        delivered: the sum of what this sink delivered.
        counted: what the destination says it has.
    """

    whose: str
    what: str
    unit: str
    delivered: Decimal
    counted: Decimal


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Something that a destination counts otherwise than it was delivered.

    Attributes:
        whose: the customer, in the destination's own words; empty where no one is concerned.
        what: what is counted, such as a meter's name.
        when: the time that it is about, in words.
        delivered, counted: both figures, in `unit`; None where it is about no figure.
        unit: such as `second`.
        words: what is wrong, for a person.
        event_ids: of the events that it is about, where they are known.
    """

    whose: str
    what: str
    when: str
    delivered: Decimal | None
    counted: Decimal | None
    unit: str
    words: str
    event_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a sink found that compares sums by itself.

    Attributes:
        scope: what was compared, in words: which days, which customers.
        figures: how many figures were compared.
        discrepancies: what differs.
        command: what shows more, or puts it right, without `meter` and without the file.
        notes: what else a person should know, such as what is too young to tell.
    """

    scope: str
    figures: int
    discrepancies: Sequence[Discrepancy] = ()
    command: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """One event, and where it stands for a sink.

    Attributes:
        reason: why it is not delivered; empty when nothing is the matter.
    """

    event: Event
    where: Where
    reason: str = ""


class Deliveries(Protocol):
    """What the journal knows of one sink's events; `meter.commands.SinkDesk` is one."""

    def standings(self, *, unsettled: bool = False) -> Iterator[Standing]:
        """Yield the events that are this sink's, in order, and where each stands.

        Args:
            unsettled: only those that are pending, retrying, held or dead.
        """

    def find(self, event_id: str) -> Event | None:
        """Return one event of the journal."""
