"""Cases in which deliveries fail: every event must end in one counted place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from meter.testing.case import case, require
from meter.testing.faults import (
    SCHEDULES,
    DestinationFault,
    FaultInjector,
    FaultSchedule,
    ScheduledFaults,
    without,
)
from meter.testing.sink_cases import ReadBack, SinkCases

if TYPE_CHECKING:
    from meter.events import Event
    from meter.sinks import Batch, Report, Sink
    from meter.testing.bench import SinkBench
    from meter.testing.clock import FakeClock

__all__ = ["FaultCases"]

_DESTINATION_FAILS: Final = "test_every_event_is_accounted_for_when_the_destination_fails"


class FaultCases(SinkCases):
    """Fault schedules and partial outcomes."""

    @case
    @pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
    def test_every_event_is_accounted_for(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock, schedule: FaultSchedule
    ) -> None:
        """Finds what is lost or doubled when deliveries around it fail and are split."""
        bench.intercept = struck = ScheduledFaults(bench, schedule, seed=self.seed)
        events = self._under_faults(bench, clock)
        refused = self._account(bench, read_back, events)
        require(
            refused == struck.refused,
            f"refused without a cause: {sorted(refused - struck.refused)[:3]}; "
            f"not refused: {sorted(struck.refused - refused)[:3]}",
        )

    @case
    def test_every_event_is_accounted_for_when_the_destination_fails(
        self,
        bench: SinkBench,
        read_back: ReadBack,
        clock: FakeClock,
        schedule: FaultSchedule,
        faults: FaultInjector,
    ) -> None:
        """Finds a refusal that is swallowed, and a lost answer that is taken for a failure."""
        bench.intercept = struck = ScheduledFaults(
            bench, schedule, seed=self.seed, destination=faults
        )
        events = self._under_faults(bench, clock)
        faults.heal()
        require(
            bool(struck.agreed) or not struck.asked,
            "`faults` could have none of the faults that it was asked for: `fail_next` never "
            "returned True",
        )
        # A refusal of one request may be hidden by trying row by row; these may not.
        transient = [f.name for f in struck.agreed if f is not DestinationFault.REFUSES]
        require(
            struck.shown or not transient,
            f"`faults` agreed to {', '.join(transient)}, and nothing that the sink raised or "
            "reported shows any of them: the double does not fail, or the sink swallows it",
        )
        for _ in range(20):
            if bench.parked is None:
                break
            bench.parked = None  # a person saw to it, and started meter again
            bench.reopen()
            bench.settle()
        self._account(bench, read_back, events)

    @case
    def test_what_a_report_does_not_mention_is_offered_again(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a sink whose own checkpoint passes events that it was never given."""
        events = self.events(20, clock)
        left_out: set[str] = set()

        def every_third_later(sink: Sink, batch: Batch) -> Report:
            ids = {e.event_id for e in batch.events[1::3]} - left_out
            left_out.update(ids)
            rest = without(batch, ids)
            bench.given.update(event.event_id for event in rest.events)
            return sink.deliver(rest)

        bench.intercept = every_third_later
        bench.record(events)
        bench.worker.step()
        bench.reopen()
        self.settled(bench)
        require(bool(left_out), "the case left nothing out")
        self.check(read_back, events)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Say that the destination does not fail where the author gave no `faults`."""
        if metafunc.function.__name__ != _DESTINATION_FAILS:
            return
        owner = next(base for base in type(self).__mro__ if "faults" in vars(base))
        why = "no fixture `faults`: the destination itself is never told to fail"
        marks = [pytest.mark.skip(reason=why)] if owner is SinkCases else []
        metafunc.parametrize(
            "schedule", [pytest.param(s, marks=marks, id=s.name) for s in SCHEDULES]
        )

    def _under_faults(self, bench: SinkBench, clock: FakeClock) -> list[Event]:
        events = self.events(60, clock)
        for first in range(0, len(events), 20):
            bench.record(events[first : first + 20])
            bench.settle()
        return events

    def _account(self, bench: SinkBench, read_back: ReadBack, events: list[Event]) -> set[str]:
        """Require a place for every event; answer the ids of those that were refused."""
        balance = bench.balance()
        states = ("dead", "held", "retrying")
        refused = {event_id for state in states for event_id in bench.exceptions(state)}
        require(
            balance is not None and balance.balances and not balance.pending,
            f"not every event has a place: {balance}",
        )
        self.check(
            read_back,
            [event for event in events if event.event_id not in refused],
            [event for event in events if event.event_id in refused],
            bench.given,
        )
        return refused
