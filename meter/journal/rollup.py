"""Usage added up beside the events, so that a sum over all of them reads few rows.

The events are the truth. The rollup follows them by offset: what it holds and how far it has
come are written in one transaction, so a crash anywhere counts no event twice and none never.
What it has not reached yet is added by whoever asks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

__all__ = [
    "NANOS",
    "QUARTER_SECONDS",
    "Amount",
    "Calendar",
    "Measured",
    "Period",
    "Piece",
    "Reduce",
    "Rollup",
    "Series",
]

NANOS: Final = 1_000_000_000
"""Nanoseconds in a second: an event's seconds have at most 9 decimals (DESIGN §4)."""
QUARTER_SECONDS: Final = 900
"""The finest that the rollup knows: every zone in use today is off UTC by a multiple of it."""

Period = str | None
"""A day or a month, such as `2026-11`; None where time does not matter."""


class Series(NamedTuple):
    """What is told apart: whatever a rate can depend on, and whose usage it is."""

    customer_id: str
    kind: str
    model: str | None
    features: tuple[str, ...]


class Amount(NamedTuple):
    """Some events added up: how many, and their billed time in nanoseconds, exact."""

    events: int
    nanos: int


Reduce = Callable[[Series], Series | None]
"""Makes alike what need not be told apart, or answers None for what is not wanted."""


class Measured(NamedTuple):
    """One event, as far as it matters here; `at` is in whole seconds since 1970, UTC."""

    offset: int
    at: int
    series: Series
    nanos: int
    dimensions: Mapping[str, str]


class Piece(NamedTuple):
    """A span of time that belongs to one period; seconds since 1970, the end is beyond it."""

    start: int
    end: int
    period: Period


class Calendar(Protocol):
    """Says to which period each moment belongs, and which moments are wanted at all."""

    def pieces(self, start: int, end: int) -> list[Piece]:
        """Cut a UTC day, given in seconds since 1970, into what is wanted of it, in order."""


class Rollup(ABC):
    """The sums of a journal's billed usage, and the counts of what is never billed."""

    @abstractmethod
    def behind(self) -> int:
        """Return how many offsets lie beyond what is added up."""

    @abstractmethod
    def catch_up(self, most: int) -> int:
        """Add up to `most` further events in one short transaction; answer how many.

        0 when there are none, and when another process was quicker: ask `behind` again.

        Raises:
            JournalUnavailable: nothing was written.
        """

    @abstractmethod
    def amounts(
        self, calendar: Calendar, reduce: Reduce
    ) -> dict[tuple[Period, Series], Amount] | None:
        """Add up everything up to now, by period and reduced series, from one consistent moment.

        Returns:
            None when the calendar cuts a quarter of an hour: then only the events can tell.
        """

    @abstractmethod
    def read(self, after: int, limit: int) -> list[Measured]:
        """Return up to `limit` events with an offset beyond `after`, in order."""
