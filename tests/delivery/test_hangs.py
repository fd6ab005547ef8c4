"""A call of a sink that does not come back: told of, and forgotten when it does."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from delivery.conftest import Recording, fill, sink_class, takes_all
from meter.clock import SystemClock
from meter.delivery import Delivery
from meter.delivery.calls import Calls
from meter.delivery.heard import HeardState
from meter.journal import Journal
from meter.plugins import Plugins
from meter.sinks import Batch, Report
from support.clocks import FakeClock
from support.plugging import config_of, plugins_with, sink_config
from support.waiting import eventually


@pytest.fixture
def plugins() -> Plugins:
    found = plugins_with()
    found.patience = 0.1
    return found


def delivering(
    journal: Journal, folder: Path, plugins: Plugins, **sinks: type[Recording]
) -> Delivery:
    configs = {name: sink_config(cls, name) for name, cls in sinks.items()}
    delivery = Delivery(
        config_of(folder, configs), journal=journal, plugins=plugins, clock=SystemClock()
    )
    delivery.start()
    return delivery


def trouble(journal: Journal, sink: str) -> str | None:
    found = [b for b in journal.totals().balances if b.sink == sink]
    return found[0].trouble if found else None


@pytest.mark.parametrize("method", ["open", "deliver", "tend"])
def test_a_hang_is_told_while_it_lasts_and_no_longer(
    journal: Journal, tmp_path: Path, plugins: Plugins, method: str
) -> None:
    release = threading.Event()

    def waits(*_args: object) -> None:
        release.wait(60)

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        waits()
        return Report.everything(batch)

    hanging = (
        sink_class(behaviour) if method == "deliver" else sink_class(takes_all, **{method: waits})
    )
    fill(journal, 5)
    delivery = delivering(journal, tmp_path, plugins, out=hanging)
    eventually(lambda: trouble(journal, "out"))
    told = str(trouble(journal, "out"))
    assert told.startswith(f"plugin test (meter-test 1.0) has not come back from `{method}`")
    release.set()
    eventually(lambda: trouble(journal, "out") is None)
    assert delivery.stop(10) == []
    assert hanging.taken == [e.event.event_id for e in journal.read(0, 10)]


def test_a_hang_that_outlived_its_run_is_forgotten_when_the_next_one_delivers(
    journal: Journal, tmp_path: Path, plugins: Plugins
) -> None:
    release = threading.Event()

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        release.wait(60)
        return Report.everything(batch)

    fill(journal, 5)
    first = delivering(journal, tmp_path, plugins, out=sink_class(behaviour))
    eventually(lambda: trouble(journal, "out"))
    assert first.stop(0) == ["out"]
    second = delivering(journal, tmp_path, plugins, out=sink_class(takes_all))
    eventually(lambda: trouble(journal, "out") is None)
    assert second.stop(10) == []
    release.set()
    eventually(lambda: first.stop(0) == [])


def test_once_goes_on_without_a_sink_that_hangs(
    journal: Journal, tmp_path: Path, plugins: Plugins
) -> None:
    release = threading.Event()

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        release.wait(60)
        return Report.everything(batch)

    good = sink_class(takes_all, type="good")
    fill(journal, 5)
    delivery = delivering(journal, tmp_path, plugins, hanging=sink_class(behaviour), good=good)
    delivery.finish()
    eventually(lambda: not delivery.busy())
    assert len(good.taken) == 5
    assert delivery.stop(0.05) == ["hanging"]
    release.set()
    eventually(lambda: delivery.stop(0) == [])


def test_what_is_still_under_way_at_the_end_is_named_though_it_lasted_no_time(
    journal: Journal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun, release = threading.Event(), threading.Event()

    def behaviour(_sink: Recording, batch: Batch) -> Report:
        begun.set()
        release.wait(60)
        return Report.everything(batch)

    fill(journal, 5)
    delivery = delivering(journal, tmp_path, plugins_with(), out=sink_class(behaviour))
    assert begun.wait(60)
    assert delivery.stop(0) == ["out"]
    (said,) = [record for record in caplog.records if record.message == "sink.hangs"]
    assert vars(said)["plugin"] == "test (meter-test 1.0)"
    assert vars(said)["call"] == "deliver"
    assert "test_hangs.py" in vars(said)["where"]
    release.set()
    eventually(lambda: delivery.stop(0) == [])


def test_a_long_call_that_stores_something_now_and_then_is_no_hang(journal: Journal) -> None:
    clock = FakeClock()
    calls = Calls(clock)
    state = HeardState(journal.sink_state("out", "recording"), calls.heard).scoped("other")
    with calls.noted("deliver", 5):
        clock.advance(seconds=30)
        assert calls.longer_than(20) is not None
        state.commit([state.put("a", "b")])
        clock.advance(seconds=10)
        assert calls.longer_than(20) is None
        clock.advance(seconds=10)
        assert calls.longer_than(20) is not None
    assert state.get("a") == "b"
