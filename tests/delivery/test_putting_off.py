"""What a sink puts off; on a clock of the test's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from delivery.conftest import Recording, fill, ids, sink_class, takes_all
from delivery.workshop import Workshop, answering, drain
from meter.delivery.worker import ONCE_SECONDS
from meter.errors import RetryableSinkError
from meter.journal import Journal, open_journal
from meter.sinks import Batch, Later, Report
from support.clocks import FakeClock
from support.facts import completed
from support.waiting import eventually


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journal(tmp_path: Path, clock: FakeClock) -> Iterator[Journal]:
    opened = open_journal(str(tmp_path / "m.db"), clock)
    yield opened
    opened.close()


@pytest.fixture
def workshop(journal: Journal, clock: FakeClock, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(journal, clock, tmp_path)
    yield made
    made.end()


# -- put off


def test_what_is_put_off_comes_again_at_its_time_and_not_before(
    workshop: Workshop, journal: Journal
) -> None:
    asked: list[str] = []

    def answer(event_id: str, _sink: Recording) -> Any:
        asked.append(event_id)
        return workshop.later(30) if len(asked) < 4 else "delivered"

    fill(journal, 1)
    worker = workshop.worker(answering(answer))
    drain(worker)
    for round_ in range(1, 4):
        assert (len(asked), workshop.balance().retrying) == (round_, 1)
        workshop.clock.advance(seconds=29.9)
        drain(worker)
        assert len(asked) == round_, "before its time"
        workshop.clock.advance(seconds=0.1)
        drain(worker)
    assert (workshop.balance().delivered, workshop.balance().retrying) == (1, 0)


def test_putting_off_is_no_failure_however_often(workshop: Workshop, journal: Journal) -> None:
    fill(journal, 1)
    worker = workshop.worker(answering(lambda _id, _sink: workshop.later(10)))
    for _ in range(30):
        drain(worker)
        workshop.clock.advance(seconds=10)
    row = workshop.row()
    assert (row.state, row.attempts, row.put_off) == ("retrying", 0, True)


def test_a_sink_that_works_again_is_not_given_early_what_it_put_off(
    workshop: Workshop, journal: Journal
) -> None:
    first = completed(0).event_id
    asked: list[str] = []
    down = {"now": False}

    def answer(event_id: str, _sink: Recording) -> Any:
        asked.append(event_id)
        if down["now"]:
            raise RetryableSinkError("busy")
        return workshop.later(600) if event_id == first else "delivered"

    fill(journal, 1)
    worker = workshop.worker(answering(answer))
    drain(worker)
    down["now"] = True
    journal.append([completed(1)]).wait()
    with pytest.raises(RetryableSinkError):
        worker.step()
    worker._wait_after(RetryableSinkError("busy", retry_after=0))
    down["now"] = False
    drain(worker)
    drain(workshop.worker(answering(answer)))  # nor by a restart
    assert asked.count(first) == 1
    assert workshop.balance().delivered == 1


def test_a_time_that_is_past_does_not_make_a_worker_spin(
    workshop: Workshop, journal: Journal
) -> None:
    fill(journal, 1)
    cls = answering(lambda _id, _sink: workshop.later(-5))
    worker = workshop.worker(cls)
    drain(worker)
    assert cls.calls == 1
    workshop.clock.advance(seconds=1)
    drain(worker)
    assert cls.calls == 2


# -- `meter run --once`


def test_once_waits_for_what_is_due_within_the_minute(workshop: Workshop, journal: Journal) -> None:
    begun = workshop.clock.now()
    tended: list[float] = []

    def answer(_id: str, _sink: Recording) -> Any:
        at = begun + timedelta(seconds=75)
        return "delivered" if workshop.clock.now() >= at else Later("its minute", at)

    def tend(_self: Recording) -> None:
        tended.append(workshop.clock.monotonic())

    fill(journal, 2)
    cls = answering(answer, tend=tend)
    worker = workshop.worker(cls)
    worker.finish()
    worker.start()
    eventually(lambda: cls.calls == 1)
    workshop.clock.advance(seconds=74)
    eventually(lambda: workshop.clock.monotonic() in tended)
    assert not worker.join(0), "it waits"
    assert cls.calls == 1
    workshop.clock.advance(seconds=1)
    assert worker.join(10)
    assert (workshop.balance().delivered, cls.calls) == (2, 2)


def test_once_does_not_wait_for_what_is_due_later(workshop: Workshop, journal: Journal) -> None:
    fill(journal, 1)
    cls = answering(lambda _id, _sink: workshop.later(76))
    worker = workshop.worker(cls)
    worker.finish()
    worker.start()
    assert worker.join(10)
    assert (cls.calls, workshop.balance().retrying) == (1, 1)


def test_once_does_not_wait_for_failures_and_held_ones_because_something_is_put_off(
    workshop: Workshop, journal: Journal
) -> None:
    def answer(event_id: str, _sink: Recording) -> Any:
        return {ids(2)[0]: workshop.later(3600), ids(2)[1]: "held"}[event_id]

    fill(journal, 2)
    worker = workshop.worker(answering(answer))
    worker.finish()
    worker.start()
    assert worker.join(10)
    assert (workshop.balance().retrying, workshop.balance().held) == (1, 1)


def test_once_ends_though_a_sink_puts_off_for_ever(workshop: Workshop, journal: Journal) -> None:
    fill(journal, 1)
    cls = answering(lambda _id, _sink: workshop.later(60))
    worker = workshop.worker(cls)
    worker.finish()
    worker.start()
    for round_ in range(1, 1 + int(ONCE_SECONDS // 60)):
        eventually(lambda round_=round_: cls.calls == round_)  # type: ignore[misc]  # a bound default
        assert not worker.join(0)
        workshop.clock.advance(seconds=60)
    assert worker.join(10)
    assert workshop.balance().retrying == 1


def test_once_delivers_what_was_appended_while_the_worker_looked_elsewhere(
    workshop: Workshop, journal: Journal
) -> None:
    looking, go_on = threading.Event(), threading.Event()

    def tend(_self: Recording) -> None:
        looking.set()
        assert go_on.wait(10)

    cls = sink_class(takes_all, tend=tend)
    worker = workshop.worker(cls)
    worker.start()
    assert looking.wait(10), "it has read the journal, and found nothing"
    fill(journal, 1)
    worker.finish()
    go_on.set()
    assert worker.join(10)
    assert cls.taken == ids(1)


def test_once_delivers_what_the_sink_recalled_on_the_way(
    workshop: Workshop, journal: Journal
) -> None:
    fill(journal, 1)
    drain(workshop.worker(sink_class(takes_all)))
    recalled: list[Report] = [Report(recall={ids(1)[0]: "not counted"})]
    cls = sink_class(takes_all, tend=lambda _self: recalled.pop() if recalled else None)
    worker = workshop.worker(cls)
    worker.finish()
    worker.start()
    assert worker.join(10)
    assert cls.taken == ids(1)
    assert (workshop.balance().delivered, workshop.balance().retrying) == (1, 0)


# -- flushing and stopping


def test_a_flush_is_told_to_the_sink_and_offers_what_waits_again(
    workshop: Workshop, journal: Journal
) -> None:
    def answer(event_id: str, sink: Recording) -> Any:
        if sink.context.flushing():
            return "delivered"
        return "held" if event_id == ids(1)[0] else workshop.later(3000)

    fill(journal, 2)
    worker = workshop.worker(answering(answer))
    drain(worker)
    assert (workshop.balance().held, workshop.balance().retrying) == (1, 1)
    worker.flush()
    drain(worker)
    assert workshop.balance().delivered == 2


def test_a_delivery_that_takes_long_learns_that_meter_stops(
    workshop: Workshop, journal: Journal
) -> None:
    def behaviour(sink: Recording, batch: Batch) -> Report:
        while not sink.context.stopping():
            time.sleep(0.005)
        return Report(delivered=[batch.events[0].event_id])

    fill(journal, 2)
    cls = sink_class(behaviour)
    worker = workshop.running(cls)
    eventually(lambda: cls.calls)
    assert not worker.join(0)
    worker.stop()
    assert worker.join(10)
    assert (workshop.balance().delivered, workshop.balance().retrying) == (1, 1)
