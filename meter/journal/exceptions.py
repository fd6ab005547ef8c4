"""The exceptions to the sinks' checkpoints: what is below one and not settled, or was not once.

An exception is `retrying` (offered again when due), `held` (as `retrying`, but what it waits for
is a person or a mapping), `dead` (a dead letter), `discarded` (a dead letter that a person gave up:
nothing is to be done about it), or `delivered` in the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from meter.events import Event
    from meter.journal.acts import NewAct
    from meter.journal.records import SetAside, SinkRow, Ticket
    from meter.sinks import StateWrite

__all__ = ["Delivered", "ExceptionRow", "ExceptionState", "Exceptions", "Place", "Reason"]

ExceptionState = Literal["retrying", "held", "dead", "discarded", "delivered"]


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """One exception, with its event.

    Attributes:
        attempts: how often the sink was offered it and failed or refused.
        first_at, changed_at: when it was set aside (of a held one: when it was first held), and
            last changed, UTC.
        next_at: when it is due; None when nothing more happens by itself.
        put_off: it is retrying only because the sink wants it again at that time (`later`):
            nothing has gone wrong.
        replay: it was delivered once, and a person has it delivered again.
    """

    sink: str
    offset: int
    event: Event
    state: ExceptionState
    reason: str
    attempts: int
    first_at: datetime
    changed_at: datetime
    next_at: datetime | None
    put_off: bool = False
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Reason:
    """How many exceptions of one sink have the same state and reason.

    Attributes:
        put_off: they merely wait for their time; see `ExceptionRow`.
        first: the id of the one that was recorded first.
    """

    sink: str
    state: ExceptionState
    reason: str
    count: int
    put_off: bool
    first: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where one event stands for one sink.

    Attributes:
        state: one of the exceptions', or `pending`, `filtered`, `delivered`.
        row: the exception, where there is or was one.
    """

    sink: str
    state: str
    row: ExceptionRow | None


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivery to a sink: when, of what, and with how many events.

    Attributes:
        purpose: `start` (it was offered nothing), `new`, `retry` or `replay`.
        first, last: the range of offsets that it was about.
        delivered: how many events the sink took.
    """

    at: datetime
    purpose: str
    first: int
    last: int
    delivered: int


class Exceptions(ABC):
    """The exceptions of one journal. Methods may be called from any thread."""

    @abstractmethod
    def due(self, sink: str, now: datetime, limit: int) -> list[SetAside]:
        """Return the retrying and held events of a sink whose time has come, longest due first."""

    @abstractmethod
    def next_due(self, sink: str, *, put_off: bool = False) -> datetime | None:
        """Return when the next retrying or held event is due; or the next that is put off."""

    @abstractmethod
    def hasten(
        self,
        sink: str,
        now: datetime,
        states: Collection[str] = ("retrying",),
        *,
        put_off: bool = True,
    ) -> Ticket[None]:
        """Make events of these states due now: what stood in their way may be gone.

        Args:
            sink: whose.
            now: the time.
            states: `retrying`, `held`, or both.
            put_off: those too that merely wait for the time that the sink named.
        """

    @abstractmethod
    def recall(
        self, sink: str, reasons: Mapping[str, str], now: datetime, state: Iterable[StateWrite] = ()
    ) -> Ticket[list[str]]:
        """Offer delivered events again, by event id, with the reason; answers which were.

        What is pending, filtered, or an exception already stays as it is. `state` is written in
        the same transaction.
        """

    @abstractmethod
    def redrive(
        self, sink: str, wanted: Collection[int], now: datetime, act: NewAct | None = None
    ) -> Ticket[int]:
        """Offer dead letters again, by offset, discarded ones too; answers how many there were."""

    @abstractmethod
    def discard(
        self, sink: str, wanted: Collection[int], now: datetime, act: NewAct
    ) -> Ticket[int]:
        """Give up dead letters, by offset; answers how many were dead.

        In the balance they stay dead letters.
        """

    @abstractmethod
    def replay(
        self, sink: str, wanted: Collection[int], now: datetime, act: NewAct
    ) -> Ticket[list[int]]:
        """Offer delivered events again, by offset, as a replay; answers which were delivered.

        As `recall`, but the sink is told that it had them (`Batch.purpose`).
        """

    @abstractmethod
    def deliveries(self, sink: str, offset: int) -> Sequence[Delivered]:
        """Return the deliveries to a sink that an event was in, the oldest first.

        The first that offered it, and those that delivered it later.
        """

    @abstractmethod
    def rows(
        self,
        *,
        sinks: Collection[str] = (),
        states: Collection[str] = (),
        after: tuple[str, int] = ("", 0),
        limit: int = 1000,
    ) -> list[ExceptionRow]:
        """Return exceptions in order of sink and offset, beyond `after`; empty filters mean all."""

    @abstractmethod
    def reasons(self, limit: int = 20) -> list[Reason]:
        """Count what is held, retrying or dead, by reason: the `limit` most frequent of each."""

    @abstractmethod
    def places(self, event_id: str) -> list[Place]:
        """Return where an event stands for each sink that ever ran; empty for an unknown id."""

    # -- where a sink stands, for what is no exception --------------------------------------

    @abstractmethod
    def sink(self, name: str) -> SinkRow | None:
        """Return what the journal keeps of a sink; None before it first ran."""

    @abstractmethod
    def start(self, name: str) -> int:
        """Return the offset up to which the sink was never given anything (`start: now`)."""

    @abstractmethod
    def filtered(self, name: str, first: int, last: int) -> Iterator[range]:
        """Yield which offsets from `first` to `last` were filtered out, ascending."""
