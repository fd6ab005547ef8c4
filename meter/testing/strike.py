"""The plugin that a child of the kit loads: it watches the deliveries, and dies where it must."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from meter import hookimpl
from meter.testing.plan import Plan, Trail
from meter.testing.tracing import LineTracer

if TYPE_CHECKING:
    from meter.sinks import Batch, Report, Sink

__all__ = ["Striker", "plugin"]

HOLD_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.01


class Striker:
    """Carries out the plan of this process."""

    def __init__(self) -> None:
        self._deliveries = 0
        self._commits = 0
        self._visits = 0
        self._opening = 0
        self._recorded = 0
        self._tracer: LineTracer | None = None

    @cached_property
    def plan(self) -> Plan:
        """The plan; read when it is first needed."""
        return Plan.read()

    @cached_property
    def trail(self) -> Trail:
        """Where it tells what it did."""
        return Trail(Path(self.plan.trail))

    def follow(self, package: str) -> None:
        """Follow the sink's own code in the threads to come, if the plan needs that."""
        if self.plan.count or "place" in self.plan.kill:
            self._tracer = LineTracer(
                package, self._visit, effects=self.plan.count, here=not self.plan.type
            )
            self._tracer.install()

    def die_at_close(self, sink_class: type[Sink]) -> None:
        """Stand in for `close`: nothing else tells when it is called after the last delivery."""
        close = sink_class.close

        def instead(sink: Sink) -> None:
            if self._deliveries >= self.plan.nth:
                self.die("when close was called")
            close(sink)

        setattr(sink_class, "close", instead)  # noqa: B010  because mypy forbids to replace a method

    def end(self) -> None:
        """Tell which places were visited."""
        if self.plan.count and self._tracer is not None:
            self.trail.tell("places", self._tracer.told())
            self.trail.tell("opening", self._opening)

    def _visit(self, place: str) -> None:
        kill = self.plan.kill
        if kill == "place" and place == self.plan.place:
            self._visits += 1
            if self._visits == self.plan.nth:
                self.die(place)
        elif (
            kill == "new place"
            and self._tracer is not None
            and len(self._tracer.places) == self.plan.nth
        ):
            self.die(place)

    def die(self, where: str) -> NoReturn:
        """End this process, without any cleanup, after telling where."""
        self.trail.tell("killed", where)
        os.kill(os.getpid(), signal.SIGKILL)
        while True:  # the signal is on its way: nothing more of this thread may run
            time.sleep(1)

    @hookimpl(wrapper=True, tryfirst=True)
    def meter_deliver(self, batch: Batch) -> Generator[None, Report, Report]:
        """Note what is offered and reported, and die before or after."""
        self._deliveries += 1
        if self._deliveries == 1 and self._tracer is not None:
            self._opening = len(self._tracer.places)
        here = self._deliveries == self.plan.nth
        if self.plan.hold and self._deliveries == 1:
            self._hold(Path(self.plan.hold))
        if here and self.plan.kill == "before":
            self.die("before the delivery")
        self.trail.tell("offered", [event.event_id for event in batch.events])
        report = yield
        if here and self.plan.kill == "after":
            self.die("after the delivery")
        return report

    @hookimpl(tryfirst=True)
    def meter_batch_delivered(self) -> None:
        """Die once the report is durable."""
        self._commits += 1
        if self._commits == self.plan.nth and self.plan.kill == "committed":
            self.die("after the report was committed")

    @hookimpl(tryfirst=True)
    def meter_event_recorded(self) -> None:
        """Die once so many events are durable."""
        self._recorded += 1
        if self._recorded == self.plan.nth and self.plan.kill == "recorded":
            self.die("after an event was recorded")

    def _hold(self, until: Path) -> None:
        self.trail.tell("holding", value=True)
        deadline = time.monotonic() + HOLD_SECONDS
        while not until.exists() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)


plugin: Final = Striker()
"""What the entry point names; it does nothing until meter calls it."""
