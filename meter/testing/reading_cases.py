"""A case about reading the destination back: `meter reconcile` believes what a sink says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meter.sinks import Elsewhere
from meter.testing.case import case, require
from meter.testing.events import hostile_events
from meter.testing.rows import Row, differences
from meter.testing.sink_cases import ReadBack, SinkCases

if TYPE_CHECKING:
    from meter.testing.bench import SinkBench
    from meter.testing.clock import FakeClock

__all__ = ["ReadingCases"]


class ReadingCases(SinkCases):
    """What `written` yields; a sink without it passes, and `meter reconcile` says so."""

    @case
    def test_what_it_reads_back_is_what_is_there(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a `written` that yields other rows than there are, or needs an opened sink."""
        unopened = bench.sink_class(bench.options, bench.context())
        rows = unopened.written(None, None)
        if rows is None:
            return
        require(not list(rows), "`written` yields rows before anything was delivered")
        events = [*self.events(20, clock), *hostile_events(at=clock.now() - self.ago)]
        bench.record(events)
        bench.settle()
        there = {row.event_id for row in read_back()}
        told = [
            row
            for row in bench.sink_class(bench.options, bench.context()).written(None, None) or ()
            if not isinstance(row, Elsewhere)
        ]
        require([row.fault for row in told if row.fault], "`written` cannot read what was written:")
        customers = {event.event_id: event.customer_id for event in events}
        require(
            differences(
                [
                    Row(
                        row.event_id,
                        # Where a destination writes two customers alike, either is right.
                        row.quoted_customer_id
                        if row.quoted_customer_id == customers.get(row.event_id)
                        else row.customer_id,
                        row.seconds,
                        row.occurred_at,
                        row.kind,
                    )
                    for row in told
                ],
                [event for event in events if event.event_id in there],
            ),
            "`written` yields something else than is there:",
        )
