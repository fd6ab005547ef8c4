"""What a command may use of one sink: its options, its state, and where its events stand."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from meter.clock import SystemClock
from meter.commands.arguments import read_config
from meter.commands.people import who
from meter.commands.references import meant
from meter.delivery import SinkWorker
from meter.delivery.contexts import unopened
from meter.delivery.filters import predicate_for
from meter.errors import ConfigurationError, JournalLocked
from meter.journal import NewAct, open_journal
from meter.sinks import Standing

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import Config, SinkConfig, Start
    from meter.events import Event
    from meter.journal import ExceptionRow, Journal, SinkRow
    from meter.plugins import Plugins
    from meter.sinks import SinkContext, StateWrite
    from meter.sinks.reading import Where

__all__ = ["SinkDesk", "Standing", "sink_desk"]

PAGE: Final = 5_000
"""How many events are in memory at a time."""
DELIVERY_GRACE_SECONDS: Final = 8.0
"""For the batch in hand, when somebody presses Ctrl-C."""


class SinkDesk:
    """One sink of a pipelines file, at rest: nothing is opened and nothing is delivered.

    Attributes:
        name: the sink's name in the file.
        sink: an instance that was never opened.
        context: what it was given; its state may be read and written.
        clock: tells the time.
        blank: there is no journal yet: an empty one stands in for it.
    """

    def __init__(
        self,
        config: Config,
        entry: SinkConfig,
        *,
        journal: Journal,
        plugins: Plugins,
        clock: Clock,
        looking: bool = False,
        blank: bool = False,
    ) -> None:
        """Make the instance; `sink_desk` is the way to get one."""
        self.name = entry.name
        self.clock = clock
        self.blank = blank
        self.sink: Any = unopened(entry, journal=journal, clock=clock)
        self.context: SinkContext = self.sink.context
        self._journal = journal
        self._plugins = plugins
        self._config = config
        self._entry = entry
        self._looking = looking

    def row(self) -> SinkRow | None:
        """Return what the journal keeps of the sink; None before its first run."""
        return self._journal.exceptions.sink(self.name)

    def standings(self, *, unsettled: bool = False) -> Iterator[Standing]:
        """Yield the events that are this sink's, in order, and where each stands.

        What is pending is so by the filters of today's file; what was filtered out, or delivered,
        under an earlier one stays so (DESIGN §7). What was recorded before the sink first ran
        with `start: now` is left out, as is what its first run would skip.

        Args:
            unsettled: only those that are pending, retrying, held or dead.
        """
        row = self.row()
        start = self.start
        if row is None:
            if start == "now":
                return
            checkpoint, skipped, not_before = 0, 0, None if start == "beginning" else start
        else:
            checkpoint, not_before = row.checkpoint, row.not_before
            skipped = self._journal.exceptions.start(self.name)
        yield from self._exceptions(checkpoint) if unsettled else self._below(skipped, checkpoint)
        admits = predicate_for(self.name, self._config.pipelines.values(), not_before)
        after = max(checkpoint, skipped)
        while stored := self._journal.read(after, PAGE):
            for entry in stored:
                if admits(entry.event):
                    yield Standing(entry.event, "pending")
            after = stored[-1].offset

    def _exceptions(self, checkpoint: int) -> Iterator[Standing]:
        """Yield what is set aside; beyond the checkpoint that was read it still counts as new."""
        after = (self.name, 0)
        while rows := self._journal.exceptions.rows(
            sinks=[self.name], states=["retrying", "held", "dead"], after=after, limit=PAGE
        ):
            for row in rows:
                if row.offset > checkpoint:
                    return
                yield Standing(row.event, _where(row), row.reason)
            after = (rows[-1].sink, rows[-1].offset)

    def _below(self, skipped: int, checkpoint: int) -> Iterator[Standing]:
        """Yield what lies at or below the checkpoint, less what was skipped or filtered out."""
        at = skipped
        while stored := self._journal.read(at, PAGE):
            end = stored[-1].offset
            # More than the page may be set aside beyond its end, never within it.
            set_aside = {
                row.offset: row
                for row in self._journal.exceptions.rows(
                    sinks=[self.name], after=(self.name, at), limit=PAGE
                )
            }
            filtered = {
                offset
                for found in self._journal.exceptions.filtered(self.name, at + 1, end)
                for offset in found
            }
            for entry in stored:
                if entry.offset > checkpoint:
                    return
                row = set_aside.get(entry.offset)
                if row is not None:
                    reason = "" if row.state == "delivered" else row.reason
                    yield Standing(entry.event, _where(row), reason)
                elif entry.offset not in filtered:
                    yield Standing(entry.event, "delivered")
            at = end

    def find(self, event_id: str) -> Event | None:
        """Return one event of the journal."""
        return self._journal.find(event_id)

    def place(self, event_id: str) -> str | None:
        """Return where one event stands for this sink; None when there is no such event.

        For a sink that never ran that is what its first run will make of it: `filtered` when it
        starts `now`, or at a time after the event, otherwise `pending`.
        """
        for place in self._journal.exceptions.places(event_id):
            if place.sink == self.name:
                return place.state
        event = self._journal.find(event_id)
        if event is None:
            return None
        before = self.start == "now" or (
            self.start != "beginning" and event.occurred_at < self.start
        )
        return "filtered" if before else "pending"

    @property
    def start(self) -> Start:
        """Where the sink's first run begins: `start:` of the file, or its type's own."""
        return self._entry.start or self._entry.extension.cls.default_start

    def meant(self, reference: str) -> list[str]:
        """Return the ids of the journal's events that somebody may have meant."""
        return meant(reference, lambda event_id: self._journal.find(event_id) is not None)

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

    def acted(self, what: str, reason: str, event_ids: Collection[str] = ()) -> None:
        """Record what a person did, for `meter acts`; to which events, by event id.

        Args:
            what: in few words, such as `cancel`.
            reason: in that person's words.
            event_ids: those of the journal's events that it was about.
        """
        found = (self._journal.locate(event_id) for event_id in event_ids)
        touched = [stored.offset for stored in found if stored is not None]
        act, now = NewAct(who(), reason), self.clock.now()
        self._journal.acts.record(act, what, now, sink=self.name, touched=touched).wait()

    def deliver_now(self) -> bool:
        """Deliver to this sink what is due, as `meter run --once` does for all of them.

        Returns:
            False when a `meter run` works on the journal: it does so by itself, within a second.

        Raises:
            RuntimeError: the desk was opened for looking: the secrets it has may be none.
        """
        if self._looking:
            raise RuntimeError("a desk that is only for looking cannot deliver")
        log = logging.getLogger("meter")
        if not log.hasHandlers():  # else warnings go to stderr bare; the command says what is wrong
            log.addHandler(logging.NullHandler())
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


