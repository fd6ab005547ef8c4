"""Faults on a schedule: around a sink, and in its destination where the author's double can."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Final, Protocol

from meter.errors import RetryableSinkError
from meter.sinks import Batch, Report

if TYPE_CHECKING:
    from meter.sinks import Sink
    from meter.testing.bench import SinkBench

__all__ = [
    "ALWAYS_FINE",
    "MIXED",
    "RANDOM_PERMANENT",
    "RANDOM_RETRYABLE",
    "SCHEDULES",
    "DestinationFault",
    "FaultInjector",
    "FaultSchedule",
    "ScheduledFaults",
]

MOST_IN_A_ROW: Final = 3
"""So many deliveries fail one after another at the most, so that a run comes to an end."""
REASON: Final = "refused by the fault schedule"


class DestinationFault(Enum):
    """What a destination does to the next request that would store something."""

    BUSY = "busy"
    """It answers that it cannot now, and stores nothing."""
    ANSWER_LOST = "answer lost"
    """It stores everything, and the answer never arrives."""
    REFUSES = "refuses"
    """It refuses what it is given for good, and stores nothing."""


class FaultInjector(Protocol):
    """Tells the author's own double of the destination to fail; the optional fixture `faults`."""

    def fail_next(self, fault: DestinationFault) -> bool:
        """Let the next request that would store something fail so; only that one.

        Returns:
            False when this double cannot do that.
        """

    def heal(self) -> None:
        """Take back a fault that did not strike yet."""


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """How often what goes wrong; every figure is a share from 0 to 1.

    Attributes:
        name: of the schedule, as it stands in the test's id.
        before: the sink is not even called, and the delivery is tried again.
        after: the sink did its work, and its report is lost.
        rejects: single events are refused for good before the sink sees them.
        poison: single events break every batch that they are in.
        unmentioned: single events are left out of a batch, and the report does not name them.
    """

    name: str
    before: float = 0.0
    after: float = 0.0
    rejects: float = 0.0
    poison: float = 0.0
    unmentioned: float = 0.0


ALWAYS_FINE: Final = FaultSchedule("always_fine")
RANDOM_RETRYABLE: Final = FaultSchedule("random_retryable", before=0.3, after=0.3)
RANDOM_PERMANENT: Final = FaultSchedule("random_permanent", rejects=0.1, poison=0.05)
MIXED: Final = FaultSchedule("mixed", 0.2, 0.2, 0.1, 0.03, 0.15)
SCHEDULES: Final = (ALWAYS_FINE, RANDOM_RETRYABLE, RANDOM_PERMANENT, MIXED)


class ScheduledFaults:
    """Stands around the deliveries of a bench and lets them fail: `bench.intercept = …`.

    Args:
        bench: whose deliveries.
        schedule: what goes wrong.
        seed: the same seed lets the same things go wrong.
        destination: lets the destination fail too, where it can.

    Attributes:
        refused: ids of the events that the sink was never given, and that end as dead letters.
        asked: how many faults the destination was asked for.
        agreed: which of them it said that it would have.
        shown: whether the sink raised or reported anything when there should have been one.
    """

    def __init__(
        self,
        bench: SinkBench,
        schedule: FaultSchedule,
        *,
        seed: int = 1,
        destination: FaultInjector | None = None,
    ) -> None:
        self.refused: set[str] = set()
        self.asked = 0
        self.agreed: list[DestinationFault] = []
        self.shown = False
        self._bench = bench
        self._schedule = schedule
        self._seed = seed
        self._destination = destination
        self._chance = Random(f"faults/{seed}")  # noqa: S311  because a test wants the same again
        self._in_a_row = 0
        self._left_out: set[str] = set()

    def __call__(self, sink: Sink, batch: Batch) -> Report:
        """Deliver a batch, or not.

        Raises:
            RetryableSinkError: before or after the sink's own work.
            ZeroDivisionError: there is poison in the batch.
        """
        ids = [event.event_id for event in batch.events]
        poison = {i for i in ids if self._drawn("poison", i, self._schedule.poison)}
        if poison:
            self.refused |= poison
            raise ZeroDivisionError(f"poison of the fault schedule in a batch of {len(ids)}")
        if self._strikes(self._schedule.before):
            raise RetryableSinkError("the fault schedule says: not now")
        rejected = {i for i in ids if self._drawn("rejects", i, self._schedule.rejects)}
        self.refused |= rejected
        unmentioned = {
            i
            for i in ids
            if i not in self._left_out and self._drawn("unmentioned", i, self._schedule.unmentioned)
        }
        self._left_out |= unmentioned
        rest = without(batch, rejected | unmentioned)
        report = Report()
        if rest.events:
            self._bench.given.update(event.event_id for event in rest.events)
            report = self._delivered(sink, rest)
        if self._strikes(self._schedule.after):
            raise RetryableSinkError("the fault schedule says: the report was lost")
        self._in_a_row = 0
        return replace(
            report, rejected={**report.rejected, **dict.fromkeys(sorted(rejected), REASON)}
        )

    def _delivered(self, sink: Sink, batch: Batch) -> Report:
        """Deliver to a destination that may fail, and see whether the sink shows it."""
        if self._destination is None:
            return sink.deliver(batch)
        ids = {event.event_id for event in batch.events}
        first = all(self._bench.given[event_id] == 1 for event_id in ids)
        self._let_the_destination_fail(self._destination, first_time=first)
        try:
            report = sink.deliver(batch)
        except Exception:
            self.shown = True
            raise
        self.shown |= not ids <= {*report.delivered, *report.duplicate}
        return report

    def _let_the_destination_fail(self, destination: FaultInjector, *, first_time: bool) -> None:
        """Draw a fault; a destination does not refuse what it may have taken before."""
        destination.heal()
        shares = {
            DestinationFault.BUSY: self._schedule.before,
            DestinationFault.ANSWER_LOST: self._schedule.after,
            DestinationFault.REFUSES: self._schedule.rejects * 3 if first_time else 0.0,
        }
        for fault, share in shares.items():
            if self._in_a_row < MOST_IN_A_ROW and self._chance.random() < share:
                self._in_a_row += 1
                self.asked += 1
                if destination.fail_next(fault):
                    self.agreed.append(fault)
                return

    def _strikes(self, share: float) -> bool:
        if self._in_a_row >= MOST_IN_A_ROW or self._chance.random() >= share:
            return False
        self._in_a_row += 1
        return True

    def _drawn(self, what: str, event_id: str, share: float) -> bool:
        """Draw for one event, always with the same answer."""
        chance = Random(f"{what}/{self._seed}/{event_id}")  # noqa: S311  because a test wants the same again
        return chance.random() < share


def without(batch: Batch, ids: set[str]) -> Batch:
    """Return a batch less some events; its checkpoint stays, as for events that are filtered."""
    kept = [
        (event, offset)
        for event, offset in zip(batch.events, batch.offsets, strict=True)
        if event.event_id not in ids
    ]
    return replace(batch, events=[e for e, _ in kept], offsets=[o for _, o in kept])
