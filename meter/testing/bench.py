"""A bench for one sink: a real journal and the real delivery worker, stepped by hand."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from meter import hookimpl
from meter.delivery import SinkWorker
from meter.delivery.outcomes import MAX_ATTEMPTS, describe
from meter.errors import FatalSinkError, PluginError
from meter.events import BILLED_KINDS
from meter.logs import FieldLogger
from meter.sinks import Batch, SinkContext
from meter.testing.clock import FakeClock
from meter.testing.site import SINK, Site, plugins_with

if TYPE_CHECKING:
    from meter.config import SinkConfig
    from meter.events import Event
    from meter.journal import Balance
    from meter.sinks import Report, Sink

__all__ = ["Intercept", "SinkBench", "SteppedWorker"]

Intercept = Callable[["Sink", Batch], "Report"]
"""Stands around `sink.deliver(batch)`: calls it or not, and returns or raises what it likes."""

MOST_ROUNDS: Final = 2_000
MOST_FAILURES: Final = 30


class SteppedWorker(SinkWorker):
    """The worker of `meter run` without its thread, and without its waiting."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._halt = self._waiting = _NeverWaits()

    def recover(self, error: Exception) -> float:
        """Do what the thread does after a failure; answer the seconds that it would wait."""
        self._wait_after(error)
        return self._waiting.seconds

    def park(self, error: Exception) -> None:
        """Do what the thread does when only a person can help."""
        self._park(describe(error))
        self._close()

    def close(self) -> None:
        """Close the sink as a stop does."""
        self._close()


class _NeverWaits(threading.Event):
    """Keeps how long it was asked to wait, and returns at once: the clock is the test's."""

    seconds = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds = timeout or 0.0
        return self.is_set()


