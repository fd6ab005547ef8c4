"""A bench for workers: a real journal, and sinks that behave as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from meter.clock import SystemClock
from meter.delivery import Delivery
from meter.journal import Balance, Journal, open_journal
from meter.sinks import Batch, Guarantee, Position, Report, Sink
from support.facts import completed
from support.plugging import NoOptions, config_of, plugins_with, sink_config
from support.waiting import eventually

Behaviour = Callable[["Recording", Batch], Report]


class Recording(Sink):
    """Keeps what it was given; a test decides how it behaves."""

    type = "recording"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = NoOptions
    batch_size = 10
    behaviour: ClassVar[Behaviour]
    position: ClassVar[Position | None] = None
    taken: ClassVar[list[str]]
    calls: ClassVar[int]

    def open(self) -> Position | None:
        return type(self).position

    def deliver(self, batch: Batch) -> Report:
        cls = type(self)
        cls.calls += 1
        report = cls.behaviour(self, batch)
        cls.taken += [*report.delivered]
        return report


def sink_class(behaviour: Behaviour, **attributes: Any) -> type[Recording]:
    space = {"behaviour": staticmethod(behaviour), "taken": [], "calls": 0, **attributes}
    return type("Made", (Recording,), space)


def takes_all(_sink: Recording, batch: Batch) -> Report:
    return Report.everything(batch)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(str(tmp_path / "m.db"), SystemClock())
    yield opened
    opened.close()


class Bench:
    """Starts workers on a journal and stops them at the end."""

    def __init__(self, journal: Journal, folder: Path) -> None:
        self.journal = journal
        self._folder = folder
        self._started: list[Delivery] = []

    def start(
        self, *plugins: object, start: Any = None, pipeline: Any = None, **sinks: Any
    ) -> Delivery:
        configs = {name: sink_config(cls, name, start) for name, cls in sinks.items()}
        delivery = Delivery(
            config_of(self._folder, configs, **(pipeline or {})),
            journal=self.journal,
            plugins=plugins_with(*plugins),
            clock=SystemClock(),
        )
        delivery.start()
        self._started.append(delivery)
        return delivery

    def balance(self, name: str = "out") -> Balance | None:
        found = [b for b in self.journal.totals().balances if b.sink == name]
        assert all(b.balances for b in found)
        return found[0] if found else None

    def wait(self, name: str = "out", **expected: object) -> None:
        def holds() -> bool:
            balance = self.balance(name)
            return balance is not None and all(
                getattr(balance, key) == value for key, value in expected.items()
            )

        eventually(holds)

    def stop(self) -> None:
        for delivery in self._started:
            delivery.stop(10)


@pytest.fixture
def bench(journal: Journal, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(journal, tmp_path)
    yield made
    made.stop()


def ids(count: int) -> list[str]:
    return [completed(n).event_id for n in range(count)]


def fill(journal: Journal, count: int, **changes: Any) -> None:
    journal.append([completed(n, **changes) for n in range(count)]).wait()
