"""A till with a desk: what commands do, on a clock that goes on by itself and can be moved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from meter.commands import SinkDesk
from meter.config import Config, PipelineConfig, ServerOptions
from meter_stripe import guard
from support.clocks import FakeClock
from support.plugging import plugins_with
from support.stripe_till import SINK, Till


class RunningClock(FakeClock):
    """A fake clock that goes on with the machine's: a worker may wait by it."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=time.monotonic() - self._began)

    def monotonic(self) -> float:
        return self.now().timestamp()


class DeskTill(Till):
    """A till, and the desk of its sink as a command has it."""

    def __init__(self, folder: Path, rules: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(folder, RunningClock(), rules, options)
        self.folder = folder
        self.file = folder / "pipelines.yaml"

    def desk(self) -> SinkDesk:
        flow = PipelineConfig.model_validate({"from": ["transcripts"], "to": [SINK]})
        entry = self._config()
        config = Config(
            self.file,
            self.folder,
            str(self.folder / "m.db"),
            ServerOptions(),
            {},
            {SINK: entry},
            {"usage": flow},
        )
        return SinkDesk(
            config, entry, journal=self.journal, plugins=plugins_with(), clock=self.clock
        )

    def later(self, **span: float) -> None:
        self.clock.advance(**span)
        self.restart()


@contextmanager
def desk_till(
    folder: Path, *, rules: dict[str, Any] | None = None, **options: Any
) -> Iterator[DeskTill]:
    guard.forget()
    made = DeskTill(folder, rules or {}, options)
    yield made
    made.journal.close()
