from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from meter.clock import SystemClock
from meter.config import SinkConfig
from meter.delivery import SinkWorker
from meter.events import AsyncCompleted
from meter.journal import Journal, open_journal
from meter.plugins import Extension
from meter.sinks import Batch, SinkContext
from meter_parquet.sink import ParquetSink
from support.clocks import FakeClock
from support.facts import completed
from support.plugging import config_of, plugin, plugins_with

Opener = Callable[..., ParquetSink]
Hirer = Callable[..., SinkWorker]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "usage"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(str(tmp_path / "m.db"), SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def make(journal: Journal, clock: FakeClock, folder: Path) -> Iterator[Opener]:
    """Makes sinks; one that is made again without `close` is a restart after `kill -9`."""
    made: list[ParquetSink] = []

    def one(
        name: str = "out", *, every: str = "0s", flushing: bool = False, **changes: Any
    ) -> ParquetSink:
        context = SinkContext(
            name=name,
            journal_id=journal.journal_id,
            state=journal.sink_state(name, "parquet"),
            clock=clock,
            log=logging.LoggerAdapter(logging.getLogger("test"), {}),
            flushing=lambda: flushing,
        )
        options = {"path": folder, "every": every}
        made.append(ParquetSink(ParquetSink.Options(**options), replace(context, **changes)))
        return made[-1]

    yield one
    for sink in made:
        sink.close()


@pytest.fixture
def hire(journal: Journal, clock: FakeClock, folder: Path) -> Iterator[Hirer]:
    """Makes workers, which deliver the journal to a sink when a test steps them."""
    made: list[SinkWorker] = []

    def one(every: str = "0s") -> SinkWorker:
        made.append(worker_of(journal, clock, folder, every))
        return made[-1]

    yield one
    for worker in made:
        worker._close()


def worker_of(journal: Journal, clock: FakeClock, folder: Path, every: str) -> SinkWorker:
    options = ParquetSink.Options.model_validate({"path": folder, "every": every})
    entry = SinkConfig("out", "parquet", options, Extension("parquet", ParquetSink, plugin()), None)
    pipelines = config_of(folder, {"out": entry}).pipelines.values()
    return SinkWorker(entry, pipelines, journal=journal, plugins=plugins_with(), clock=clock)


def drain(worker: SinkWorker) -> None:
    while worker.step():
        pass


def batch_of(events: list[Any], first: int = 1, **changes: Any) -> Batch:
    offsets = list(range(first, first + len(events)))
    return Batch(events, offsets, changes.pop("checkpoint", offsets[-1]), **changes)


def of_month(number: int, **changes: Any) -> AsyncCompleted:
    """Return an event of one of three months, in turn."""
    month = 9 + number % 3
    at = datetime(2026, month, 1 + number % 28, tzinfo=UTC)
    return completed(f"{number:04}", occurred_at=at, **changes)
