"""What a sink looks after beside deliveries, and reports that cannot be true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from delivery.conftest import Recording, fill, ids, sink_class, takes_all
from delivery.workshop import Workshop, answering, drain
from meter.errors import FatalSinkError, RetryableSinkError
from meter.journal import Journal, open_journal
from meter.sinks import Later, Report
from support.clocks import FakeClock
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


def test_a_sink_looks_after_its_own_about_once_a_second(
    workshop: Workshop, journal: Journal
) -> None:
    times: list[float] = []
    cls = sink_class(takes_all, tend=lambda _self: times.append(workshop.clock.monotonic()))
    worker = workshop.worker(cls)
    start = workshop.clock.monotonic()
    for tenth in range(31):
        if tenth == 15:
            fill(journal, 1)
        drain(worker)
        workshop.clock.advance(seconds=0.1)
    assert [round(at - start, 1) for at in times] == [0.0, 1.0, 2.0, 3.0]


def test_what_a_sink_finds_missing_is_offered_again_with_its_state(
    workshop: Workshop, journal: Journal
) -> None:
    found: list[Callable[[Recording], Report]] = [
        lambda sink: Report(
            recall={ids(2)[1]: "not counted", "somebody else's": "x"},
            state=[sink.context.state.put("checked", "yes")],
        )
    ]
    fill(journal, 2)

    def tend(sink: Recording) -> Report | None:
        return found.pop()(sink) if found and len(cls.taken) > 1 else None

    cls: type[Recording] = sink_class(takes_all, tend=tend)
    worker = workshop.worker(cls)
    assert worker.step()
    assert workshop.row(1).reason == "not counted"
    assert (workshop.balance().delivered, workshop.balance().retrying) == (1, 1)
    assert journal.sink_state("out", "recording").get("checked") == "yes"
    drain(worker)
    assert cls.taken == [*ids(2), ids(2)[1]]


def test_a_sink_may_have_everything_offered_again(workshop: Workshop, journal: Journal) -> None:
    mapping = {"there": False}

    def answer(event_id: str, _sink: Recording) -> Any:
        if mapping["there"]:
            return "delivered"
        return "held" if event_id == ids(1)[0] else workshop.later(3000)

    hasten: list[Report] = []
    cls = answering(answer, tend=lambda _self: hasten.pop() if hasten else None)
    fill(journal, 2)
    worker = workshop.worker(cls)
    drain(worker)
    workshop.clock.advance(seconds=2)
    mapping["there"] = True
    drain(worker)
    assert workshop.balance().delivered == 0
    hasten.append(Report(hasten=True))
    workshop.clock.advance(seconds=2)
    drain(worker)
    assert workshop.balance().delivered == 2


@pytest.mark.parametrize(
    "error", [RetryableSinkError("Stripe is away", retry_after=0.01), ZeroDivisionError("odd")]
)
def test_a_fault_beside_deliveries_is_tried_again_with_the_sink_opened_anew(
    workshop: Workshop, journal: Journal, error: Exception
) -> None:
    done: list[str] = []

    def tend(_self: Recording) -> None:
        done.append("tend")
        if len(done) == 1 + done.count("close"):
            raise error

    cls = sink_class(takes_all, tend=tend, close=lambda _self: done.append("close"))
    fill(journal, 1)
    worker = workshop.running(cls)
    eventually(lambda: done[:2] == ["tend", "close"])
    assert workshop.balance().delivered == 1
    workshop.clock.advance(seconds=1)
    eventually(lambda: done[:3] == ["tend", "close", "tend"])
    eventually(lambda: worker._backoff.failures == 0)
    assert workshop.balance().parked is None


def test_a_fatal_fault_beside_deliveries_parks_the_sink(
    workshop: Workshop, journal: Journal
) -> None:
    def tend(_self: Recording) -> None:
        raise FatalSinkError("the key is refused")

    fill(journal, 1)
    workshop.running(sink_class(takes_all, tend=tend))
    assert workshop.parked() == "the key is refused"
    assert workshop.balance().delivered == 1


# -- reports that cannot be true


@pytest.mark.parametrize(
    ("tended", "words"),
    [
        (Report(delivered=ids(1)), "about events of a batch"),
        (Report(held={ids(1)[0]: "x"}), "about events of a batch"),
        (Report(later={ids(1)[0]: Later("x", FakeClock().now())}), "about events of a batch"),
        ("nonsense", "`tend` returned str, expected a Report or None"),
    ],
)
def test_a_sink_that_speaks_of_a_batch_where_there_is_none_is_parked_and_named(
    workshop: Workshop, tended: Any, words: str
) -> None:
    workshop.running(sink_class(takes_all, tend=lambda _self: tended))
    parked = workshop.parked()
    assert words in parked
    assert "plugin test" in parked


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (Report(delivered=ids(1), recall={ids(1)[0]: "x"}), "in the batch itself"),
        (Report(later={ids(1)[0]: Later("x", FakeClock().now())}, held={ids(1)[0]: "x"}), "than"),
        (
            Report(later={ids(1)[0]: Later("x", FakeClock().now().replace(tzinfo=None))}),
            "without a zone",
        ),
    ],
)
def test_a_report_that_cannot_be_true_changes_nothing_and_names_the_plugin(
    workshop: Workshop, journal: Journal, report: Report, words: str
) -> None:
    fill(journal, 1)
    workshop.running(sink_class(lambda _sink, _batch: report))
    parked = workshop.parked()
    assert words in parked
    assert "plugin test" in parked
    assert workshop.balance().pending == 1


def test_why_a_sink_fails_is_known_while_it_is_tried_again(
    workshop: Workshop, journal: Journal
) -> None:
    state = {"down": True}

    def behaviour(_sink: Recording, batch: Any) -> Report:
        if state["down"]:
            raise RetryableSinkError("nobody answers on port 1")
        return Report.everything(batch)

    worker = workshop.worker(sink_class(behaviour))
    fill(journal, 1)
    worker.start()
    eventually(lambda: "nobody answers" in (trouble(journal) or ""))
    state["down"] = False
    workshop.clock.advance(hours=1)
    eventually(lambda: trouble(journal) is None)
    worker.stop()
    assert worker.join(10)


def trouble(journal: Journal) -> str | None:
    found = journal.totals().balances
    return found[0].trouble if found else None
