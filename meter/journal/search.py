"""Finding events by what they say and where they stand, and what came in about one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from meter.events import Event
    from meter.journal.records import StoredEvent

__all__ = ["STATES", "Came", "Search", "State", "Wanted"]

State = Literal["delivered", "pending", "held", "retrying", "dead", "discarded", "filtered"]
STATES: Final = ("delivered", "pending", "held", "retrying", "dead", "discarded", "filtered")
"""Where an event can stand for a sink."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are looked for; what is None does not matter.

    Attributes:
        since, until: when the usage occurred, UTC, to the second: from `since` on, before `until`.
        sink, state: where it stands for a sink; both or neither.
    """

    customer_id: str | None = None
    kind: str | None = None
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    sink: str | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Came:
    """A receipt that spoke of an event.

    Attributes:
        outcome: what it became; `open` while it is worked on.
        attempts: how often asking the provider failed.
        error: the last failure; None when there was none.
    """

    id: int
    collector: str
    received_at: datetime
    outcome: str
    attempts: int
    error: str | None


class Search(ABC):
    """Looks through one journal. Methods may be called from any thread.

    Raises:
        JournalUnavailable: it cannot be read now; try again.
    """

    @abstractmethod
    def newest(self, wanted: Wanted, limit: int, *, before: int | None = None) -> list[StoredEvent]:
        """Return events, the newest first, with an offset before another one."""

    @abstractmethod
    def after(self, wanted: Wanted, offset: int, limit: int) -> tuple[list[StoredEvent], int]:
        """Return events beyond an offset, in order, and how far was looked.

        At most `limit` events of the journal are looked at.
        """

    @abstractmethod
    def nearest(self, event_id: str, limit: int = 3) -> list[str]:
        """Return the ids of events that begin as this text does, as far as any does."""

    @abstractmethod
    def receipts(self, event: Event) -> Sequence[Came]:
        """Return the receipts that spoke of an event, the oldest first.

        Without those of duplicates that an older meter settled.
        """
