"""What is to be done for one customer on one meter, in order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from meter_stripe.verdicts import Verdict

if TYPE_CHECKING:
    from meter_stripe.books import MeterBooks
    from meter_stripe.imbalances import Imbalance
    from meter_stripe.intents import Intent
    from meter_stripe.ledger import Link, Tally
    from meter_stripe.verdicts import Verdicts

__all__ = ["Chain", "Job", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """One event that nothing bills yet."""

    event_id: str
    occurred_at: datetime
    seconds: Decimal
    link: Link


@dataclass(slots=True)
class Job:
    """One intent that is under way, or the usage that the next one is made of.

    Attributes:
        intent: what is under way; None while it is not frozen.
        offered: the events of this batch whose outcome it decides.
        usages: what is to be frozen.
        carried: to be stamped with today's date.
        cancels: the event that is to be taken back; `intent` bills it.
        evens: what a true-up is to be made for.
    """

    intent: Intent | None = None
    offered: list[str] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)
    carried: bool = False
    cancels: str | None = None
    evens: Imbalance | None = None


@dataclass(slots=True)
class Chain:
    """The jobs of one customer on one meter: one open intent at a time (stripe.md §5.4)."""

    books: MeterBooks
    customer: str
    tally: Tally
    verdicts: Verdicts
    jobs: deque[Job] = field(default_factory=deque)

    def finish(self, verdict: Verdict) -> None:
        """End the first job: its events have a final word."""
        self.verdicts.give(self.jobs.popleft().offered, verdict)

    def put_off(self, reason: str, at: datetime) -> None:
        """End the chain for now: what is left of it is offered again."""
        while self.jobs:
            self.finish(Verdict("later", reason, at))
