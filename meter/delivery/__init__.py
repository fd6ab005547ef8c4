"""Delivery: a worker per sink takes the journal outward (DESIGN §7)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from meter.delivery.worker import SinkWorker

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import Config
    from meter.journal import Journal
    from meter.plugins import Plugins

__all__ = ["Delivery", "SinkWorker"]


class Delivery:
    """The workers of one run: one for each sink in the file."""

    def __init__(self, config: Config, *, journal: Journal, plugins: Plugins, clock: Clock) -> None:
        """Make the workers; `start` starts them."""
        self._workers = [
            SinkWorker(
                sink, config.pipelines.values(), journal=journal, plugins=plugins, clock=clock
            )
            for sink in config.sinks.values()
        ]

    def start(self) -> None:
        """Start every worker."""
        for worker in self._workers:
            worker.start()

    def finish(self) -> None:
        """Let each worker deliver what there is, and end; `busy` tells when."""
        for worker in self._workers:
            worker.finish()

    def flush(self) -> None:
        """Let everything leave now, whatever pace a sink keeps otherwise."""
        for worker in self._workers:
            worker.flush()

    def busy(self) -> bool:
        """Tell whether a worker has not ended yet."""
        return not all(worker.join(0) for worker in self._workers)

    def stop(self, seconds: float) -> list[str]:
        """Stop every worker after the batch in hand; name those that did not within `seconds`.

        Their threads are daemons: the process can exit, and what they had in hand is
        delivered again by the next run, as each sink's guarantee allows for.
        """
        for worker in self._workers:
            worker.stop()
        deadline = time.monotonic() + seconds
        return [w.name for w in self._workers if not w.join(max(0.0, deadline - time.monotonic()))]
