"""Cases with two processes on one journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meter.clock import SystemClock
from meter.errors import JournalLocked
from meter.testing.arena import ROUND
from meter.testing.case import case, require
from meter.testing.sink_cases import ReadBack, SinkCases
from meter.testing.site import SINK, Site

if TYPE_CHECKING:
    from meter.testing.children import Child, Children
    from meter.testing.clock import FakeClock

__all__ = ["ProcessCases"]

LOOK_SECONDS: Final = 0.01


class ProcessCases(SinkCases):
    """Two `meter run` at once."""

    @case
    def test_a_second_run_is_refused_and_does_no_harm(
        self,
        site_folder: Path,
        sink_config: Mapping[str, Any],
        read_back: ReadBack,
        clock: FakeClock,
        start_children: Callable[[Site], Children],
    ) -> None:
        """Finds a sink that touches its destination when it is imported or made."""
        site = Site(site_folder, {SINK: sink_config})
        children = start_children(site)
        events = self.events(ROUND, clock)
        site.record(events, SystemClock())
        go_on = site_folder / "go-on"
        first = children.start(hold=str(go_on))
        try:
            self._wait_until_it_delivers(first)
            second = children.run()
            require(
                second.returncode == JournalLocked.exit_code and not second.offered,
                f"a second `meter run` on the journal was not refused: {second.words()}",
            )
            go_on.touch()
            ended = first.wait(self.child_seconds)
        finally:
            first.end()
        require(ended.returncode == 0, f"the first run did not finish: {ended.words()}")
        self.check(read_back, events)

    def _wait_until_it_delivers(self, child: Child) -> None:
        deadline = time.monotonic() + self.child_seconds
        while ("holding", True) not in child.trail.read():
            if child.has_ended() or time.monotonic() > deadline:
                raise AssertionError(f"it never delivered: {child.wait(1).words()}")
            time.sleep(LOOK_SECONDS)
