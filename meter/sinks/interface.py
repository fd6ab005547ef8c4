"""The sink interface: what delivery promises a sink, and what a sink promises back."""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import logging

    from meter.clock import Clock
    from meter.events import Event
    from meter.http import Route
    from meter.sinks import options as _options
    from meter.sinks.reading import Comparison, Deliveries, Elsewhere, Total, Written

__all__ = [
    "Batch",
    "Guarantee",
    "Later",
    "Position",
    "Report",
    "Sink",
    "SinkContext",
    "SinkState",
    "StateWrite",
]


class Guarantee(Enum):
    """What a sink promises about an event that is delivered again after a crash.

    The value is what `meter plugins` and `meter check` print.
    """

    ATOMIC = "atomic with checkpoint"
    """Rows and checkpoint are one transaction of the destination: never twice, never short."""
    REPAIRS = "repairs on open"
    """A crash may leave a tail beyond the checkpoint; `open` cuts it back before going on."""
    IDEMPOTENT = "idempotent by event id"
    """The destination takes each event id once, for ever: a repeat changes nothing."""
    WINDOW = "idempotent within a window"
    """The destination refuses a repeated event id, but only for a time."""
    AT_LEAST_ONCE = "at least once"
    """After a crash an event may arrive twice; the destination must cope."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call of `Sink.deliver` is given. Never empty.

    Attributes:
        events: in journal order, each event id once.
        offsets: the journal offset of each event, in the same order.
        checkpoint: once every event here is delivered, everything up to this offset is
            settled for this sink. It may lie beyond the last offset (filtered events), and
            stays where it was for a retry or a replay.
        purpose: `new` in order above the checkpoint; `retry` of events set aside earlier;
            `replay` of what was delivered once. Retries and replays are out of order.
    """

    events: Sequence[Event]
    offsets: Sequence[int]
    checkpoint: int
    purpose: Literal["new", "retry", "replay"] = "new"


@dataclass(frozen=True, slots=True)
class StateWrite:
    """One write to a sink's durable state; made by `SinkState.put` and `SinkState.delete`."""

    scope: str
    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Later:
    """An event that is on its way: why it is not there yet, and when the sink wants it again."""

    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What a sink says became of a batch, by event id. What it does not mention is retried.

    Attributes:
        delivered: safe at the destination now.
        duplicate: was there already; counts as delivered.
        held: cannot be placed until a person or a mapping frees it, with the reason; offered
            again after a minute, then ever more rarely, up to an hour.
        later: on its way or waiting for its time; offered again at the time that is named. It
            is no failure, and `meter run --once` waits for what is due within a minute or so.
        rejected: refused for good, with the reason; becomes a dead letter.
        recall: events, *not* of this batch, that were delivered once and that the destination
            turned out not to have, with the reason: they are offered again at once. Only what
            was delivered is recalled; other names are ignored.
        hasten: offer everything that is held or waiting again at once: what stood in its way
            may be gone (a mapping changed).
        state: writes to the sink's durable state, committed **in the same transaction** as
            this report and the checkpoint.
    """

    delivered: Collection[str] = ()
    duplicate: Collection[str] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    later: Mapping[str, Later] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    recall: Mapping[str, str] = field(default_factory=dict)
    hasten: bool = False
    state: Sequence[StateWrite] = ()

    @classmethod
    def everything(cls, batch: Batch, *, state: Sequence[StateWrite] = ()) -> Report:
        """Return the report of a batch that was delivered whole."""
        return cls(delivered=[event.event_id for event in batch.events], state=state)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a sink stands by its own books, read from the destination on open.

    Attributes:
        journal_id: the journal that it was filled from.
        checkpoint: of the last batch with purpose `new` that it committed.
        delivered: how many events it ever took, each once; None if it does not count. Fewer
            than the journal knows of means that an older copy was restored.
    """

    journal_id: str
    checkpoint: int
    delivered: int | None = None


