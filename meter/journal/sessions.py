"""Streaming sessions in a journal: opened by Begin, ended exactly once.

A session is in one state: `open` until its Termination is known, then `closed`; `abandoned` when
none can come any more, `quarantined` when it came and cannot be used. Recording a
`StreamTerminated` closes its session in the same transaction, whichever way the event came, and
so does a `StreamAbandoned`; the truth, should it come after all, closes an abandoned one too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from meter.events import StreamAbandoned
    from meter.journal.records import Quarantined, Recorded, Ticket

__all__ = ["NewSession", "Opening", "Session", "SessionState", "Sessions"]

SessionState = Literal["open", "closed", "abandoned", "quarantined"]


@dataclass(frozen=True, slots=True)
class Opening:
    """A session that was asked of the provider, before its Begin.

    Attributes:
        token_id: a single-use token that it spends; None spends nothing.
        token_until: when that token expires, so that it need not be remembered for longer.
    """

    collector: str
    customer_id: str
    dimensions: Mapping[str, str]
    at: datetime
    token_id: str | None = None
    token_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewSession:
    """What Begin says, and whose session it is.

    Attributes:
        provider_id: the session's id at the provider.
        started_at: when Begin came, UTC.
        expires_at: when it has ended at the latest, UTC.
        opening: the id of the opening that this settles.
    """

    provider_id: str
    collector: str
    customer_id: str
    started_at: datetime
    expires_at: datetime
    dimensions: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    opening: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """What the journal keeps of one streaming session.

    Attributes:
        lower_seconds: it has lasted at least so long, by its latest Heartbeat.
        upper_seconds: it lasted at most so long; only on an abandoned one.
        seconds: what was billed; only on a closed one.
        ended_at: when its end became known, UTC.
    """

    provider_id: str
    collector: str
    customer_id: str
    dimensions: Mapping[str, str]
    model: str | None
    started_at: datetime
    expires_at: datetime
    lower_seconds: Decimal
    state: SessionState
    ended_at: datetime | None
    seconds: Decimal | None = None
    upper_seconds: Decimal | None = None


class Sessions(ABC):
    """The sessions of one journal."""

    @abstractmethod
    def add_opening(self, opening: Opening) -> Ticket[int | None]:
        """Note that a session is about to be opened, before anything is sent.

        Answers the opening's id; None when its single-use token was used before, and then
        nothing was noted.
        """

    @abstractmethod
    def drop_opening(self, opening: int) -> Ticket[None]:
        """Forget an opening that came to nothing; its token may be used again."""

    @abstractmethod
    def open(self, session: NewSession) -> Ticket[Recorded]:
        """Open a session, and settle its opening.

        The same id for the same customer is a duplicate: the first stands, its bounds too. For
        another customer it is a conflict: quarantined, and the first stands.
        """

    @abstractmethod
    def lengthen(self, bounds: Iterable[tuple[str, Decimal]]) -> Ticket[None]:
        """Raise lower bounds, given as (provider id, seconds); they never sink."""

    @abstractmethod
    def abandon(self, event: StreamAbandoned) -> Ticket[Recorded | None]:
        """Record that no Termination will come; None, and nothing, when it is not open any more."""

    @abstractmethod
    def set_aside(
        self, provider_id: str, item: Quarantined, *, customer_id: str | None = None
    ) -> Ticket[None]:
        """Quarantine what ended a session; one that is open waits there from now on.

        With a customer, only if it is that customer's.
        """

    @abstractmethod
    def openings(self, collector: str) -> Sequence[tuple[int, Opening]]:
        """Return the openings that are not settled, with their ids."""

    @abstractmethod
    def set_opening_aside(self, opening: int, item: Quarantined) -> Ticket[None]:
        """Quarantine what an opening came to; its token stays used."""

    @abstractmethod
    def find(self, provider_id: str) -> Session | None:
        """Return one session by the provider's id."""

    @abstractmethod
    def list(
        self,
        *,
        states: Sequence[SessionState] = (),
        collector: str | None = None,
        customer_id: str | None = None,
        limit: int,
    ) -> Sequence[Session]:
        """Return sessions, the newest first; no states means all."""

    @abstractmethod
    def collectors(self) -> frozenset[str]:
        """Return the names of all collectors that ever had a session."""

    @abstractmethod
    def overdue(self, before: datetime, *, limit: int) -> Sequence[Session]:
        """Return open sessions that expired before a time, the longest ago first."""
