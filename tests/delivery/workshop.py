"""Workers on a clock of the test's own, stepped by hand or in their threads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from delivery.conftest import Recording, sink_class
from meter.delivery import SinkWorker
from meter.journal import Balance, ExceptionRow, Journal
from meter.sinks import Batch, Later, Report
from support.clocks import FakeClock
from support.facts import completed
from support.plugging import config_of, plugins_with, sink_config
from support.waiting import eventually

Answer = Callable[[str, Recording], Any]
"""What a sink says of one event: the name of an outcome, or what is put off, a Later."""


class Workshop:
    """Makes workers on one journal; a test steps them, or starts their threads."""

    def __init__(self, journal: Journal, clock: FakeClock, folder: Path) -> None:
        self.journal = journal
        self.clock = clock
        self._folder = folder
        self._made: list[SinkWorker] = []

    def worker(self, cls: type[Recording]) -> SinkWorker:
        entry = sink_config(cls, "out")
        worker = SinkWorker(
            entry,
            config_of(self._folder, {"out": entry}).pipelines.values(),
            journal=self.journal,
            plugins=plugins_with(),
            clock=self.clock,
        )
        self._made.append(worker)
        return worker

    def running(self, cls: type[Recording]) -> SinkWorker:
        worker = self.worker(cls)
        worker.start()
        return worker

    def end(self) -> None:
        for worker in self._made:
            worker.stop()
            if worker._thread.ident is not None:
                assert worker.join(10)

    def balance(self) -> Balance:
        (found,) = self.journal.totals().balances
        assert found.balances
        return found

    def row(self, number: int = 0) -> ExceptionRow:
        (place,) = self.journal.exceptions.places(completed(number).event_id)
        assert place.row is not None
        return place.row

    def later(self, seconds: float) -> Later:
        return Later("its minute", self.clock.now() + timedelta(seconds=seconds))

    def parked(self) -> str:
        eventually(lambda: self.journal.totals().balances and self.balance().parked)
        return str(self.balance().parked)


def answering(answer: Answer, **attributes: Any) -> type[Recording]:
    """A sink that says of each event what the test says."""

    def behaviour(sink: Recording, batch: Batch) -> Report:
        given: dict[str, Any] = {}
        for event in batch.events:
            said = answer(event.event_id, sink)
            if isinstance(said, Later):
                given.setdefault("later", {})[event.event_id] = said
            elif said == "held":
                given.setdefault("held", {})[event.event_id] = "no customer"
            else:
                given.setdefault("delivered", []).append(event.event_id)
        return Report(**given)

    return sink_class(behaviour, **attributes)


def drain(worker: SinkWorker) -> None:
    for _ in range(50):
        if not worker.step():
            return
    pytest.fail("there was always more to do")
