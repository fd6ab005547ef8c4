"""One sink's worker: read, filter, deliver, record, checkpoint.

Everything here runs in the sink's own thread, so a slow or broken sink delays itself and
nothing else.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meter.backoff import Backoff
from meter.delivery.batches import batch_of, offered
from meter.delivery.calls import Calls
from meter.delivery.filters import predicate_for
from meter.delivery.heard import HeardState
from meter.delivery.outcomes import Outcomes, describe
from meter.delivery.troubles import Troubles
from meter.errors import FatalSinkError, JournalError, PluginError, RetryableSinkError, SinkError
from meter.logs import FieldLogger
from meter.plugins import blamed, text_of
from meter.sinks import Position, SinkContext

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import PipelineConfig, SinkConfig
    from meter.delivery.filters import Predicate
    from meter.journal import Journal
    from meter.plugins import Plugins
    from meter.sinks import Batch, Report, Sink

__all__ = ["SinkWorker"]

_log = logging.getLogger("meter.delivery")

POLL_SECONDS: Final = 1.0
"""How soon events are seen that another process recorded."""
SUSPECTS: Final = 10
"""So many events failing one after another, with no success: it is the sink, not the events."""
PATIENCE: Final = 5
"""After so many rounds of that, the suspects are set aside all the same, so nothing blocks."""
ONCE_ROUNDS: Final = 3
"""How many failing rounds a `--once` run allows a sink."""
TEND_SECONDS: Final = 1.0
"""How often a sink may look after what is not a delivery."""
SOON_SECONDS: Final = 75.0
"""A `--once` run waits for what a sink put off for no longer than this: its next minute."""
ONCE_SECONDS: Final = 300.0
"""How long a `--once` run does so at the most."""
LEFT_BEHIND: Final = 15
"""A `--once` run goes on without a sink that hangs for so many times the plugins' patience."""