class SinkState(Protocol):
    """A sink's own durable state, kept in the journal's database.

    An ordered map of text keys to text values, within one scope. The default scope belongs
    to the sink's name in the pipelines file; `scoped` opens one that is shared by every sink
    of this type, for state that must survive a renaming.
    """

    def get(self, key: str) -> str | None:
        """Return the value under a key, or None."""

    def get_many(self, keys: Collection[str]) -> dict[str, str]:
        """Return the values of those keys that are there, from one moment."""

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> list[tuple[str, str]]:
        """Return up to `limit` pairs in key order: keys with the prefix, beyond `after`."""

    def put(self, key: str, value: str) -> StateWrite:
        """Make a write for `commit` or `Report.state`; nothing is stored yet."""

    def delete(self, key: str) -> StateWrite:
        """Make a deletion for `commit` or `Report.state`; nothing is stored yet."""

    def commit(self, writes: Iterable[StateWrite]) -> None:
        """Store writes in one transaction of their own; durable when this returns.

        A call of the sink that takes long is not taken for one that hangs while it does so now
        and then.

        Raises:
            JournalUnavailable: nothing was stored.
        """

    def scoped(self, scope: str) -> SinkState:
        """Return the state of another scope of this sink's type."""


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink may use of meter.

    Attributes:
        name: the sink's name in the pipelines file.
        journal_id: names the journal; keep it beside a checkpoint of your own.
        state: durable state of your own.
        clock: ask it for the time instead of the machine.
        log: already carries the sink's name.
        stopping: tells that meter wants to end: a delivery that takes long should return what
            it has; what it does not mention is offered again by the next run.
        flushing: tells that everything should leave now (`meter run --once`), whatever pace a
            sink keeps otherwise.
    """

    name: str
    journal_id: str
    state: SinkState
    clock: Clock
    log: logging.LoggerAdapter[logging.Logger]
    stopping: Callable[[], bool] = lambda: False
    flushing: Callable[[], bool] = lambda: False


class Sink(ABC):
    """Delivers batches outward. Subclass it, and return the class from `meter_register_sinks`.

    One instance serves one entry under `sinks:`. Every call comes from one thread that
    belongs to this instance alone: blocking delays this sink and nothing else.

    Not promised: that `close` is ever called (the process may be killed), that a batch comes
    only once, or that events are in order of time.
    """

    type: ClassVar[str]
    """What stands as `type:` in the pipelines file."""
    guarantee: ClassVar[Guarantee]
    guarantee_note: ClassVar[str] = ""
    """One sentence on how the guarantee is kept, or where it ends."""
    exemptions: ClassVar[Mapping[str, str]] = {}
    """The cases of `meter.testing.SinkConformance` that this sink cannot pass: the name of the
    case, and one sentence that says why. Users read them in `meter check` and `meter plugins`."""
    mending: ClassVar[str] = ""
    """One sentence for `meter reconcile`: what puts rows right that are missing at the destination,
    or differ there, where `meter replay` alone does not."""
    Options: ClassVar[builtins.type[_options.Options]]
    """The options model; see `meter.sinks.Options`."""
    batch_size: ClassVar[int] = 500
    """The most events in one batch."""
    default_start: ClassVar[Literal["beginning", "now"]] = "beginning"
    """Where a new sink starts when `start:` is not given."""

    def __init__(self, options: Any, context: SinkContext) -> None:
        """Keep what is needed; touch nothing outside yet."""
        self.options = options
        self.context = context

    def open(self) -> Position | None:
        """Connect, repair what a crash left, and get ready; called before the first batch.

        Returns:
            Where this sink stands, if the destination keeps that itself; otherwise None.

        Raises:
            FatalSinkError: parks the sink. Anything else is tried again later.
        """
        return None

    @abstractmethod
    def deliver(self, batch: Batch) -> Report:
        """Deliver a batch and say what became of each event.

        A sink that keeps its own checkpoint may be given again what lies at or below it, if
        the process died before the report was recorded: answer `duplicate` for those, but only
        where the purpose is `new`. A retry lies below it as well, and was never delivered.

        Raises:
            RetryableSinkError: the whole batch later.
            FatalSinkError: parks the sink, keeps everything.
        """

    def tend(self) -> Report | None:
        """Do what is due beside deliveries, such as checking the destination's own books.

        Called about once a second in the sink's thread while it is open, also when there is
        nothing to deliver; return quickly when nothing is due. Errors count as for `deliver`.

        Returns:
            A report with `recall`, `hasten` and `state` only, or None.
        """
        return None

    def status(self) -> Sequence[str]:
        """Say what a person should know of this sink, a line each, for `meter status`.

        Called on an instance that was never opened, perhaps in another process and beside the
        running one: read `context.state`, touch nothing outside.
        """
        return ()

    def explain(self, reference: str) -> Sequence[str]:
        """Say what became of one event, a line each, for `meter events`.

        Called like `status`.

        Args:
            reference: an event id, or a name under which the destination knows something.

        Returns:
            Nothing when this sink does not know the reference.
        """
        del reference
        return ()

    def routes(self) -> Sequence[Route]:
        """Return HTTP routes of this sink's own, for what its destination sends back.

        Called once, on an instance that is never opened. A handler runs in the server's event
        loop: keep what came in `context.state` (`await asyncio.to_thread(state.commit, …)`)
        before answering 2xx, and act on it in `tend`.
        """
        return ()

    def check(self) -> Sequence[str]:
        """Try keys, addresses and paths for `meter check --connect`, and say what was found.

        Called like `status`, but may reach outside; it changes nothing there. A line that begins
        with `warning: ` is shown as such.

        Raises:
            SinkError: what is wrong, and what to do; a line for each thing.
        """
        return ()

    def totals(self) -> Sequence[Total]:
        """Ask the destination for its own sums, beside what was delivered to it.

        Called like `check`. Nothing, the default: the destination cannot be asked.
        """
        return ()

    def written(
        self, since: datetime | None, until: datetime | None
    ) -> Iterable[Written | Elsewhere] | None:
        """Read the destination's rows back for `meter reconcile`, one by one and in any order.

        Called like `status`, but reads outside; the running process may be writing at the same
        time. Never open the destination for writing, and repair nothing. Keep no more than some
        rows in memory. What stands there is wanted, not what should: a row twice is yielded twice.
        Where no destination was made yet, there are no rows.

        Args:
            since: only usage from then on is asked for, UTC; others may be yielded as well.
            until: only usage before then; likewise.

        Returns:
            None, the default: the destination has no rows that can be read back.

        Raises:
            SinkError: it cannot be read now, here or while it is iterated over; and what to do.
        """
        del since, until
        return None

    def compared(
        self, deliveries: Deliveries, since: datetime | None, until: datetime | None
    ) -> Comparison | None:
        """Compare what was delivered with what the destination counts, for `meter reconcile`.

        For a destination that keeps sums and no rows; one with `written` is compared by meter.
        Called like `check`.

        Args:
            deliveries: what the journal knows of this sink's events.
            since: usage from then on, UTC; None: as far back as makes sense.
            until: usage before then; None: up to now.

        Returns:
            None, the default: the destination cannot be asked.

        Raises:
            SinkError: it does not answer; and what to do.
        """
        del deliveries, since, until
        return None

    @classmethod
    def sandboxed(cls, options: Any, doubles: Mapping[str, str]) -> Any:
        """Return options that reach nothing but this machine, for `meter run --sandbox`.

        Args:
            options: as the pipelines file has them, with every path inside a fresh folder.
            doubles: the addresses of local doubles by provider, such as `assemblyai`.

        Returns:
            The options to use; a sink that writes to files only returns them as they are.
            None, the default: this sink has no sandbox, and `--sandbox` refuses the file.
        """
        del options, doubles

    def close(self) -> None:  # noqa: B027  most sinks have nothing to let go of
        """Let go of files and connections; called at most once, perhaps never."""