class SinkBench:
    """One sink under `sinks:`, a real journal, and meter's own worker between them.

    The clock is the test's: `settle` moves it on to whatever is due, and never waits. Use it as
    a context manager, or call `close`.

    Args:
        folder: for the pipelines file and the journal; a bench on the same folder goes on where
            the last one ended, as another `meter run` would.
        sink_config: the sink's entry, with `type:`.
        clock: the sink's and the journal's.
        batch_size: the most events in one batch; None leaves it to the sink.
        kinds: which kinds of event the pipeline takes.

    Attributes:
        sink_class: the class, found by its entry point.
        options: its options, read from the pipelines file.
        journal: open.
        intercept: if it is set, it is called in place of `sink.deliver(batch)`; a plugin's
            `meter_deliver` can do the same.
        given: how often the sink was given each event, by id.
        reports: what was reported, in order.
        errors: what the sink raised, in order.
        parked: why the worker stopped for good, or None.
    """

    def __init__(
        self,
        folder: Path,
        sink_config: Mapping[str, Any],
        *,
        clock: FakeClock | None = None,
        batch_size: int | None = None,
        kinds: Sequence[str] = BILLED_KINDS,
    ) -> None:
        self.clock = FakeClock() if clock is None else clock
        self.site = Site(folder, {SINK: sink_config}, kinds=kinds)
        self.intercept: Intercept | None = None
        self.given: Counter[str] = Counter()
        self.reports: list[Report] = []
        self.errors: list[Exception] = []
        self.parked: Exception | None = None
        self._plugins = plugins_with(_Around(self), _Notes(self))
        config = self.site.config(self._plugins)
        self._pipelines = list(config.pipelines.values())
        self._entry: SinkConfig = config.sinks[SINK]
        if batch_size is not None:
            self._entry = _with_batch_size(self._entry, batch_size)
        self.sink_class: type[Sink] = self._entry.extension.cls
        self.options: Any = self._entry.options
        self.journal = self.site.open_journal(self.clock)
        self._worker: SteppedWorker | None = None
        self._sink: Sink | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- through the worker ----------------------------------------------------------------

    @property
    def worker(self) -> SteppedWorker:
        """The worker; made when it is first asked for."""
        if self._worker is None:
            self._worker = SteppedWorker(
                self._entry,
                self._pipelines,
                journal=self.journal,
                plugins=self._plugins,
                clock=self.clock,
            )
        return self._worker

    def record(self, events: Sequence[Event]) -> None:
        """Record events in the journal; `settle` delivers them."""
        self.journal.append(events).wait()

    def settle(self) -> Balance | None:
        """Deliver until nothing is pending and nothing retries; answer where all of it stands.

        An event that failed alone ten times may be left retrying.

        After an error of the sink it is closed and opened again, as in `meter run`; what was
        raised is in `errors`. None before the sink ever ran.

        Raises:
            AssertionError: there was always more to do, or it failed over and over.
        """
        self.worker.flush()
        failures = 0
        for _ in range(MOST_ROUNDS):
            if failures == MOST_FAILURES:
                raise AssertionError(
                    f"it failed {failures} times, one after the other; the last time: "
                    f"{describe(self.errors[-1])}"
                ) from self.errors[-1]
            try:
                if self.worker.step():
                    failures = 0
                    continue
            except (FatalSinkError, PluginError) as error:
                self.parked = error
                self.errors.append(error)
                self.worker.park(error)
                return self.balance()
            except Exception as error:  # noqa: BLE001  because a sink may raise anything
                failures += 1
                self.errors.append(error)
                self.clock.advance(seconds=self.worker.recover(error))
                continue
            balance = self.balance()
            if balance is None or not (balance.pending or self._hopeful(balance)):
                return balance
            due = self.journal.exceptions.next_due(SINK)
            self.clock.advance(seconds=1)
            if due is not None:
                self.clock.advance_to(due)
        raise AssertionError(
            f"after {MOST_ROUNDS} rounds it is not settled: {self.balance()}; "
            f"the last errors were {[describe(e) for e in self.errors[-3:]]}"
        )

    def _hopeful(self, balance: Balance) -> bool:
        """Tell whether something that retries may still get through.

        What failed alone is only given up while the sink takes others: at the end of a test
        there are no others.
        """
        if not balance.retrying:
            return False
        rows = self.journal.exceptions.rows(sinks=[SINK], states=["retrying"], limit=100_000)
        return any(row.put_off or row.attempts < MAX_ATTEMPTS for row in rows)

    def reopen(self, *, batch_size: int | None = None) -> None:
        """Close the sink; the next `settle` makes and opens another one, as a restart does."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        if batch_size is not None:
            self._entry = _with_batch_size(self._entry, batch_size)

    def forget_worker(self) -> None:
        """Leave a worker whose thread ended by itself, with its sink closed."""
        self._worker = None

    def balance(self) -> Balance | None:
        """Return where every event stands for the sink; None before it ever ran."""
        found = [b for b in self.journal.totals().balances if b.sink == SINK]
        return found[0] if found else None

    def exceptions(self, state: str = "dead") -> dict[str, str]:
        """Return the reasons of what is `dead`, `held` or `retrying`, by event id."""
        rows = self.journal.exceptions.rows(sinks=[SINK], states=[state], limit=100_000)
        return {row.event.event_id: row.reason for row in rows}

    def refused(self) -> dict[str, str]:
        """Return what the sink's own reports rejected or held, by event id, with the reasons."""
        return {i: why for r in self.reports for i, why in (*r.rejected.items(), *r.held.items())}

    # -- past the worker -------------------------------------------------------------------

    @property
    def sink(self) -> Sink:
        """An instance of your own to call, made and opened as the worker does."""
        if self._sink is None:
            self._sink = self.sink_class(self.options, self.context())
            self._sink.open()
        return self._sink

    def context(self) -> SinkContext:
        """Return what the worker gives to a sink that it makes."""
        return SinkContext(
            name=SINK,
            journal_id=self.journal.journal_id,
            state=self.journal.sink_state(SINK, self.sink_class.type),
            clock=self.clock,
            log=FieldLogger(logging.getLogger("meter.testing"), {"sink": SINK}),
        )

    def batch(self, events: Sequence[Event], **changes: Any) -> Batch:
        """Record events and return the batch that holds them.

        Args:
            events: each id once.
            changes: `checkpoint` or `purpose` of `meter.sinks.Batch`.
        """
        self.record(events)
        found = [self.journal.locate(event.event_id) for event in events]
        offsets = [stored.offset for stored in found if stored is not None]
        given = {"checkpoint": max(offsets), **changes}
        return Batch(list(events), offsets, **given)

    def deliver(self, batch: Batch) -> Report:
        """Call `deliver` of `sink`, past the worker, and store the state that it reports.

        The journal's checkpoint stays where it is: this is for tests of a sink's parts.
        """
        report = self.sink.deliver(batch)
        if report.state:
            self.context().state.commit(report.state)
        return report

    def close(self) -> None:
        """Close the sink and the journal."""
        self.reopen()
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        self.journal.close()


class _Around:
    """The plugin by which the bench stands around each delivery."""

    def __init__(self, bench: SinkBench) -> None:
        self._bench = bench

    @hookimpl(tryfirst=True)
    def meter_deliver(self, sink: Sink, batch: Batch) -> Report | None:
        if self._bench.intercept is not None:
            return self._bench.intercept(sink, batch)
        self._bench.given.update(event.event_id for event in batch.events)
        return None


class _Notes:
    """The plugin by which the bench keeps what is reported."""

    def __init__(self, bench: SinkBench) -> None:
        self._bench = bench

    @hookimpl(wrapper=True)
    def meter_deliver(self) -> Generator[None, Report, Report]:
        report = yield
        self._bench.reports.append(report)
        return report


def _with_batch_size(entry: SinkConfig, batch_size: int) -> SinkConfig:
    """Return the entry with a subclass that differs in nothing but its batch size."""
    cls = entry.extension.cls
    space = {"batch_size": batch_size, "__module__": cls.__module__, "__doc__": cls.__doc__}
    return replace(entry, extension=replace(entry.extension, cls=type(cls.__name__, (cls,), space)))