class SinkWorker:
    """Delivers the journal to one sink, from its checkpoint, in a thread of its own."""

    def __init__(
        self,
        config: SinkConfig,
        pipelines: Iterable[PipelineConfig],
        *,
        journal: Journal,
        plugins: Plugins,
        clock: Clock,
    ) -> None:
        """Keep what is needed; `start` makes the thread."""
        self.name = config.name
        self._config = config
        self._pipelines = list(pipelines)
        self._journal = journal
        self._plugins = plugins
        self._clock = clock
        self._class = config.extension.cls
        self._sink: Sink | None = None
        self._admits: Predicate = lambda _event: False
        chance = random.Random()  # noqa: S311  because jitter needs no security
        self._backoff = Backoff(chance)
        self._wake = threading.Event()
        self._halt = threading.Event()
        self._finishing = self._flushing = self._flush_asked = False
        self._finish_by = 0.0
        self._tended_at: float | None = None
        self._tend_failed = self._opened_before = False
        self._calls = Calls(clock)
        self._thread = threading.Thread(
            target=self._run, name=f"meter-sink-{self.name}", daemon=True
        )
        self._logger = FieldLogger(_log, {"sink": self.name})
        self._troubles = Troubles(
            config, journal=journal, plugins=plugins, calls=self._calls, log=self._logger
        )
        self._outcomes = Outcomes(
            self.name,
            journal=journal,
            plugins=plugins,
            clock=clock,
            chance=chance,
            log=self._logger,
            plugin=str(config.extension.plugin),
        )
        self.figures = self._outcomes.figures

    # -- from other threads ----------------------------------------------------------------

    def start(self) -> None:
        """Start delivering."""
        self._journal.on_append(self._wake.set)
        self._thread.start()

    def flush(self) -> None:
        """Let everything leave now, and from now on, whatever pace the sink keeps otherwise."""
        self._flushing = self._flush_asked = True
        self._wake.set()

    def finish(self) -> None:
        """Deliver what there is, then stop; wait only for what the sink put off a little."""
        self._finish_by = self._clock.monotonic() + ONCE_SECONDS
        self._flushing = self._flush_asked = True
        self._finishing = True  # last: it is asked for before a step, and what is above during one
        self._wake.set()

    def stop(self) -> None:
        """Finish the batch in hand, then stop; wakes a waiting retry at once."""
        self._halt.set()
        self._wake.set()

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the thread; tell whether it ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def look(self, seconds: float) -> None:
        """Tell, once, of a call of the sink that has not come back for that long."""
        self._troubles.look(self._thread, seconds)

    def hangs(self, seconds: float) -> bool:
        """Tell whether a call of the sink has given no sign of life for that long."""
        return self._calls.longer_than(seconds) is not None

    def left_behind(self) -> bool:
        """Tell whether a `--once` run should go on without this sink, because it hangs."""
        seconds = LEFT_BEHIND * self._plugins.patience
        return self._finishing and self.hangs(seconds)

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._halt.is_set():
                # What is appended before `finish` must be seen by the last step: ask before it.
                finishing = self._finishing
                try:
                    if self.step():
                        continue
                    if finishing and not self._put_off():
                        return
                    self._wake.wait(self._idle_seconds())
                    self._wake.clear()
                except FatalSinkError as error:
                    plugin, reason = blamed(error), text_of(error)
                    self._park(f"plugin {plugin}: {reason}" if plugin else reason)
                    return
                except PluginError as error:
                    self._park(f"plugin {self._troubles.whose(error)}: {text_of(error)}")
                    return
                except Exception as error:  # noqa: BLE001  a plugin may raise anything: this sink waits, no other does
                    if not self._wait_after(error):
                        return
        except BaseException as error:  # noqa: BLE001  SystemExit and worse must not end it unseen
            self._park(f"plugin {self._troubles.whose(error)} raised {type(error).__name__}")
        finally:
            self._close()

    def step(self) -> bool:
        """Deliver one batch of what is new, then what is due again; tell if there was any.

        What the thread does over and over. It raises what the sink raises.
        """
        sink = self._sink or self._open()
        if self._flush_asked:
            self._flush_asked = False
            try:
                self._hasten(("retrying", "held"))
            except BaseException:
                self._flush_asked = True
                raise
        worked = self._deliver_new(sink)
        for more in (self._deliver_due, self._tend):
            if self._halt.is_set():
                break
            worked |= more(sink)
        if not self._backoff.failures:
            self._troubles.tell(None)
        return worked

    def _deliver_new(self, sink: Sink) -> bool:
        stored = self._journal.read(self._outcomes.checkpoint, self._class.batch_size)
        if not stored:
            return False
        admitted = [entry for entry in stored if self._admits(entry.event)]
        taken = {entry.offset for entry in admitted}
        filtered = [entry.offset for entry in stored if entry.offset not in taken]
        end = stored[-1].offset
        if not admitted:
            self._outcomes.filtered_out(filtered, end)
            return True
        suspects: list[tuple[Batch, Exception]] = []
        evidence = False
        for part, answer in self._offer(sink, batch_of(admitted, end, "new")):
            if isinstance(answer, Exception):
                suspects.append((part, answer))
            else:
                evidence = True
            if evidence:  # the sink takes others, so those that failed alone are to blame
                self._outcomes.set_aside(suspects, filtered)
                suspects = []
            elif len(suspects) == SUSPECTS:
                break
            if not isinstance(answer, Exception):
                self._took(part, answer, filtered)
        if suspects:
            if self._backoff.failures >= PATIENCE:
                self._outcomes.set_aside(suspects, filtered)
            raise suspects[-1][1]
        return True

    def _deliver_due(self, sink: Sink) -> bool:
        due = self._journal.exceptions.due(self.name, self._clock.now(), self._class.batch_size)
        if not due:
            return False
        entries = {entry.offset: entry for entry in due}
        for purpose in ("retry", "replay"):
            some = [entry for entry in due if entry.replay == (purpose == "replay")]
            if not some:
                continue
            for part, answer in self._offer(
                sink, batch_of(some, self._outcomes.checkpoint, purpose)
            ):
                if isinstance(answer, Exception):
                    self._outcomes.failed_again(part, answer, entries[part.offsets[0]])
                else:
                    self._took(part, answer, ())
        return True

    def _offer(self, sink: Sink, batch: Batch) -> Iterable[tuple[Batch, Report | Exception]]:
        def deliver(part: Batch) -> Report:
            noted = self._calls.noted("deliver", len(part.events))
            with noted, self.figures.batches.timed():
                return self._plugins.deliver(sink, part)

        return offered(deliver, batch, self._logger)

    def _took(self, batch: Batch, report: Report, filtered: Sequence[int]) -> None:
        """Record what the sink reported; if it works (again), hasten what it failed on before."""
        if self._backoff.failures or self._outcomes.last_success is None:
            self._hasten(("retrying",), put_off=False)
        self._outcomes.settle(batch, report, filtered)
        self._backoff.succeed()

    def _hasten(self, states: Collection[str], *, put_off: bool = True) -> None:
        now = self._clock.now()
        self._journal.exceptions.hasten(self.name, now, states, put_off=put_off).wait()

    def _tend(self, sink: Sink) -> bool:
        """Let the sink look after what is no delivery; tell if something may be due by that."""
        now = self._clock.monotonic()
        if self._tended_at is not None and 0 <= now - self._tended_at < TEND_SECONDS:
            return False
        self._tended_at = now
        failed, self._tend_failed = self._tend_failed, True
        with self._calls.noted("tend"):
            report = sink.tend()
        due = report is not None and self._outcomes.tended(report)
        self._tend_failed = False
        if failed and self._backoff.succeed():
            self._hasten(("retrying",), put_off=False)
        return due

    def _put_off(self) -> bool:
        """Tell whether the sink put something off to a time within the minute."""
        due = self._journal.exceptions.next_due(self.name, put_off=True)
        if due is None or due > self._clock.now() + timedelta(seconds=SOON_SECONDS):
            return False
        return self._clock.monotonic() < self._finish_by

    # -- the sink's life -------------------------------------------------------------------

    def _open(self) -> Sink:
        """Make and open the sink, and agree with it on where it stands."""
        start = self._config.start or self._class.default_start
        row = self._journal.register_sink(
            self.name,
            self._config.type,
            skip_existing=start == "now",
            # `now` leaves out what was used before, also where it is collected afterwards.
            not_before=None
            if start == "beginning"
            else self._clock.now()
            if start == "now"
            else start,
        ).wait()
        self._troubles.known = row.trouble
        if row.parked is not None:  # who starts meter again has seen to it
            self._journal.park_sink(self.name, None).wait()
        context = SinkContext(
            name=self.name,
            journal_id=self._journal.journal_id,
            state=HeardState(
                self._journal.sink_state(self.name, self._config.type), self._calls.heard
            ),
            clock=self._clock,
            log=self._logger,
            stopping=self._halt.is_set,
            flushing=lambda: self._flushing,
        )
        with self._calls.noted("__init__"):
            self._sink = sink = self._class(self._config.options, context)
        with self._calls.noted("open"):
            position = sink.open()
        self._outcomes.checkpoint = row.checkpoint
        if position is not None:
            self._agree(position, row.delivered)
        if not self._opened_before:  # what held events back may have been put right meanwhile
            self._hasten(("held",))
            self._opened_before = True
        self._admits = predicate_for(self.name, self._pipelines, row.not_before)
        self._logger.info("sink.opened", extra={"checkpoint": row.checkpoint})
        return sink

    def _agree(self, position: Position, delivered: int) -> None:
        """Believe the destination's own books; park when they are not about this journal."""
        if not isinstance(position, Position):
            found = type(position).__name__
            raise PluginError(f"`open` returned {found}, expected a Position or None")
        if position.journal_id != self._journal.journal_id:
            raise FatalSinkError(
                "the destination was filled from another journal; give the sink a destination "
                "of its own, or move this one away: a new one is filled from the journal"
            )
        head = self._journal.head()
        if position.checkpoint > head:
            raise FatalSinkError(
                f"the destination has events up to offset {position.checkpoint}, the journal ends "
                f"at {head}: an older copy of the journal? Restore the newest one, or move the "
                "destination away: a new one is filled from the journal"
            )
        lacks = position.delivered is not None and position.delivered < delivered
        if lacks or self._journal.delivered_beyond(self.name, position.checkpoint):
            before = self._outcomes.checkpoint
            after = self._journal.rewind_sink(self.name, position.checkpoint).wait()
            self._outcomes.checkpoint = after
            self._logger.warning("sink.rewound", extra={"from": before, "to": after})

    def _close(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            try:
                with self._calls.noted("close"):
                    sink.close()
            except BaseException as error:  # noqa: BLE001  a plugin may raise anything; the work is done
                self._logger.warning(
                    "sink.close_failed",
                    extra={"plugin": self._troubles.whose(error), "error": describe(error)},
                )

    def _park(self, reason: str) -> None:
        self._logger.error("sink.parked", extra={"reason": reason})
        try:
            self._journal.park_sink(self.name, reason).wait()
        except JournalError as error:
            self._logger.error("sink.parked_unsaved", extra={"error": str(error)})  # noqa: TRY400  the text is enough
        self._plugins.notify("meter_sink_parked", sink_name=self.name, reason=reason)

    def _wait_after(self, error: Exception) -> bool:
        """Back off after a failure of the sink as a whole; false ends a `--once` run."""
        retry_after = error.retry_after if isinstance(error, RetryableSinkError) else None
        self._close()  # whatever state it is in, opening repairs it
        seconds = self._backoff.fail(retry_after)
        self.figures.failures += 1
        why, whose = describe(error), self._troubles.whose(error)
        expected = isinstance(error, SinkError | JournalError) or blamed(error)
        self._troubles.tell(why if expected else f"plugin {whose}: {why}")
        self._logger.warning(
            "sink.failed",
            extra={"plugin": whose, "error": why, "retry_in_seconds": round(seconds, 1)},
        )
        if self._finishing and self._backoff.failures >= ONCE_ROUNDS:
            return False
        self._halt.wait(seconds)
        return True

    def _idle_seconds(self) -> float:
        due = self._journal.exceptions.next_due(self.name)
        if due is None:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(0.0, (due - self._clock.now()).total_seconds()))
