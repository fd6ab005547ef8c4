"""Where a sink is killed: a journal, children that die, and the judgement of what they left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from meter.clock import SystemClock

if TYPE_CHECKING:
    from meter.events import Event
    from meter.testing.children import Children, Ended
    from meter.testing.site import Site

__all__ = ["ROUND", "Arena"]

ROUND: Final = 12
"""Events that are recorded for each kill: three batches of four."""


class Arena:
    """One site, one destination, and the children that run on them one after the other.

    Args:
        site: the pipelines file and the journal.
        children: starts them.
        make: makes so many events, given a seed and the time.

    Attributes:
        events: what was recorded so far.
        given: how often the sink was given each event, by all children together.
    """

    def __init__(
        self, site: Site, children: Children, make: Callable[[int, str, datetime], list[Event]]
    ) -> None:
        self.site = site
        self.children = children
        self.events: list[Event] = []
        self.given: Counter[str] = Counter()
        self._make = make
        self._rounds = 0
        self._clock = SystemClock()

    def record(self, count: int = ROUND) -> None:
        """Record further events."""
        self._rounds += 1
        now = datetime.now(UTC).replace(microsecond=0)
        events = self._make(count, f"round-{self._rounds}", now)
        self.site.record(events, self._clock)
        self.events += events

    def attempt(self, **plan: Any) -> Ended:
        """Run a child; what the plan names may be reached or not."""
        ended = self.children.run(**plan)
        for ids in ended.offered:
            self.given.update(ids)
        return ended

    def die(self, **plan: Any) -> Ended:
        """Run a child that dies.

        Raises:
            AssertionError: it did not.
        """
        ended = self.attempt(**plan)
        if ended.killed_at is None:
            raise AssertionError(
                f"the child should have died ({plan}), and never came there: {ended.words()}"
            )
        return ended

    def finish(self, **plan: Any) -> Ended:
        """Run a child to its end.

        Raises:
            AssertionError: it could not deliver everything.
        """
        ended = self.attempt(**plan)
        if ended.returncode != 0:
            raise AssertionError(f"`meter run --once` did not finish: {ended.words()}")
        return ended

    def delivered(self) -> list[Event]:
        """Return the events that the journal takes for delivered."""
        return self.site.delivered(self._clock, self.events)
