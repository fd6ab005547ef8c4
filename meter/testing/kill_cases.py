"""Cases in which the real process is killed with SIGKILL, and the destination is read back.

`meter run --once` runs in a child on a real journal. It kills itself, so that nothing of it is
cleaned up; another child goes on; then the destination must hold what the guarantee promises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from meter.testing.arena import ROUND, Arena
from meter.testing.case import case, require
from meter.testing.events import some_events
from meter.testing.points import choose
from meter.testing.sink_cases import ReadBack, SinkCases
from meter.testing.site import SINK, Site

if TYPE_CHECKING:
    from meter.events import Event
    from meter.testing.children import Children

__all__ = ["KillCases"]

FIRST_PLACES: Final = (1, 4, 9, 16, 25)
"""At which new place in the sink's code its first runs die."""
REPAIRS: Final = 3
"""For so many places inside deliveries and openings, one of the repair is killed at."""


class KillCases(SinkCases):
    """SIGKILL at every kind of moment."""

    @pytest.fixture
    def arena(
        self,
        site_folder: Path,
        sink_config: Mapping[str, Any],
        start_children: Callable[[Site], Children],
    ) -> Arena:
        """The sink in child processes, in batches of four."""

        def make(count: int, seed: str, at: datetime) -> list[Event]:
            return some_events(
                count, seed=f"{self.seed}.{seed}", customers=self.customers, at=at - self.ago
            )

        site = Site(site_folder, {SINK: sink_config})
        return Arena(site, start_children(site), make)

    @case
    def test_killed_around_a_delivery_it_keeps_its_guarantee(
        self, arena: Arena, read_back: ReadBack
    ) -> None:
        """Finds what is lost or doubled when the process dies before, or right after, deliver."""
        for kill in ("before", "after", "committed"):
            arena.record()
            arena.die(kill=kill, nth=2)
            self._judge(arena, read_back, f"killed {kill} the second of three batches")

    @case
    def test_killed_in_its_first_run_it_keeps_its_guarantee(
        self, arena: Arena, read_back: ReadBack
    ) -> None:
        """Finds a destination that is half made, and never usable again."""
        arena.record()
        died = []
        for number in FIRST_PLACES:
            where = arena.attempt(kill="new place", nth=number).killed_at
            if where is None:
                break
            died.append(where)
        require(bool(died), "not a line of the sink's own code was run")
        self._judge(arena, read_back, "killed one run after the other at " + ", ".join(died))

    @case
    def test_killed_inside_its_own_code_it_keeps_its_guarantee(
        self, arena: Arena, read_back: ReadBack
    ) -> None:
        """Finds the line between two effects: written and not committed, or the reverse."""
        arena.record()
        arena.finish()
        arena.record()
        points = choose(arena.finish(count=True).places, self.kill_points, self.seed)
        require(bool(points), "not a line of the sink's own code was run")
        for point in points:
            arena.record()
            arena.die(kill="place", place=point.place, nth=point.nth)
            self._judge(arena, read_back, f"killed at {point.place}, visit {point.nth}")

    @case
    def test_killed_again_while_it_repairs_it_keeps_its_guarantee(
        self, arena: Arena, read_back: ReadBack
    ) -> None:
        """Finds a repair that cannot be repaired."""
        arena.record()
        arena.die(kill="after", nth=2)
        ended = arena.finish(count=True)
        self._check(arena, read_back, "killed after a delivery")
        most = max(1, self.kill_points // REPAIRS)
        for point in choose(ended.opening or ended.places, most, self.seed):
            arena.record()
            arena.die(kill="after", nth=2)
            arena.die(kill="place", place=point.place, nth=1)
            self._judge(
                arena, read_back, f"killed after a delivery, and while it repaired: {point.place}"
            )

    @case
    def test_what_is_reported_does_not_wait_for_close(
        self, arena: Arena, read_back: ReadBack
    ) -> None:
        """Finds a buffer that only `close` writes: the process dies before it is called."""
        arena.record()
        arena.die(kill="close", nth=ROUND // 4)
        self.require_there(
            read_back,
            arena.events,
            "the process died after all was reported and recorded, and before close:",
        )
        self._judge(arena, read_back, "killed when close was called")

    def _judge(self, arena: Arena, read_back: ReadBack, what: str) -> None:
        """Require what holds in the very moment of death, then run to the end and judge."""
        self.require_there(
            read_back,
            arena.delivered(),
            f"{what}: meter takes for delivered what is not there:",
        )
        arena.finish()
        self._check(arena, read_back, what)

    def _check(self, arena: Arena, read_back: ReadBack, what: str) -> None:
        try:
            self.check(read_back, arena.events, given=arena.given)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None
