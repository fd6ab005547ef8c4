"""Cases about what is delivered: how much, how often, in what order, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from meter.errors import RetryableSinkError
from meter.events import KINDS
from meter.testing.bench import SinkBench
from meter.testing.case import case, require
from meter.testing.events import async_completed, hostile_events, unbilled_events
from meter.testing.sink_cases import ReadBack, SinkCases

if TYPE_CHECKING:
    from meter.events import Event
    from meter.sinks import Batch, Report, Sink
    from meter.testing.clock import FakeClock

__all__ = ["BatchCases"]

LARGE: Final = 2_000

EXACT: Final = (
    "0",
    "0.000000001",
    "0.1",
    "0.2",
    "0.3",
    "1.1",
    "2.675",
    "29.999999999",
    "123456.123456789",
    "1234567.12345678",
    "9007199.254740993",
    "9876543.123456789",
    "9999999.999999999",
    "10000000",
)
"""Seconds that a float, or a sum of floats, cannot hold; up to the longest that an event has."""


class BatchCases(SinkCases):
    """Batches, and what stands in their events."""

    @case
    def test_nothing_appears_when_there_is_nothing_to_deliver(
        self, bench: SinkBench, read_back: ReadBack
    ) -> None:
        """Finds a sink that writes something of its own when it is opened and closed."""
        self.settled(bench)
        bench.reopen()
        self.check(read_back, [])

    @case
    def test_a_single_event_arrives(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a sink that waits for more, and a read_back that shows nothing."""
        events = self.events(1, clock)
        bench.record(events)
        self.settled(bench)
        rows = list(read_back())
        require(bool(rows), "one event was delivered, and read_back shows nothing of it")
        require(
            all(row.customer_id is not None and row.seconds is not None for row in rows),
            "read_back gives rows without customer_id or seconds: whose usage it is and how much "
            "could be wrong, and no case would see it",
        )
        self.check(read_back, events)

    @case
    def test_a_large_batch_arrives_whole(
        self,
        site_folder: Path,
        sink_config: Mapping[str, Any],
        read_back: ReadBack,
        clock: FakeClock,
    ) -> None:
        """Finds a lost tail, a page limit, and a destination that takes only so much at once."""
        events = self.events(LARGE, clock)
        with SinkBench(site_folder, sink_config, clock=clock) as bench:
            bench.record(events)
            self.settled(bench)
        self.check(read_back, events)

    @case
    def test_many_batches_arrive_whole(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a sink that drops what stands at the edge of a batch."""
        events = self.events(50, clock)
        for event in events[:3]:
            bench.record([event])
            self.settled(bench)
        bench.record(events)
        self.settled(bench)
        self.check(read_back, events)

    @case
    @pytest.mark.parametrize("turn", ["first", "second"])
    def test_each_destination_is_of_its_own(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock, turn: str
    ) -> None:
        """Finds state outside destination and journal, and a sink_config that shares one."""
        del turn  # the same events go to two destinations, one after the other
        events = self.events(5, clock, "again")
        bench.record(events)
        self.settled(bench)
        self.check(read_back, events)

    @case
    def test_equal_usage_of_one_customer_is_kept_apart(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a sink that overwrites by customer, by time or by quantity."""
        same = {"customer_id": self.customers[0], "occurred_at": clock.now()}
        events = [async_completed(f"same-{n}", recorded_at=clock.now(), **same) for n in range(12)]
        bench.record(events)
        self.settled(bench)
        self.check(read_back, events)

    @case
    def test_the_same_batch_twice_counts_once(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a sink that doubles a batch whose report was lost."""
        events = self.events(8, clock)
        bench.intercept = _LosesReports(bench, {1, 2})
        bench.record(events)
        self.settled(bench, errors=True)
        self.check(read_back, events, given=bench.given)

    @case
    def test_overlapping_batches_count_once(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a sink that judges a batch by its first event, or by where it ends."""
        events = self.events(21, clock)
        bench.intercept = loses = _LosesReports(bench, {1, 3, 5})
        for size, upto in ((3, 3), (5, 8), (4, 9), (13, 21)):
            bench.record(events[:upto])
            bench.reopen(batch_size=size)
            loses.step()
        bench.reopen(batch_size=13)
        self.settled(bench, errors=True)
        self.check(read_back, events, given=bench.given)

    @case
    def test_times_out_of_order_arrive(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a sink that keeps its place by time, and drops what is older than it."""
        events: list[Event] = []
        for number, spread in enumerate((10, 0, 19, 3, 20, 0, 7, 1, 15, 2, 12, 5)):
            moment = clock.now() - timedelta(days=spread, hours=number % 3)
            given = {"customer_id": self.customers[number % len(self.customers)]}
            events.append(
                async_completed(
                    f"order-{number}", occurred_at=moment, recorded_at=clock.now(), **given
                )
            )
        for some in (events[:5], events[5:6], events[6:]):
            bench.record(some)
            self.settled(bench)
            bench.reopen()
        self.check(read_back, events)

    @case
    def test_seconds_are_exact(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds floats: a digit that is lost, or a sum that is a little beside."""
        numbers = [*EXACT, *(str(Decimal(n) / 10) for n in range(1, 11))]
        events = [
            async_completed(
                f"exact-{number}",
                seconds=Decimal(text),
                customer_id=self.customers[number % len(self.customers)],
                occurred_at=clock.now(),
                recorded_at=clock.now(),
            )
            for number, text in enumerate(numbers)
        ]
        bench.record(events)
        self.settled(bench)
        self.check(read_back, events, whole_units=False)

    @case
    @pytest.mark.parametrize("whose", ["known_customers", "hostile_customers"])
    def test_hostile_text_arrives_as_it_is_or_is_refused(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock, whose: str
    ) -> None:
        """Finds text that is cut, trimmed, escaped twice, run as SQL or as a formula."""
        known = self.customers[0] if whose == "known_customers" else None
        hostile = hostile_events(at=clock.now(), customer_id=known)
        # One beside each, so that a whole batch is never refused because of one text.
        ordinary = self.events(len(hostile), clock)
        events = [event for pair in zip(hostile, ordinary, strict=True) for event in pair]
        bench.record(events)
        bench.settle()
        if bench.errors:  # it may refuse a text in its report, and must not choke on it
            raise bench.errors[0]
        self._check_refusals(bench, read_back, events, ordinary)

    @case
    def test_kinds_that_are_never_billed_bill_nothing(
        self,
        site_folder: Path,
        sink_config: Mapping[str, Any],
        read_back: ReadBack,
        clock: FakeClock,
    ) -> None:
        """Finds a sink that fails on events without seconds, or makes seconds of their bounds."""
        never = unbilled_events(at=clock.now(), customer_id=self.customers[0])
        events = [never[0], *self.events(4, clock), never[1]]
        with SinkBench(site_folder, sink_config, clock=clock, kinds=KINDS) as bench:
            bench.record(events)
            bench.settle()
            if bench.errors:
                raise bench.errors[0]
            ids = {event.event_id for event in never}
            rows = [row for row in read_back() if row.event_id not in ids]
            self.check(lambda: rows, events[1:-1])
            billed = [row for row in read_back() if row.event_id in ids and row.seconds]
            require(not billed, f"seconds stand for what is never billed: {billed}")

    def _check_refusals(
        self,
        bench: SinkBench,
        read_back: ReadBack,
        events: list[Event],
        ordinary: list[Event],
    ) -> None:
        """Require that what is not there was refused by a report, with a reason."""
        refused = bench.refused()
        states = ("retrying", "dead", "held")
        choked = {
            i: reason
            for state in states
            for i, reason in bench.exceptions(state).items()
            if i not in refused
        }
        require(
            [f"{event_id}: {reason}" for event_id, reason in choked.items()],
            "it raised an error instead of delivering or refusing:",
        )
        require(all(refused.values()), "an event was refused without a reason")
        plain = [e.event_id for e in events if e.event_id in refused and e in ordinary]
        require(not plain, f"ordinary events were refused among hostile ones: {plain[:3]}")
        self.check(
            read_back,
            [event for event in events if event.event_id not in refused],
            [event for event in events if event.event_id in refused],
        )


class _LosesReports:
    """Lets the sink do its work, and loses the report of some deliveries, counted from 1."""

    def __init__(self, bench: SinkBench, lost: set[int]) -> None:
        self._bench = bench
        self._lost = lost
        self._calls = 0

    def __call__(self, sink: Sink, batch: Batch) -> Report:
        self._calls += 1
        self._bench.given.update(event.event_id for event in batch.events)
        report = sink.deliver(batch)
        if self._calls in self._lost:
            raise RetryableSinkError(f"the kit lost the report of delivery {self._calls}")
        return report

    def step(self) -> None:
        """Deliver one batch; when its report is lost, stop there as a crash would."""
        try:
            self._bench.worker.step()
        except RetryableSinkError as error:
            self._bench.worker.recover(error)
