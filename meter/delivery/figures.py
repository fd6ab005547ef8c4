"""What one sink's worker has done in this run: counted once for each batch, in its own thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meter.figures import LATENCY_NANOS, Histogram

if TYPE_CHECKING:
    from meter.journal import Settlement

__all__ = ["SinkFigures"]


@dataclass(slots=True)
class SinkFigures:
    """Counters of one sink; an event that is offered again is counted again.

    Attributes:
        delivered: events that it took, or had already.
        filtered: events that no pipeline gives it.
        held: how often it could not place an event yet.
        retried: how often an event failed, or was not mentioned, and is to be offered again.
        put_off: how often it asked for an event at a later time.
        rejected: events that became dead letters.
        failures: how often it failed as a whole, which waits and tries again.
        batches: how long it took over each batch, in nanoseconds, also when it failed.
    """

    delivered: int = 0
    filtered: int = 0
    held: int = 0
    retried: int = 0
    put_off: int = 0
    rejected: int = 0
    failures: int = 0
    batches: Histogram = field(default_factory=lambda: Histogram(LATENCY_NANOS))

    def count(self, settlement: Settlement) -> None:
        """Count what the journal has just stored of one delivery."""
        self.delivered += len(settlement.delivered)
        self.filtered += len(settlement.filtered)
        self.held += len(settlement.held)
        self.retried += len(settlement.retrying)
        self.put_off += len(settlement.later)
        self.rejected += len(settlement.rejected)
