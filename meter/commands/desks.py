"""What a command may use of one sink: its options, its state, and where its events stand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from meter.clock import SystemClock
from meter.commands.arguments import read_config
from meter.delivery import SinkWorker
from meter.delivery.contexts import unopened
from meter.delivery.filters import predicate_for
from meter.errors import ConfigurationError, JournalLocked
from meter.journal import open_journal

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import Config, SinkConfig
    from meter.events import Event
    from meter.journal import Journal, SinkRow
    from meter.plugins import Plugins
    from meter.sinks import SinkContext, StateWrite

__all__ = ["SinkDesk", "Standing", "sink_desk"]

PAGE: Final = 5_000
"""How many events are in memory at a time."""
DELIVERY_GRACE_SECONDS: Final = 8.0
"""For the batch in hand, when somebody presses Ctrl-C."""

Where = Literal["pending", "retrying", "held", "dead", "delivered", "filtered"]


@dataclass(frozen=True, slots=True)
class Standing:
    """One event, and where it stands for a sink.

    Attributes:
        reason: why it is not delivered; empty when nothing is the matter.
    """

    event: Event
    where: Where
    reason: str = ""


class SinkDesk:
    """One sink of a pipelines file, at rest: nothing is opened and nothing is delivered.

    Attributes:
        name: the sink's name in the file.
        sink: an instance that was never opened.
        context: what it was given; its state may be read and written.
        clock: tells the time.
    """

    def __init__(
        self,
        config: Config,
        entry: SinkConfig,
        *,
        journal: Journal,
        plugins: Plugins,
        clock: Clock,
    ) -> None:
        """Make the instance; `sink_desk` is the way to get one."""
        self.name = entry.name
        self.clock = clock
        self.sink: Any = unopened(entry, journal=journal, clock=clock)
        self.context: SinkContext = self.sink.context
        self._journal = journal
        self._plugins = plugins
        self._config = config
        self._entry = entry

    def row(self) -> SinkRow | None:
        """Return what the journal keeps of the sink; None before its first run."""
        return self._journal.exceptions.sink(self.name)

    def standings(self, *, unsettled: bool = False) -> Iterator[Standing]:
        """Yield the events that the sink's pipelines admit, in order, and where each stands.

        Args:
            unsettled: only those that are pending, retrying, held or dead.

        What was recorded before the sink first ran with `start: now` is left out, as is what its
        first run would skip.
        """
        row = self.row()
        start = self._entry.start or self._entry.extension.cls.default_start
        if row is None:
            if start == "now":
                return
            checkpoint, skipped, not_before = 0, 0, None if start == "beginning" else start
        else:
            checkpoint, not_before = row.checkpoint, row.not_before
            skipped = self._journal.exceptions.start(self.name)
        admits = predicate_for(self.name, self._config.pipelines.values(), not_before)
        for offset, event, state, reason in self._below(skipped, checkpoint, unsettled=unsettled):
            if state is not None:
                if not (unsettled and state == "delivered"):
                    yield Standing(event, state, reason)
            elif admits(event) and not self._journal.exceptions.is_filtered(self.name, offset):
                yield Standing(event, "delivered")
        after = max(checkpoint, skipped)
        while stored := self._journal.read(after, PAGE):
            for entry in stored:
                if admits(entry.event):
                    yield Standing(entry.event, "pending")
            after = stored[-1].offset

    def _below(
        self, skipped: int, checkpoint: int, *, unsettled: bool
    ) -> Iterator[tuple[int, Event, Any, str]]:
        """Yield what lies at or below the checkpoint: all of it, or only the exceptions."""
        if unsettled:
            after = (self.name, 0)
            while rows := self._journal.exceptions.rows(
                sinks=[self.name], states=["retrying", "held", "dead"], after=after, limit=PAGE
            ):
                for row in rows:
                    yield row.offset, row.event, row.state, row.reason
                after = (rows[-1].sink, rows[-1].offset)
            return
        at = skipped
        while stored := self._journal.read(at, PAGE):
            end = stored[-1].offset
            set_aside = {
                row.offset: row
                for row in self._journal.exceptions.rows(
                    sinks=[self.name], after=(self.name, at), limit=PAGE
                )
                if row.offset <= end
            }
            for entry in stored:
                if entry.offset > checkpoint:
                    return
                found = set_aside.get(entry.offset)
                state = None if found is None else found.state
                reason = found.reason if found is not None and state != "delivered" else ""
                yield entry.offset, entry.event, state, reason
            at = end

    def find(self, event_id: str) -> Event | None:
        """Return one event of the journal."""
        return self._journal.find(event_id)

    def place(self, event_id: str) -> str | None:
        """Return where one event stands for this sink; None when there is no such event."""
        for place in self._journal.exceptions.places(event_id):
            if place.sink == self.name:
                return place.state
        return None

    def recall(self, reasons: Mapping[str, str], state: Iterable[StateWrite] = ()) -> list[str]:
        """Have delivered events offered again, by event id, with the reason; answer which were.

        The writes to the sink's state are in the same transaction. A `meter run` beside this
        command picks them up within a second.
        """
        now = self.clock.now()
        return self._journal.exceptions.recall(self.name, reasons, now, state).wait()

    def hasten(self, states: Collection[str] = ("retrying", "held")) -> None:
        """Have events of these states offered again at once."""
        self._journal.exceptions.hasten(self.name, self.clock.now(), states).wait()

    def redrive(self, event_ids: Collection[str]) -> list[str]:
        """Have dead letters offered again, by event id; answer which were dead."""
        rows = [
            place.row
            for event_id in event_ids
            for place in self._journal.exceptions.places(event_id)
            if place.sink == self.name and place.row is not None and place.state == "dead"
        ]
        self._journal.exceptions.redrive(
            self.name, [row.offset for row in rows], self.clock.now()
        ).wait()
        return [row.event.event_id for row in rows]

    def deliver_now(self) -> bool:
        """Deliver to this sink what is due, as `meter run --once` does for all of them.

        Returns:
            False when a `meter run` works on the journal: it does so by itself, within a second.
        """
        try:
            journal = open_journal(self._config.journal, self.clock, run=True, create=False)
        except JournalLocked:
            return False
        try:
            worker = SinkWorker(
                self._entry,
                self._config.pipelines.values(),
                journal=journal,
                plugins=self._plugins,
                clock=self.clock,
            )
            worker.finish()
            worker.start()
            try:
                worker.join()
            except BaseException:
                worker.stop()
                worker.join(DELIVERY_GRACE_SECONDS)
                raise
        finally:
            journal.close()
        return True


@contextmanager
def sink_desk(
    plugins: Plugins,
    pipelines: Path,
    *,
    type: str,  # noqa: A002  because that is the word in the pipelines file
    name: str | None = None,
    looking: bool = False,
) -> Iterator[SinkDesk]:
    """Open the journal beside a running `meter run`, and give the desk of one sink.

    Args:
        plugins: of this process (`click.pass_obj`).
        pipelines: the file.
        type: the sink's type.
        name: which one, when the file has several of that type.
        looking: secrets may be missing, because nothing outside is touched.

    Raises:
        ConfigurationError: the file has faults, or no such sink, or several.
        JournalError: there is no journal yet.
    """
    config = read_config(pipelines, plugins, looking=looking)
    entry = _chosen(config, type, name)
    clock = SystemClock()
    journal = open_journal(config.journal, clock, create=False)
    try:
        yield SinkDesk(config, entry, journal=journal, plugins=plugins, clock=clock)
    finally:
        journal.close()


def _chosen(config: Config, wanted: str, name: str | None) -> SinkConfig:
    found = {n: entry for n, entry in config.sinks.items() if entry.type == wanted}
    if name is not None:
        if name not in found:
            known = f"; known: {', '.join(sorted(found))}" if found else ""
            raise ConfigurationError(
                f"{config.path}: no sink {name!r} of type {wanted} there{known}"
            )
        return found[name]
    if not found:
        raise ConfigurationError(f"{config.path}: no sink of type {wanted} there")
    if len(found) > 1:
        raise ConfigurationError(
            f"{config.path}: several sinks of type {wanted} ({', '.join(sorted(found))}); "
            "say which with --sink"
        )
    return next(iter(found.values()))
