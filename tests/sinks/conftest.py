from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meter.clock import SystemClock
from meter.journal import Journal, open_journal
from meter.sinks import Batch, Sink, SinkContext

Opener = Callable[..., Any]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(str(tmp_path / "m.db"), SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def make(journal: Journal) -> Iterator[Opener]:
    """Makes sinks the way delivery does; `make(cls, path=…)` opens one."""
    made: list[Sink] = []

    def open_one(cls: type[Sink], name: str = "out", **options: Any) -> Sink:
        context = SinkContext(
            name=name,
            journal_id=journal.journal_id,
            state=journal.sink_state(name, cls.type),
            clock=SystemClock(),
            log=logging.LoggerAdapter(logging.getLogger("test"), {}),
        )
        made.append(cls(cls.Options(**options), context))
        return made[-1]

    yield open_one
    for sink in made:
        sink.close()


def batch_of(events: list[Any], checkpoint: int | None = None, **changes: Any) -> Batch:
    offsets = list(range(1, len(events) + 1))
    return Batch(events, offsets, checkpoint or offsets[-1], **changes)
