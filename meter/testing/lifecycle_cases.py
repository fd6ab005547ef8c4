"""Cases about a sink's life in one process: opened, stopped, opened again, and not alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

from meter.errors import ConfigurationError, FatalSinkError, RetryableSinkError
from meter.testing.bench import SinkBench, SteppedWorker
from meter.testing.case import case, require
from meter.testing.sink_cases import ReadBack, SinkCases
from meter.testing.site import Site, plugins_with

if TYPE_CHECKING:
    from meter.events import Event
    from meter.sinks import Batch, Report, Sink
    from meter.testing.clock import FakeClock

__all__ = ["LifecycleCases"]

THREAD_SECONDS: Final = 30.0
"""How long a thread may take; the case fails after it."""
MOST_STEPS: Final = 200


class _Breaking(Sequence["Event"]):
    """Events of which one raises when it is come to: a fault in the midst of the sink's work."""

    def __init__(self, events: Sequence[Event], bad: str) -> None:
        self._events = events
        self._bad = bad

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, place: int) -> Event: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Event]: ...
    def __getitem__(self, place: int | slice) -> Event | Sequence[Event]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        event = self._events[place]
        if event.event_id == self._bad:
            raise ZeroDivisionError("the kit breaks a delivery at this event")
        return event


class LifecycleCases(SinkCases):
    """Open, close, stop, and a neighbour on the same destination."""

    @case
    def test_a_stop_during_a_delivery_finishes_it(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a close that throws away what is in hand, or that a delivery cannot survive."""
        events = self.events(30, clock)
        bench.record(events)
        inside, stopped = threading.Event(), threading.Event()

        def waits_for_the_stop(sink: Sink, batch: Batch) -> Report:
            bench.given.update(event.event_id for event in batch.events)
            if not inside.is_set():
                inside.set()
                stopped.wait(THREAD_SECONDS)
            return sink.deliver(batch)

        bench.intercept = waits_for_the_stop
        worker = bench.worker
        worker.start()
        require(inside.wait(THREAD_SECONDS), "the sink was never given a batch")
        worker.stop()
        stopped.set()
        require(worker.join(THREAD_SECONDS), "the sink's thread did not end after a stop")
        balance = bench.balance()
        require(
            balance is not None and 0 < balance.pending < len(events),  # it may put off its batch
            f"a stop finishes the batch in hand and takes no other: {balance}",
        )
        places = {e.event_id: bench.journal.exceptions.places(e.event_id) for e in events}
        done = [e for e in events if places[e.event_id][0].state == "delivered"]
        self.require_delivered(read_back, done)
        bench.forget_worker()
        self.settled(bench)
        self.check(read_back, events, given=bench.given)

    @case
    def test_a_close_after_a_failed_open_is_harmless(self, bench: SinkBench) -> None:
        """Finds a close that needs what `open` did not come to make."""
        bench.sink_class(bench.options, bench.context()).close()

    @case
    def test_one_event_that_breaks_a_delivery_does_not_stop_the_others(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a transaction that is left open: every later delivery fails on it."""
        events = self.events(20, clock)
        bad = events[7].event_id
        broken = False

        def breaks(sink: Sink, batch: Batch) -> Report:
            nonlocal broken
            bench.given.update(event.event_id for event in batch.events)
            if bad not in {event.event_id for event in batch.events}:
                return sink.deliver(batch)
            broken = True
            return sink.deliver(replace(batch, events=_Breaking(batch.events, bad)))

        bench.intercept = breaks
        bench.record(events)
        bench.settle()
        require(broken, "the event that breaks a delivery was never given")
        rest = [event for event in events if event.event_id != bad]
        self.require_delivered(read_back, rest)

    @case
    def test_it_goes_on_after_it_was_closed_and_opened_again(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a destination that cannot be opened twice, or that is emptied when it is."""
        events = self.events(30, clock)
        for first in range(0, len(events), 6):
            bench.record(events[first : first + 6])
            self.settled(bench)
            self.check(read_back, events[: first + 6])
            bench.reopen()
            self.settled(bench)
        self.check(read_back, events)

    @case
    def test_it_recovers_from_failures_on_the_way(
        self, bench: SinkBench, read_back: ReadBack, clock: FakeClock
    ) -> None:
        """Finds a sink that cannot be closed and opened again in the midst of its work."""
        events = self.events(40, clock)
        calls = 0

        def every_other(sink: Sink, batch: Batch) -> Report:
            nonlocal calls
            calls += 1
            if calls % 2:
                raise RetryableSinkError("the kit says: not now")
            bench.given.update(event.event_id for event in batch.events)
            return sink.deliver(batch)

        bench.intercept = every_other
        bench.record(events)
        self.settled(bench, errors=True)
        self.check(read_back, events, given=bench.given)

    @case
    def test_two_sinks_on_one_destination_do_no_harm(
        self,
        site_folder: Path,
        sink_config: Mapping[str, Any],
        read_back: ReadBack,
        clock: FakeClock,
    ) -> None:
        """Finds two entries that overwrite or cut each other's rows; refusing is right too."""
        names = ("one", "two")
        site = Site(site_folder, dict.fromkeys(names, sink_config))
        plugins = plugins_with()
        try:
            config = site.config(plugins)
        except ConfigurationError:
            return  # meter refuses such a file: nobody can run it
        events = self.events(30, clock)
        journal = site.open_journal(clock)
        workers = {
            name: SteppedWorker(
                config.sinks[name],
                config.pipelines.values(),
                journal=journal,
                plugins=plugins,
                clock=clock,
            )
            for name in names
        }
        try:
            for first in range(0, len(events), 10):
                journal.append(events[first : first + 10]).wait()
                for name, worker in list(workers.items()):
                    if not _ran(worker, clock):
                        del workers[name]
            require(bool(workers), "both were refused: at least the first must go on")
        finally:
            for worker in workers.values():
                worker.close()
            journal.close()
        rows = list(read_back())
        self.require_there(lambda: rows, events, "what a sink reported as delivered is not there:")
        ids = {event.event_id for event in events}
        strange = [row for row in rows if row.event_id is not None and row.event_id not in ids]
        require(not strange, f"rows that nobody delivered: {strange[:3]}")
        if self.exactly_once and len(workers) == 1:
            self.check(lambda: rows, events)


def _ran(worker: SteppedWorker, clock: FakeClock) -> bool:
    """Step a worker until it rests; tell whether it goes on, or the sink refused its place."""
    for _ in range(MOST_STEPS):
        try:
            if not worker.step():
                return True
        except FatalSinkError as error:
            worker.park(error)
            return False
        except RetryableSinkError as error:
            clock.advance(seconds=worker.recover(error))
    raise AssertionError("two sinks on one destination never come to rest")
