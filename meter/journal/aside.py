"""What is in quarantine, for people: looked at, asked for again, assigned, or discarded.

An entry is `open` until something becomes of it: `recorded` when its event came after all, by
whatever way; `assigned` when a person said whose it is; `discarded` when a person said that it
is nobody's, or is no usage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from meter.events import Event
    from meter.journal.acts import NewAct
    from meter.journal.records import NewReceipt, Recorded, Ticket
    from meter.journal.sessions import NewSession

__all__ = ["Aside", "Entry", "EntryState", "NotDone"]

EntryState = Literal["open", "recorded", "assigned", "discarded"]


class NotDone(Exception):
    """Something in quarantine is not as it has to be for this; the text says how it is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in quarantine.

    Attributes:
        key: what makes it the same thing when it comes again, within its collector.
        payload: JSON with everything meter has of it.
        fetched: false when the provider never told what it is about.
        times: how often it came.
        first_at, last_at: when it came first and last, UTC.
    """

    id: int
    collector: str
    key: str
    reason: str
    provider_id: str | None
    payload: str
    fetched: bool
    state: EntryState
    times: int
    first_at: datetime
    last_at: datetime


class Aside(ABC):
    """What is in quarantine in one journal. Methods may be called from any thread.

    Every write is one short transaction, with the act in it; it raises (on the ticket) `NotDone`
    when the entry is not open any more, and then nothing is stored.
    """

    @abstractmethod
    def entries(
        self,
        *,
        states: Collection[str] = ("open",),
        collector: str | None = None,
        why: str | None = None,
        provider_id: str | None = None,
        limit: int,
    ) -> Sequence[Entry]:
        """Return entries, the newest first; no states means all.

        Args:
            states: of these states.
            collector: only what it set aside.
            why: only those whose reason has this in it, in any case.
            provider_id: only what speaks of this transcript or session.
            limit: the most.
        """

    @abstractmethod
    def find(self, entry: int) -> Entry | None:
        """Return one entry."""

    @abstractmethod
    def nearest(self, entry: int) -> Sequence[Entry]:
        """Return the entries whose ids are next to one that is none, at most two."""

    @abstractmethod
    def discard(self, entry: int, now: datetime, act: NewAct) -> Ticket[None]:
        """Close an entry that is nobody's usage."""

    @abstractmethod
    def assign(self, entry: int, event: Event, now: datetime, act: NewAct) -> Ticket[Recorded]:
        """Record the event that an entry turned out to be, and close it.

        Raises (on the ticket):
            NotDone: also when the event would be a conflict; then nothing is stored.
        """

    @abstractmethod
    def begin(self, entry: int, session: NewSession, now: datetime, act: NewAct) -> Ticket[None]:
        """Open the session whose Begin an entry is, and close it.

        Raises (on the ticket):
            NotDone: also when the session is another customer's; then nothing is stored.
        """

    @abstractmethod
    def ask_again(
        self, entry: int, receipt: NewReceipt, now: datetime, act: NewAct
    ) -> Ticket[None]:
        """Have the receipt of an entry worked on again; it stays open until that has an end.

        Raises (on the ticket):
            NotDone: also when it is being worked on already.
        """
