"""How a journal stands, at a cost that does not grow with the events in it; and its commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from meter.figures import LATENCY_NANOS, Histogram

if TYPE_CHECKING:
    from meter.journal.records import Balance

__all__ = ["Commits", "Standing", "Waiting"]


@dataclass(slots=True)
class Commits:
    """What the writer of this process has committed; only its own thread writes this.

    Attributes:
        nanos: how long each commit took, from the begin of its transaction.
        writes: how many writes shared each commit.
        failed: how many groups could not be stored.
    """

    nanos: Histogram = field(default_factory=lambda: Histogram(LATENCY_NANOS))
    writes: Histogram = field(
        default_factory=lambda: Histogram((1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024))
    )
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """The receipts of one collector that are not settled.

    Attributes:
        oldest: when the first of them was received, UTC.
    """

    count: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What gauges show of a journal, from one consistent moment.

    Attributes:
        events: by kind, how many there are.
        receipts: by collector, those that are open.
        quarantined: by collector, how many things ever came into quarantine.
        conflicts: by collector, how many of those were conflicts.
        quarantine_open: by collector, how many wait there.
        sessions_open: by collector.
        cursors: by collector, in its own words.
        troubles: by collector, why it cannot work.
        balances: of every sink that ever ran.
        file_bytes: the size of the `database` and of its `log`.
    """

    events: Mapping[str, int]
    receipts: Mapping[str, Waiting]
    quarantined: Mapping[str, int]
    conflicts: Mapping[str, int]
    quarantine_open: Mapping[str, int]
    sessions_open: Mapping[str, int]
    cursors: Mapping[str, str]
    troubles: Mapping[str, str]
    balances: Sequence[Balance]
    file_bytes: Mapping[str, int]
