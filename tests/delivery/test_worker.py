"""One sink's worker against a real journal: what is promised when sinks misbehave."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from delivery.conftest import Bench, Recording, fill, ids, sink_class, takes_all
from meter import hookimpl
from meter.clock import SystemClock
from meter.config import Condition
from meter.delivery.outcomes import MAX_ATTEMPTS
from meter.errors import FatalSinkError, RetryableSinkError
from meter.events import Event
from meter.journal import Journal, Retry, Settlement
from meter.sinks import Batch, Position, Report
from support.facts import NOON, completed, failed
from support.waiting import eventually


def test_everything_is_delivered_once_and_in_order(bench: Bench, journal: Journal) -> None:
    cls = sink_class(takes_all)
    bench.start(out=cls)
    fill(journal, 25)
    bench.wait(delivered=25)
    fill(journal, 40)
    bench.wait(delivered=40)
    assert cls.taken == ids(40)


def test_a_restarted_worker_goes_on_from_its_checkpoint(bench: Bench, journal: Journal) -> None:
    cls = sink_class(takes_all)
    fill(journal, 15)
    bench.start(out=cls).stop(10)
    bench.start(out=cls)
    fill(journal, 30)
    bench.wait(delivered=30)
    assert cls.taken == ids(30)


def test_a_sink_that_raises_for_ever_is_not_noticed_by_the_others(
    bench: Bench, journal: Journal
) -> None:
    broken = threading.Event()
    broken.set()

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        if broken.is_set():
            raise ZeroDivisionError("for ever")
        return Report.everything(batch)

    bad, good = sink_class(behaviour, type="bad"), sink_class(takes_all, type="good")
    fill(journal, 30)
    bench.start(bad=bad, good=good)
    bench.wait("good", delivered=30)
    eventually(lambda: bad.calls > 3)
    assert bad.taken == []
    broken.clear()
    bench.wait("bad", delivered=30)
    assert sorted(bad.taken) == sorted(ids(30))


def test_a_failing_batch_is_split_until_the_poison_event_stands_alone(
    bench: Bench, journal: Journal
) -> None:
    poison = {completed(3).event_id, completed(17).event_id}

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        if any(event.event_id in poison for event in batch.events):
            raise ValueError("cannot digest this")
        return Report.everything(batch)

    cls = sink_class(behaviour)
    fill(journal, 25)
    bench.start(out=cls)
    bench.wait(delivered=23, retrying=2, pending=0)
    assert set(cls.taken) == set(ids(25)) - poison
    assert len(cls.taken) == 23
    poison.clear()
    bench.wait(delivered=25, retrying=0)
    assert sorted(cls.taken) == sorted(ids(25))


def test_each_outcome_of_a_report_has_its_place(bench: Bench, journal: Journal) -> None:
    def behaviour(_sink: Recording, batch: Batch) -> Report:
        if batch.purpose == "retry":
            return Report()
        event_ids = [event.event_id for event in batch.events]
        return Report(
            delivered=event_ids[:4],
            duplicate=event_ids[4:6],
            held={event_ids[6]: "no mapping for acme"},
            rejected={event_ids[7]: "unknown meter"},
        )

    fill(journal, 10)
    bench.start(out=sink_class(behaviour))
    bench.wait(delivered=6, held=1, dead_lettered=1, retrying=2, pending=0)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (Report(delivered=["somebody else's"]), "was not in the batch"),
        (Report(delivered=ids(1), rejected={ids(1)[0]: "no"}), "more than one outcome"),
        (Report(delivered=ids(1) * 2), "more than one outcome"),
        ("nonsense", "expected a Report"),
    ],
)
def test_a_report_that_cannot_be_true_parks_the_sink_and_names_the_plugin(
    bench: Bench, journal: Journal, report: Any, words: str
) -> None:
    cls = sink_class(lambda _sink, _batch: report)
    cls.deliver = lambda _self, _batch: report  # type: ignore[assignment, method-assign]  # misbehave whole
    fill(journal, 1)
    bench.start(out=cls)
    eventually(lambda: (b := bench.balance()) and b.parked)
    balance = bench.balance()
    assert balance is not None
    assert balance.pending == 1
    assert words in str(balance.parked)
    assert "plugin test" in str(balance.parked)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_sink_that_tries_to_end_the_process_is_parked_and_named(
    bench: Bench, journal: Journal, error: BaseException
) -> None:
    def behaviour(_sink: Recording, _batch: Batch) -> Report:
        raise error

    fill(journal, 1)
    bench.start(out=sink_class(behaviour))
    eventually(lambda: (b := bench.balance()) and "plugin test" in str(b.parked))


def test_a_fatal_error_parks_the_sink_and_a_restart_goes_on(bench: Bench, journal: Journal) -> None:
    key = {"valid": False}
    parked: list[tuple[str, str]] = []

    class Watches:
        @hookimpl
        def meter_sink_parked(self, sink_name: str, reason: str) -> None:
            parked.append((sink_name, reason))

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        if not key["valid"]:
            raise FatalSinkError("the key is refused")
        return Report.everything(batch)

    cls = sink_class(behaviour)
    fill(journal, 5)
    bench.start(Watches(), out=cls)
    bench.wait(parked="the key is refused", pending=5)
    assert cls.calls == 1
    eventually(lambda: parked == [("out", "the key is refused")])
    key["valid"] = True
    bench.start(out=cls)
    bench.wait(parked=None, delivered=5)


def test_a_retryable_error_moves_nothing_and_splits_nothing(bench: Bench, journal: Journal) -> None:
    sizes: list[int] = []

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        sizes.append(len(batch.events))
        if len(sizes) < 3:
            raise RetryableSinkError("busy", retry_after=0.01)
        return Report.everything(batch)

    cls = sink_class(behaviour)
    fill(journal, 8)
    bench.start(out=cls)
    bench.wait(delivered=8)
    assert sizes == [8, 8, 8]
    assert cls.taken == ids(8)


def test_shutdown_does_not_wait_for_a_retry(bench: Bench, journal: Journal) -> None:
    def behaviour(_sink: Recording, _batch: Batch) -> Report:
        raise RetryableSinkError("down", retry_after=3600)

    cls = sink_class(behaviour)
    fill(journal, 1)
    delivery = bench.start(out=cls)
    eventually(lambda: cls.calls)
    assert delivery.stop(10) == []


def test_a_sink_that_hangs_is_named_and_holds_up_no_other(bench: Bench, journal: Journal) -> None:
    release = threading.Event()

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        release.wait(60)
        return Report.everything(batch)

    hanging, good = sink_class(behaviour, type="hanging"), sink_class(takes_all, type="good")
    fill(journal, 5)
    delivery = bench.start(hanging=hanging, good=good)
    bench.wait("good", delivered=5)
    eventually(lambda: hanging.calls)
    assert delivery.stop(0.2) == ["hanging"]
    release.set()


def test_filters_decide_by_collector_kind_and_condition(bench: Bench, journal: Journal) -> None:
    cls = sink_class(takes_all)
    events: list[Event] = [
        completed("ours"),
        completed("internal", customer_id="internal"),
        completed("other", collector="elsewhere"),
        failed("broken"),
        completed("project", dimensions={"project_id": "p1"}),
    ]
    journal.append(events).wait()
    where = {"customer_id": Condition(none_of=frozenset({"internal"}))}
    bench.start(out=cls, pipeline={"where": where})
    bench.wait(delivered=2, filtered=3, pending=0)
    assert cls.taken == [events[0].event_id, events[4].event_id]


def test_never_billed_kinds_go_only_where_they_are_asked_for(
    bench: Bench, journal: Journal
) -> None:
    cls = sink_class(takes_all)
    journal.append([completed("a"), failed("b")]).wait()
    bench.start(out=cls, pipeline={"kinds": ["async_failed"]})
    bench.wait(delivered=1, filtered=1)
    assert cls.taken == [failed("b").event_id]


def test_a_sink_starts_where_it_was_told_to(bench: Bench, journal: Journal) -> None:
    journal.append(
        [completed("old", occurred_at=NOON - timedelta(days=40)), completed("new")]
    ).wait()
    now, dated = sink_class(takes_all, type="now"), sink_class(takes_all, type="dated")
    bench.start(start="now", now=now)
    bench.start(start=datetime(2026, 11, 1, tzinfo=UTC), dated=dated)
    bench.wait("now", filtered=2, pending=0)
    bench.wait("dated", filtered=1, delivered=1)
    found_later = completed("found later", occurred_at=datetime.now(UTC) - timedelta(hours=1))
    newest = completed("newest", occurred_at=datetime.now(UTC))
    journal.append([found_later, newest]).wait()
    bench.wait("now", filtered=3, delivered=1)
    bench.wait("dated", delivered=3)
    assert now.taken == [newest.event_id]
    assert dated.taken == [completed("new").event_id, found_later.event_id, newest.event_id]


def test_a_destination_that_went_back_is_filled_again(bench: Bench, journal: Journal) -> None:
    fill(journal, 20)
    cls = sink_class(takes_all)
    bench.start(out=cls)
    bench.wait(delivered=20)
    bench.stop()
    restored = sink_class(takes_all, position=Position(journal.journal_id, 12))
    bench.start(out=restored)
    bench.wait(delivered=20, pending=0)
    eventually(lambda: restored.taken == ids(20)[12:])


def test_a_destination_that_lacks_what_a_retry_delivered_gets_it_again(
    bench: Bench, journal: Journal
) -> None:
    poison = {completed(2).event_id}

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        if any(event.event_id in poison for event in batch.events):
            raise ValueError("not yet")
        return Report.everything(batch)

    fill(journal, 5)
    bench.start(out=sink_class(behaviour))
    bench.wait(delivered=4, retrying=1)
    poison.clear()
    bench.wait(delivered=5, retrying=0)
    bench.stop()
    restored = sink_class(takes_all, position=Position(journal.journal_id, 5, 4))
    bench.start(out=restored)
    eventually(lambda: restored.taken == [completed(2).event_id])
    bench.wait(delivered=5, retrying=0)


def test_a_destination_that_only_lacks_what_was_filtered_has_not_gone_back(
    bench: Bench, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.append([completed(1), failed(2), failed(3)]).wait()
    bench.start(out=sink_class(takes_all, batch_size=1))
    bench.wait(delivered=1, filtered=2)
    bench.stop()
    cls = sink_class(takes_all, position=Position(journal.journal_id, 1))
    bench.start(out=cls)
    journal.append([completed(4)]).wait()
    bench.wait(delivered=2, filtered=2)
    assert cls.taken == [completed(4).event_id]
    assert "sink.rewound" not in caplog.text


@pytest.mark.parametrize("others", [True, False])
def test_an_event_is_given_up_only_when_the_sink_took_others_since(
    bench: Bench,
    journal: Journal,
    others: bool,  # noqa: FBT001  because a table gives it
) -> None:
    poison = completed(0).event_id

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        if not others or any(event.event_id == poison for event in batch.events):
            raise ValueError("cannot digest this")
        return Report.everything(batch)

    fill(journal, 1)
    journal.register_sink("out", "recording", skip_existing=False, not_before=None).wait()
    now = SystemClock().now()
    retry = {1: Retry("failed", now)}
    journal.settle(Settlement("out", "new", 1, now, retrying=retry)).wait()
    for _ in range(MAX_ATTEMPTS - 2):
        journal.settle(Settlement("out", "retry", None, now, retrying=retry)).wait()
    if others:
        journal.append([completed(n) for n in range(3)]).wait()
    cls = sink_class(behaviour)
    bench.start(out=cls)
    if others:
        bench.wait(delivered=2, dead_lettered=1)
    else:
        eventually(lambda: cls.calls >= 1)
        bench.wait(retrying=1, dead_lettered=0)


@pytest.mark.parametrize(
    ("journal_id", "checkpoint", "words"),
    [("foreign", 0, "another journal"), (None, 999, "older copy of the journal")],
)
def test_a_destination_of_another_journal_parks_the_sink(
    bench: Bench, journal: Journal, journal_id: str | None, checkpoint: int, words: str
) -> None:
    fill(journal, 2)
    position = Position(journal_id or journal.journal_id, checkpoint)
    cls = sink_class(takes_all, position=position)
    bench.start(out=cls)
    eventually(lambda: (b := bench.balance()) and words in str(b.parked))
    assert cls.taken == []


def test_observers_see_what_happened_and_cannot_hurt_it(bench: Bench, journal: Journal) -> None:
    seen: list[tuple[str, str]] = []

    class Watches:
        @hookimpl
        def meter_batch_delivered(self, sink_name: str, batch: Batch) -> None:
            seen.append((sink_name, f"batch of {len(batch.events)}"))
            raise RuntimeError("an observer's own trouble")

        @hookimpl
        def meter_event_dead_lettered(self, event: Event, reason: str) -> None:
            seen.append((event.event_id, reason))

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        first, *rest = (event.event_id for event in batch.events)
        return Report(delivered=rest, rejected={first: "no"})

    fill(journal, 3)
    bench.start(Watches(), out=sink_class(behaviour))
    bench.wait(delivered=2, dead_lettered=1)
    eventually(lambda: len(seen) == 2)
    assert seen == [("out", "batch of 3"), (ids(1)[0], "no")]


def test_a_plugin_may_wrap_every_delivery(bench: Bench, journal: Journal) -> None:
    wrapped: list[int] = []

    class Wraps:
        @hookimpl(wrapper=True)
        def meter_deliver(self, batch: Batch) -> Any:
            report = yield
            wrapped.append(len(batch.events))
            return report

    fill(journal, 3)
    bench.start(Wraps(), out=sink_class(takes_all))
    bench.wait(delivered=3)
    assert wrapped == [3]


def test_exact_decimals_reach_the_sink(bench: Bench, journal: Journal) -> None:
    given: list[Decimal | None] = []

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        given.extend(event.billed_seconds for event in batch.events)
        return Report.everything(batch)

    journal.append([completed("a", seconds=Decimal("0.123456789"))]).wait()
    bench.start(out=sink_class(behaviour))
    bench.wait(delivered=1)
    assert given == [Decimal("0.123456789")]
