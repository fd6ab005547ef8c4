"""What people did to events and to what is in quarantine: who, when, what, and why."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from meter.journal.records import Ticket

__all__ = ["Act", "Acts", "NewAct", "What"]

What = Literal["retry", "discard", "replay", "assign", "repair", "prune"]
"""What meter's own commands do; a sink's commands have words of their own."""


@dataclass(frozen=True, slots=True)
class NewAct:
    """Who does something, and why; it is recorded in the transaction that does it.

    Attributes:
        who: login name and host.
        reason: in that person's words; empty where none was asked for.
    """

    who: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a person did.

    Attributes:
        at: when, UTC.
        sink: of which sink the events are meant; None for what is about none.
        entry: the id in quarantine; None for what is about events only.
        events: to how many events it was done.
        first: the id of the first of them; None when there is none.
    """

    at: datetime
    who: str
    what: str
    sink: str | None
    entry: int | None
    events: int
    first: str | None
    reason: str


class Acts(ABC):
    """The acts in one journal. Methods may be called from any thread."""

    @abstractmethod
    def record(
        self, act: NewAct, what: str, at: datetime, *, sink: str, touched: Collection[int]
    ) -> Ticket[None]:
        """Record what was done for a sink, to events at these offsets, where a plugin did it."""

    @abstractmethod
    def newest(self, limit: int, *, sink: str | None = None) -> Sequence[Act]:
        """Return what was done last, the newest first."""

    @abstractmethod
    def of_event(self, offset: int) -> Sequence[Act]:
        """Return what was done to one event, the oldest first."""

    @abstractmethod
    def of_entry(self, entry: int) -> Sequence[Act]:
        """Return what was done to something in quarantine, the oldest first."""
