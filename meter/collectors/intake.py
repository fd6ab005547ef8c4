"""Where every fact enters: enriched, recorded, and only then shown to observers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from meter.journal import Recorded

if TYPE_CHECKING:
    from meter.events import Event
    from meter.journal import Journal, Quarantined
    from meter.plugins import Plugins

__all__ = ["Intake"]

_log = logging.getLogger("meter.collectors")


class Intake:
    """Records what collectors find, once, and tells the plugins that watch."""

    def __init__(self, journal: Journal, plugins: Plugins) -> None:
        """Stand between the collectors and a journal."""
        self._journal = journal
        self._plugins = plugins
        self._enriches = plugins.has("meter_enrich_event")
        self._observed = plugins.has("meter_event_recorded")

    async def record(self, events: Sequence[Event]) -> list[Recorded]:
        """Record events; durable when this returns, the answers in the same order.

        Raises:
            JournalUnavailable: nothing was stored.
        """
        offered = [self._enriched(event) for event in events]
        answers = await self._journal.append(offered)
        for event, answer in zip(offered, answers, strict=True):
            self._announce(event, answer)
        return answers

    async def settle(
        self,
        receipt_id: int,
        outcome: str,
        *,
        event: Event | None = None,
        quarantined: Quarantined | None = None,
    ) -> Recorded | None:
        """Close a receipt with what it became, in one transaction; durable when this returns."""
        offered = None if event is None else self._enriched(event)
        answer = await self._journal.settle_receipt(
            receipt_id, outcome, event=offered, quarantined=quarantined
        )
        if offered is not None:
            self._announce(offered, answer)
        return answer

    async def quarantine(self, items: Sequence[Quarantined]) -> int:
        """Keep things that cannot become events; answers how many were new."""
        return await self._journal.quarantine(items)

    def _enriched(self, event: Event) -> Event:
        return self._plugins.enrich(event) if self._enriches else event

    def _announce(self, event: Event, answer: Recorded | None) -> None:
        if answer is Recorded.CONFLICT:
            _log.error(
                "event.conflict",
                extra={"event_id": event.event_id, "collector": event.collector},
            )
        if self._observed and answer is Recorded.RECORDED:
            self._plugins.notify("meter_event_recorded", event=event)
