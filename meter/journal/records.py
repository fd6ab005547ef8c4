"""The frozen rows that go into and come out of a journal."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from meter.events import Event
    from meter.sinks import StateWrite

__all__ = [
    "Balance",
    "JournalTotals",
    "NewReceipt",
    "Quarantined",
    "Receipt",
    "Recorded",
    "Retry",
    "SetAside",
    "Settlement",
    "SinkRow",
    "StoredEvent",
    "Ticket",
    "Watched",
]

T = TypeVar("T")


class Ticket(Generic[T]):
    """A write on its way to the disk: `await` it under asyncio, or `wait()` in a thread.

    Attributes:
        loop: the event loop that waits; None for a thread.
        future: what the backend resolves; under asyncio from that loop only.

    It resolves after the commit that made the write durable, or raises what went wrong
    (`JournalUnavailable` when nothing was stored).
    """

    __slots__ = ("future", "loop")

    def __init__(self) -> None:
        """Belong to the running loop, if there is one, and otherwise to any thread."""
        try:
            self.loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self.loop = None
            self.future: Any = Future()
        else:
            self.future = self.loop.create_future()

    def __await__(self) -> Generator[Any, None, T]:
        """Wait under the loop that made the ticket."""
        return self.future.__await__()  # type: ignore[no-any-return]  # an asyncio future of T

    def wait(self, timeout: float | None = None) -> T:
        """Block this thread until the write is durable; `timeout` in seconds."""
        return self.future.result(timeout)  # type: ignore[no-any-return]  # a thread future of T


class Recorded(Enum):
    """What became of an event that was offered to the journal."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    """The same fact again: success, nothing written."""
    CONFLICT = "conflict"
    """The same fact with another customer or quantity: quarantined, the first one stands."""


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """A webhook delivery before it is understood.

    Attributes:
        query: the query string as received; names the customer and the dimensions.
        fields: JSON of the allow-listed fields of the body, never the body.
    """

    collector: str
    received_at: datetime
    query: str
    fields: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """A stored webhook delivery that is not settled yet."""

    id: int
    collector: str
    received_at: datetime
    query: str
    fields: str
    attempts: int
    first_error_at: datetime | None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Something received that cannot become an event yet.

    Attributes:
        key: what makes it the same thing when it comes again, within its collector.
        payload: JSON with everything meter has of it, from the allow-list.
        provider_id: the transcript or session it speaks of, where known. When its event is
            recorded after all, by whatever way, this is closed.
        fetched: false when the provider never told what it is about, so that it is worth
            asking again.
    """

    collector: str
    key: str
    reason: str
    payload: str
    provider_id: str | None = None
    fetched: bool = True


@dataclass(frozen=True, slots=True)
class Watched:
    """A transcript that a backfill saw and need not fetch again, or must come back to."""

    provider_id: str
    state: Literal["unfinished", "foreign"]
    created: datetime


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and its place in the journal."""

    offset: int
    event: Event


@dataclass(frozen=True, slots=True)
class Retry:
    """An event that a sink will be offered again."""

    reason: str
    next_at: datetime


@dataclass(frozen=True, slots=True)
class SetAside:
    """An event below a sink's checkpoint that is not settled: retrying or held, and due.

    Attributes:
        replay: it was delivered once, and a person has it delivered again.
    """

    offset: int
    event: Event
    state: str
    attempts: int
    tried_at: datetime
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of one delivery, written in one transaction with the checkpoint.

    Attributes:
        checkpoint: the sink's checkpoint from now on; None leaves it (retry, replay).
        delivered, filtered: journal offsets.
        held: offset to the reason; when it is due follows from how long it has been held.
        retrying, later: offset to what happens next; `later` is no failure.
        rejected: offset to the reason.
        recall: event ids to the reason; see `Exceptions.recall`.
        hasten: everything held or retrying is due now.
    """

    sink: str
    purpose: Literal["new", "retry", "replay", "tend"]
    checkpoint: int | None
    at: datetime
    delivered: Sequence[int] = ()
    filtered: Sequence[int] = ()
    held: Mapping[int, str] = field(default_factory=dict)
    retrying: Mapping[int, Retry] = field(default_factory=dict)
    later: Mapping[int, Retry] = field(default_factory=dict)
    rejected: Mapping[int, str] = field(default_factory=dict)
    recall: Mapping[str, str] = field(default_factory=dict)
    hasten: bool = False
    state: Sequence[StateWrite] = ()


@dataclass(frozen=True, slots=True)
class SinkRow:
    """What the journal keeps of one sink.

    Attributes:
        not_before: usage that occurred earlier is filtered, from `start: <date>`.
        parked: why the sink stopped until a person acts, or None.
        trouble: why it fails as a whole, while it is tried again by itself; or None.
    """

    name: str
    type: str
    checkpoint: int
    delivered: int
    not_before: datetime | None
    parked: str | None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """Where every recorded event stands for one sink, each figure counted on its own.

    `recorded = delivered + filtered + dead_lettered + held + retrying + pending` (DESIGN §5).

    Attributes:
        oldest_unsettled: when the first of those that are pending, held or retrying was
            recorded, UTC; None when all is settled.
        parked: why the sink stopped until a person acts, or None.
        trouble: why it fails as a whole, while it is tried again by itself; or None.
        discarded: how many of the dead-lettered ones a person has given up.
    """

    sink: str
    type: str
    checkpoint: int
    recorded: int
    delivered: int
    filtered: int
    dead_lettered: int
    held: int
    retrying: int
    pending: int
    oldest_unsettled: datetime | None
    parked: str | None
    trouble: str | None = None
    discarded: int = 0

    @property
    def accounted(self) -> int:
        """The right-hand side of the sum."""
        return (
            self.delivered
            + self.filtered
            + self.dead_lettered
            + self.held
            + self.retrying
            + self.pending
        )

    @property
    def balances(self) -> bool:
        """Tell whether every recorded event has exactly one place."""
        return self.recorded == self.accounted


@dataclass(frozen=True, slots=True)
class JournalTotals:
    """What a journal holds, from one consistent moment."""

    events: Mapping[str, int]
    receipts: Mapping[str, int]
    quarantined: Mapping[str, int]
    balances: Sequence[Balance]
    oldest_open_receipt: datetime | None
    collectors: Mapping[str, str]
    """By collector name, why fetching stopped; empty when all is well."""
    foreign: Mapping[str, int]
    """By collector name, how many jobs a backfill saw that are not this collector's."""
    sessions: Mapping[str, int]
    """How many streaming sessions are `open` or `quarantined`; the others are events."""
