"""Delivery: a worker per sink takes the journal outward (DESIGN §7)."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from meter.delivery.worker import SinkWorker

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import Config
    from meter.delivery.figures import SinkFigures
    from meter.journal import Journal
    from meter.plugins import Plugins

__all__ = ["Delivery", "SinkWorker"]

_log = logging.getLogger("meter.plugins")

LOOK_SECONDS: Final = 1.0
"""How often the workers are looked at, for calls that do not come back."""


class Delivery:
    """The workers of one run: one for each sink in the file."""

    def __init__(self, config: Config, *, journal: Journal, plugins: Plugins, clock: Clock) -> None:
        """Make the workers; `start` starts them."""
        self._plugins = plugins
        self._ended = threading.Event()
        self._workers = [
            SinkWorker(
                sink, config.pipelines.values(), journal=journal, plugins=plugins, clock=clock
            )
            for sink in config.sinks.values()
        ]

    def figures(self) -> dict[str, SinkFigures]:
        """Return what each sink's worker has done in this run, by the sink's name."""
        return {worker.name: worker.figures for worker in self._workers}

    def start(self) -> None:
        """Start every worker, and what looks after them."""
        for plugin in self._plugins.plugins:
            for warning in plugin.warnings:
                _log.warning("plugin.warning", extra={"plugin": str(plugin), "warning": warning})
            if plugin.error is not None:
                _log.error("plugin.broken", extra={"plugin": str(plugin), "error": plugin.error})
        for worker in self._workers:
            worker.start()
        threading.Thread(target=self._look, name="meter-delivery-watch", daemon=True).start()

    def _look(self) -> None:
        """Tell of sinks that hang, until the run ends."""
        patience = self._plugins.patience
        while not self._ended.wait(min(LOOK_SECONDS, patience / 2)):
            for worker in self._workers:
                worker.look(patience)

    def hanging(self) -> frozenset[str]:
        """Name the sinks that have not come back from a call for longer than plugins may take."""
        patience = self._plugins.patience
        return frozenset(worker.name for worker in self._workers if worker.hangs(patience))

    def finish(self) -> None:
        """Let each worker deliver what there is, and end; `busy` tells when."""
        for worker in self._workers:
            worker.finish()

    def flush(self) -> None:
        """Let everything leave now, whatever pace a sink keeps otherwise."""
        for worker in self._workers:
            worker.flush()

    def busy(self) -> bool:
        """Tell whether a worker has not ended yet; one that hangs is left behind some time."""
        return not all(worker.join(0) or worker.left_behind() for worker in self._workers)

    def stop(self, seconds: float) -> list[str]:
        """Stop every worker after the batch in hand; name those that did not within `seconds`.

        Their threads are daemons: the process can exit, and what they had in hand is
        delivered again by the next run, as each sink's guarantee allows for.
        """
        for worker in self._workers:
            worker.stop()
        deadline = time.monotonic() + seconds
        busy = [w for w in self._workers if not w.join(max(0.0, deadline - time.monotonic()))]
        self._ended.set()
        for worker in busy:
            worker.look(0)
        return [worker.name for worker in busy]
