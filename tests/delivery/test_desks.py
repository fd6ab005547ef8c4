"""What a command of a plugin may do with one sink, beside a running meter or alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from delivery.conftest import Recording, ids, sink_class, takes_all
from meter.clock import SystemClock
from meter.commands import SinkDesk, Standing, sink_desk
from meter.commands.desks import PAGE
from meter.config import Condition
from meter.delivery import Delivery
from meter.errors import ConfigurationError, JournalError
from meter.events import Event
from meter.journal import Journal, Retry, Settlement, open_journal
from meter.sinks import Batch, Report
from support.facts import NOON, completed, failed
from support.plugging import Registers, config_of, plugins_with, sink_config


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(str(tmp_path / "m.db"), SystemClock())
    yield opened
    opened.close()


def desk(
    journal: Journal,
    folder: Path,
    *,
    start: Any = None,
    cls: type[Recording] | None = None,
    looking: bool = False,
    **pipeline: Any,
) -> SinkDesk:
    entry = sink_config(cls or sink_class(takes_all), "out", start)
    return SinkDesk(
        config_of(folder, {"out": entry}, **pipeline),
        entry,
        journal=journal,
        plugins=plugins_with(),
        clock=SystemClock(),
        looking=looking,
    )


def register(journal: Journal, *, skip: bool = False, not_before: datetime | None = None) -> None:
    journal.register_sink("out", "recording", skip_existing=skip, not_before=not_before).wait()


def settle(journal: Journal, checkpoint: int, **outcome: Any) -> None:
    journal.settle(Settlement("out", "new", checkpoint, NOON, **outcome)).wait()


def every_place(journal: Journal) -> list[Event]:
    events: list[Event] = [completed(n) for n in range(8)]
    journal.append(events).wait()
    register(journal)
    waiting = Retry("busy", NOON + timedelta(days=9000))
    settle(
        journal,
        6,
        delivered=[1],
        filtered=[2],
        held={3: "no customer"},
        rejected={4: "no meter"},
        retrying={5: waiting},
        later={6: waiting},
    )
    return events


def where(found: Iterator[Standing]) -> dict[str, tuple[str, str]]:
    listed = [(s.event.provider_id, (s.where, s.reason)) for s in found]
    assert len(dict(listed)) == len(listed), "an event stands in one place"
    assert [number for number, _ in listed] == sorted(number for number, _ in listed)
    return dict(listed)


def test_every_event_of_a_sink_is_told_with_its_place(journal: Journal, tmp_path: Path) -> None:
    every_place(journal)
    unsettled = {
        "2": ("held", "no customer"),
        "3": ("dead", "no meter"),
        "4": ("retrying", "busy"),
        "5": ("retrying", "busy"),
        "6": ("pending", ""),
        "7": ("pending", ""),
    }
    at = desk(journal, tmp_path)
    assert where(at.standings(unsettled=True)) == unsettled
    assert where(at.standings()) == {"0": ("delivered", "")} | unsettled
    journal.settle(Settlement("out", "retry", None, NOON, delivered=[5])).wait()
    assert where(at.standings())["4"] == ("delivered", "")
    assert "4" not in where(at.standings(unsettled=True))


def test_more_events_than_are_read_at_a_time_are_told_each_once(
    journal: Journal, tmp_path: Path
) -> None:
    count = 2 * PAGE + 10
    journal.append([completed(f"{n:06}") for n in range(1, count + 1)]).wait()
    register(journal)
    checkpoint = count - PAGE // 2
    offsets = {rest: range(rest or 4, checkpoint + 1, 4) for rest in range(4)}
    settle(
        journal,
        checkpoint,
        delivered=offsets[0],
        filtered=offsets[1],
        held=dict.fromkeys(offsets[2], "no customer"),
        rejected=dict.fromkeys(offsets[3], "no meter"),
    )
    at = desk(journal, tmp_path)
    unsettled = where(at.standings(unsettled=True))
    assert len(unsettled) == len(offsets[2]) + len(offsets[3]) + count - checkpoint
    everything = where(at.standings())
    assert {n: place for n, place in everything.items() if place[0] != "delivered"} == unsettled
    assert len(everything) == len(unsettled) + len(offsets[0])


def test_what_moves_while_it_is_read_is_told_once(journal: Journal, tmp_path: Path) -> None:
    every_place(journal)
    for unsettled in (True, False):
        reading = desk(journal, tmp_path).standings(unsettled=unsettled)
        first = next(reading)
        settle(journal, 7 + (not unsettled), held={7 + (not unsettled): "held since"})
        found = [first, *reading]
        assert len({s.event.event_id for s in found}) == len(found) == 7 - unsettled


def test_pending_is_what_todays_filters_admit_and_what_is_settled_stays(
    journal: Journal, tmp_path: Path
) -> None:
    journal.append([completed(1), completed(2, customer_id="b"), failed(3), completed(4)]).wait()
    register(journal)
    settle(journal, 1, delivered=[1])
    others = {"customer_id": Condition(none_of=frozenset({"acme"}))}
    found = where(desk(journal, tmp_path, where=others).standings())
    assert found == {"1": ("delivered", ""), "2": ("pending", "")}


@pytest.mark.parametrize(
    ("start", "told"),
    [("beginning", ["old", "new"]), (datetime(2026, 11, 1, tzinfo=UTC), ["new"]), ("now", [])],
)
def test_before_its_first_run_a_sink_has_what_that_run_would_take(
    journal: Journal, tmp_path: Path, start: Any, told: list[str]
) -> None:
    old = completed("old", occurred_at=NOON - timedelta(days=60))
    journal.append([old, completed("new")]).wait()
    at = desk(journal, tmp_path, start=start)
    assert at.row() is None
    assert [s.event.provider_id for s in at.standings()] == told
    assert at.place(old.event_id) == ("pending" if start == "beginning" else "filtered")
    assert at.place("no such event") is None


def test_a_sink_that_started_now_or_at_a_date_is_not_told_of_the_past(
    journal: Journal, tmp_path: Path
) -> None:
    journal.append([completed(1), completed(2)]).wait()
    register(journal, skip=True, not_before=NOON)
    early = completed(3, occurred_at=NOON - timedelta(seconds=1))
    journal.append([early, completed(4), completed(5)]).wait()
    at = desk(journal, tmp_path, start="now")
    assert where(at.standings()) == {"4": ("pending", ""), "5": ("pending", "")}
    settle(journal, 4, delivered=[4], filtered=[3])
    assert where(at.standings()) == {"4": ("delivered", ""), "5": ("pending", "")}
    assert [at.place(completed(n).event_id) for n in (1, 3, 4, 5)] == [
        "filtered",
        "filtered",
        "delivered",
        "pending",
    ]


def test_an_instance_that_is_never_opened_reads_the_sinks_state(
    journal: Journal, tmp_path: Path
) -> None:
    at = desk(journal, tmp_path)
    at.context.state.commit([at.context.state.put("a", "1")])
    assert desk(journal, tmp_path).sink.context.state.get("a") == "1"
    assert at.find(completed(1).event_id) is None


def test_recall_redrive_and_hasten_name_what_they_did(journal: Journal, tmp_path: Path) -> None:
    events = every_place(journal)
    at = desk(journal, tmp_path)
    known = [event.event_id for event in events]
    state = [at.context.state.put("why", "because")]
    assert at.recall(dict.fromkeys(known, "gone"), state) == known[:1]
    assert at.context.state.get("why") == "because"
    assert at.redrive([*known, "no such event"]) == [known[3]]
    assert at.redrive(known) == []
    at.hasten()
    due = journal.exceptions.due("out", SystemClock().now(), 99)
    assert sorted(entry.offset for entry in due) == [1, 3, 4, 5, 6]


def test_deliver_now_does_what_a_run_would_do_for_this_sink(
    journal: Journal, tmp_path: Path
) -> None:
    flushing: list[bool] = []

    def behaviour(sink: Recording, batch: Batch) -> Report:
        flushing.append(sink.context.flushing())
        return Report.everything(batch)

    events = every_place(journal)
    cls = sink_class(behaviour)
    at = desk(journal, tmp_path, cls=cls)
    assert at.deliver_now()
    (balance,) = journal.totals().balances
    assert balance.balances
    assert (balance.delivered, balance.filtered, balance.dead_lettered) == (6, 1, 1)
    assert sorted(cls.taken) == [events[n].event_id for n in (2, 4, 5, 6, 7)]
    assert all(flushing)
    assert not journal.running()


def test_deliver_now_leaves_it_to_a_meter_that_runs(journal: Journal, tmp_path: Path) -> None:
    journal.append([completed(0)]).wait()
    cls = sink_class(takes_all)
    at = desk(journal, tmp_path, cls=cls)
    running = open_journal(str(tmp_path / "m.db"), SystemClock(), run=True)
    try:
        assert not at.deliver_now()
        assert cls.calls == 0
        entry = sink_config(cls)
        delivery = Delivery(
            config_of(tmp_path, {"out": entry}),
            journal=running,
            plugins=plugins_with(),
            clock=SystemClock(),
        )
        delivery.start()
        delivery.finish()
        assert delivery.stop(10) == []
    finally:
        running.close()
    assert at.deliver_now()
    assert cls.taken == ids(1)


def test_a_desk_without_secrets_never_delivers(journal: Journal, tmp_path: Path) -> None:
    cls = sink_class(takes_all)
    at = desk(journal, tmp_path, cls=cls, looking=True)
    with pytest.raises(RuntimeError, match="only for looking"):
        at.deliver_now()
    assert cls.calls == 0


# -- which sink

FILE = """
journal: m.db
collectors: {{import: {{type: jsonl, path: e.jsonl}}}}
sinks: {{{sinks}}}
pipelines: {{usage: {{from: import, to: [{names}]}}}}
"""


@pytest.mark.parametrize(
    ("names", "name", "chosen"),
    [
        (["a"], None, "a"),
        (["a"], "a", "a"),
        (["a", "b"], "b", "b"),
        (["a", "b"], None, "several sinks of type recording (a, b); say which with --sink"),
        (["a"], "b", "no sink 'b' of type recording there; known: a"),
        ([], None, "no sink of type recording there"),
    ],
)
def test_the_sink_is_the_one_of_its_type_or_the_one_that_is_named(
    journal: Journal, tmp_path: Path, names: list[str], name: str | None, chosen: str
) -> None:
    sinks = ["other: {type: csv, path: x.csv}", *(f"{n}: {{type: recording}}" for n in names)]
    path = tmp_path / "pipelines.yaml"
    path.write_text(FILE.format(sinks=", ".join(sinks), names=", ".join(["other", *names])))
    plugins = plugins_with(Registers(sink_class(takes_all)))
    if chosen in names:
        with sink_desk(plugins, path, type="recording", name=name) as found:
            assert found.name == chosen
            assert found.context.journal_id == journal.journal_id
        return
    with (
        pytest.raises(ConfigurationError) as raised,
        sink_desk(plugins, path, type="recording", name=name),
    ):
        pass
    assert chosen in str(raised.value)


def test_a_desk_makes_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    path.write_text(FILE.format(sinks="a: {type: recording}", names="a"))
    plugins = plugins_with(Registers(sink_class(takes_all)))
    with pytest.raises(JournalError), sink_desk(plugins, path, type="recording"):
        pass
    assert not (tmp_path / "m.db").exists()
