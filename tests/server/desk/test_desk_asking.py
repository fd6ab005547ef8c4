"""What sinks say of themselves: asked beside the page, which no sink can hold up for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from meter.journal import Journal, open_journal
from meter.server.desk.asking import Asked
from meter.sinks import Batch, Guarantee, Report, Sink
from support.clocks import FakeClock
from support.plugging import NoOptions, sink_config


class Talking(Sink):
    """Says something, once it may."""

    type = "talking"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = NoOptions
    may = threading.Event()
    asked = 0

    def deliver(self, batch: Batch) -> Report:
        return Report.everything(batch)

    def status(self) -> Sequence[str]:
        type(self).asked += 1
        self.may.wait(30)
        return [f"asked {type(self).asked} times"]

    def explain(self, reference: str) -> Sequence[str]:
        if reference == "broken":
            raise ZeroDivisionError("no such thing")
        return [f"knows {reference}"]


class Quick(Talking):
    """Says something at once."""

    type = "quick"

    def status(self) -> Sequence[str]:
        return ["well"]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = open_journal(str(tmp_path / "m.db"), FakeClock())
    yield journal
    journal.close()


def test_a_sink_that_hangs_is_asked_once_and_the_others_answer(journal: Journal) -> None:
    clock = FakeClock()
    Talking.may, Talking.asked = threading.Event(), 0
    sinks = {"slow": sink_config(Talking, "slow"), "quick": sink_config(Quick, "quick")}
    asked = Asked(sinks, journal=journal, clock=clock)
    try:
        for _ in range(4):
            told = asked.status()
            assert told["quick"].lines == ("well",)
            assert told["slow"].lines == ()
            assert "has not answered yet" in str(told["slow"].error)
            clock.advance(seconds=6)
        assert Talking.asked == 1
    finally:
        Talking.may.set()
    while asked.status()["slow"].error:
        clock.advance(seconds=1)
    assert asked.status()["slow"].lines == ("asked 1 times",)


def test_what_a_sink_said_stands_for_a_few_seconds(journal: Journal) -> None:
    clock = FakeClock()
    Talking.may, Talking.asked = threading.Event(), 0
    Talking.may.set()
    asked = Asked({"s": sink_config(Talking, "s")}, journal=journal, clock=clock)
    for _ in range(5):
        assert asked.status()["s"].lines == ("asked 1 times",)
    clock.advance(seconds=6)
    while asked.status()["s"].lines != ("asked 2 times",):
        pass
    assert Talking.asked == 2


def test_what_goes_wrong_in_a_sink_is_said_in_words(journal: Journal) -> None:
    asked = Asked({"s": sink_config(Talking, "s")}, journal=journal, clock=FakeClock())
    assert asked.explain("e-1", 20)["s"].lines == ("knows e-1",)
    answer = asked.explain("broken", 20)["s"]
    assert "ZeroDivisionError: no such thing" in str(answer.error)
    assert answer.lines == ()
