"""What a comparison finds, and how far it came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from meter.events import format_seconds

__all__ = [
    "GIVEN_UP",
    "WHATS",
    "Difference",
    "Entry",
    "Side",
    "Tell",
    "What",
    "Window",
    "exact",
    "micros",
    "moment_of",
]

Tell = Callable[[str], None]
"""Told now and then, in words, how far a comparison is."""
What = Literal["missing_here", "missing_there", "differs", "twice", "not_delivered", "unreadable"]
GIVEN_UP: Final = "given up in quarantine (who and why: meter acts)"
"""Why what a person has discarded is no difference."""
WHATS: Final[dict[What, str]] = {
    "missing_here": "missing here",
    "missing_there": "missing there",
    "differs": "differs",
    "twice": "more than once",
    "not_delivered": "not delivered",
    "unreadable": "unreadable",
}
"""What a difference can be, and how people read it. Here is the journal, there the other side."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """Usage of which time is compared: from `since` on, before `until`, UTC; None: no bound."""

    since: datetime | None = None
    until: datetime | None = None

    def has(self, at: datetime | None) -> bool:
        """Tell whether a moment lies within; one that nobody knows might."""
        if at is None:
            return True
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


class Entry(NamedTuple):
    """An event of the journal as a comparison needs it.

    Attributes:
        seconds: exact, as text; None on what is never billed.
        at: when it occurred, microseconds since 1970.
        started: when a session began, likewise; None where that is not known.
        states: where it stands for each sink, a letter each; see `journal_side`.
    """

    event_id: str
    offset: int
    kind: str
    customer_id: str
    seconds: str | None
    at: int
    provider: str
    provider_id: str
    collector: str
    started: int | None
    states: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same on both sides.

    Attributes:
        side: with whom the journal was compared.
        field: which field differs, or what is counted; empty where the whole is missing.
        journal, there: what either side says; empty where it says nothing.
        seconds: how many more there are there; negative: fewer; None where that cannot be told.
        place: where to look on the other side.
    """

    side: str
    what: What
    event_id: str = ""
    customer_id: str = ""
    kind: str = ""
    occurred_at: datetime | None = None
    field: str = ""
    journal: str = ""
    there: str = ""
    seconds: Decimal | None = None
    place: str = ""


@dataclass(slots=True)
class Side:
    """One side of the comparison, and what became of it.

    Attributes:
        name: as the user knows it: a collector, a file, a sink; `journal` for the journal.
        type: of the collector or the sink.
        part: what it is.
        state: `compared`; `unreadable`: it cannot be read back by anyone; `failed`: not this time.
        reason: why it was not compared.
        entries: how many events, jobs or rows there are in the window.
        seconds: their billed seconds; None where they were not read.
        compared: what was compared, in words.
        in_flight: on its way, by where it stands: no difference.
        left_out: not compared, by the reason.
        notes: what else a person should know.
        differences: how many were found, by what they are.
    """

    name: str
    type: str
    part: Literal["journal", "provider", "usage", "sink"]
    state: Literal["compared", "unreadable", "failed"] = "compared"
    reason: str = ""
    entries: int = 0
    seconds: Decimal | None = None
    compared: str = ""
    in_flight: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    differences: Counter[str] = field(default_factory=Counter)

    def fail(self, reason: str) -> None:
        """Note that it could not be compared to the end, and why."""
        self.state, self.reason = "failed", " ".join(reason.split())


def exact(seconds: Decimal) -> str:
    """Write seconds so that equal amounts are equal texts."""
    if seconds == seconds.to_integral_value():
        return format(seconds.to_integral_value(), "f")
    return format_seconds(seconds.normalize())


def micros(at: datetime) -> int:
    """Write a UTC time as microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def moment_of(at: int) -> datetime:
    """Read a UTC time from microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=at)
