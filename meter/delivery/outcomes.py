"""Record what became of each event, with the checkpoint, and tell those who watch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from meter.backoff import delay
from meter.delivery.figures import SinkFigures
from meter.delivery.reports import settlement_for, settlement_for_tending
from meter.errors import MeterError
from meter.journal import Retry, Settlement
from meter.plugins import blamed, first_line

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.journal import Journal, SetAside
    from meter.logs import FieldLogger
    from meter.plugins import Plugins
    from meter.sinks import Batch, Report

__all__ = ["MAX_ATTEMPTS", "Outcomes", "describe"]

MAX_ATTEMPTS: Final = 10
"""An event that failed so often while the sink took others becomes a dead letter."""
UNMENTIONED_SECONDS: Final = 60.0
"""How long an event that the sink did not mention waits before it is offered again."""


class Outcomes:
    """Writes one sink's outcomes; each call is one transaction of the journal.

    Attributes:
        checkpoint: every offset up to it is settled, or has an exception row.
        last_success: when the sink last took something in this run; None before it did.
        figures: what was stored of it in this run.
    """

    def __init__(
        self,
        sink: str,
        *,
        journal: Journal,
        plugins: Plugins,
        clock: Clock,
        chance: random.Random,
        log: FieldLogger,
        plugin: str,
    ) -> None:
        """Stand ready; the worker sets the checkpoint when the sink is open."""
        self.checkpoint = 0
        self.last_success: datetime | None = None
        self.figures = SinkFigures()
        self._sink = sink
        self._journal = journal
        self._plugins = plugins
        self._clock = clock
        self._chance = chance
        self._log = log
        self._plugin = plugin

    def filtered_out(self, offsets: Sequence[int], checkpoint: int) -> None:
        """Record that no pipeline admits these events."""
        now = self._clock.now()
        self._commit(Settlement(self._sink, "new", checkpoint, now, filtered=offsets))

    def settle(self, batch: Batch, report: Report, filtered: Sequence[int]) -> None:
        """Record what a sink reported, and what was filtered on the way.

        Raises:
            PluginError: the report cannot be true of this batch.
            JournalUnavailable: nothing was stored.
        """
        now = self._clock.now()
        settlement = settlement_for(
            self._sink,
            batch,
            report,
            filtered=self._within(batch, filtered),
            at=now,
            next_at=now + timedelta(seconds=UNMENTIONED_SECONDS),
        )
        self._commit(settlement)
        self.last_success = self._clock.now()
        self._plugins.notify(
            "meter_batch_delivered", sink_name=self._sink, batch=batch, report=report
        )
        self._announce_dead(batch, settlement)

    def tended(self, report: Report) -> bool:
        """Record what a sink found beside deliveries; tell if something may be due by that.

        Raises:
            PluginError: the report speaks of a batch, and there was none; or it is no report.
            JournalUnavailable: nothing was stored.
        """
        settlement = settlement_for_tending(self._sink, report, at=self._clock.now())
        if settlement is not None:
            self._commit(settlement)
        return bool(report.recall or report.hasten)

    def set_aside(
        self, suspects: Sequence[tuple[Batch, Exception]], filtered: Sequence[int]
    ) -> None:
        """Record events that failed alone as retrying, so that they block nothing."""
        for batch, error in suspects:
            now = self._clock.now()
            retry = Retry(describe(error), now + delay(1, self._chance))
            self._commit(
                Settlement(
                    self._sink,
                    "new",
                    batch.checkpoint,
                    now,
                    filtered=self._within(batch, filtered),
                    retrying={batch.offsets[0]: retry},
                )
            )
            self._log.warning(
                "event.set_aside",
                extra={
                    "event_id": batch.events[0].event_id,
                    "plugin": blamed(error) or self._plugin,
                    "error": describe(error),
                },
            )

    def failed_again(self, batch: Batch, error: Exception, entry: SetAside) -> None:
        """Keep an event for later, or give it up if the sink took others since it last failed."""
        now, attempts = self._clock.now(), entry.attempts + 1
        took_others = self.last_success is not None and self.last_success > entry.tried_at
        settlement = Settlement(self._sink, batch.purpose, None, now)
        if attempts >= MAX_ATTEMPTS and took_others:
            reason = f"failed {attempts} times while the sink took others: {describe(error)}"
            settlement = replace(settlement, rejected={entry.offset: reason})
        else:
            retry = Retry(describe(error), now + delay(attempts, self._chance))
            settlement = replace(settlement, retrying={entry.offset: retry})
        self._commit(settlement)
        self._announce_dead(batch, settlement)

    def _commit(self, settlement: Settlement) -> None:
        self._journal.settle(settlement).wait()
        self.figures.count(settlement)
        if settlement.checkpoint is not None:
            self.checkpoint = settlement.checkpoint

    def _within(self, batch: Batch, filtered: Sequence[int]) -> list[int]:
        """Return the filtered offsets that this batch's checkpoint passes."""
        return [o for o in filtered if self.checkpoint < o <= batch.checkpoint]

    def _announce_dead(self, batch: Batch, settlement: Settlement) -> None:
        if not settlement.rejected:
            return
        events = dict(zip(batch.offsets, batch.events, strict=True))
        for offset, reason in settlement.rejected.items():
            event = events[offset]
            self._log.error(
                "event.dead_lettered", extra={"event_id": event.event_id, "reason": reason}
            )
            self._plugins.notify(
                "meter_event_dead_lettered", sink_name=self._sink, event=event, reason=reason
            )


def describe(error: BaseException) -> str:
    """Name an error in one line; one of meter's own says all in its words.

    The plugin that raised it is named, where that is not the plugin of the sink.
    """
    line = first_line(error)
    kind = type(error).__name__
    words = (line if isinstance(error, MeterError) else f"{kind}: {line}") if line else kind
    plugin = blamed(error)
    return f"plugin {plugin}: {words}" if plugin else words