def _where(row: ExceptionRow) -> Where:
    """Return where it stands; what a person gave up is a dead letter still, for who adds up."""
    return "dead" if row.state == "discarded" else row.state


@contextmanager
def sink_desk(
    plugins: Plugins,
    pipelines: Path,
    *,
    type: str,  # noqa: A002  because that is the word in the pipelines file
    name: str | None = None,
    looking: bool = False,
    blank: bool = False,
) -> Iterator[SinkDesk]:
    """Open the journal beside a running `meter run`, and give the desk of one sink.

    Args:
        plugins: of this process (`click.pass_obj`).
        pipelines: the file.
        type: the sink's type.
        name: which one, when the file has several of that type.
        looking: secrets may be missing, because nothing outside is touched.
        blank: where there is no journal yet, give the desk of an empty one, that is not kept.

    Raises:
        ConfigurationError: the file has faults, or no such sink, or several.
        JournalError: there is no journal yet.
    """
    config = read_config(pipelines, plugins, looking=looking)
    entry = _chosen(config, type, name)
    clock = SystemClock()
    lacking = blank and not Path(config.journal).exists()
    with ExitStack() as stack:
        place = config.journal
        if lacking:
            folder = stack.enter_context(TemporaryDirectory(prefix="meter-"))
            place = str(Path(folder, "blank.db"))
        journal = open_journal(place, clock, create=lacking)
        stack.callback(journal.close)
        yield SinkDesk(
            config,
            entry,
            journal=journal,
            plugins=plugins,
            clock=clock,
            looking=looking or lacking,
            blank=lacking,
        )


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
