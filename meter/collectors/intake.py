"""Where every fact enters: enriched, recorded, and only then shown to observers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

from meter.events import Event, StreamAbandoned, StreamTerminated
from meter.journal import Recorded
from meter.streaming import upper_bound

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from meter.journal import Journal, NewAct, NewSession, Quarantined, Session
    from meter.plugins import Plugins
    from meter.streaming import Termination

__all__ = ["Intake"]

E = TypeVar("E", bound=Event)

_log = logging.getLogger("meter.collectors")
_PLACE: Final = attrgetter("collector", "kind")


class Intake:
    """Records what collectors find, once, and tells the plugins that watch.

    Attributes:
        counted: how many events came in this run, by collector, kind and what became of each.
    """

    def __init__(self, journal: Journal, plugins: Plugins) -> None:
        """Stand between the collectors and a journal."""
        self._journal = journal
        self._plugins = plugins
        self.counted: Counter[tuple[str, str, Recorded]] = Counter()
        self._enriches = plugins.has("meter_enrich_event")
        self._observed = plugins.has("meter_event_recorded")

    async def record(self, events: Sequence[Event]) -> list[Recorded]:
        """Record events; durable when this returns, the answers in the same order.

        Raises:
            JournalUnavailable: nothing was stored.
        """
        offered = [self._enriched(event) for event in events]
        answers = await self._journal.append(offered)
        self._count_all(offered, answers)
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
        about: str | None = None,
    ) -> Recorded | None:
        """Close a receipt with what it became, in one transaction; durable when this returns.

        `about` is the id of the event that it speaks of, where it became none.
        """
        offered = None if event is None else self._enriched(event)
        answer = await self._journal.settle_receipt(
            receipt_id, outcome, event=offered, quarantined=quarantined, about=about
        )
        if offered is not None:
            self._count(offered, answer)
            self._announce(offered, answer)
        return answer

    async def assign(self, entry: int, event: Event, act: NewAct, now: datetime) -> Recorded:
        """Record the event that something in quarantine turned out to be, and close its entry.

        Raises:
            NotDone: it is not open any more, or the event would be a conflict; nothing is stored.
            JournalUnavailable: nothing was stored.
        """
        offered = self._enriched(event)
        answer = await self._journal.aside.assign(entry, offered, now, act)
        self._announce(offered, answer)
        return answer

    async def terminate(
        self,
        session: Session | NewSession,
        said: Termination,
        at: datetime,
        *,
        begin_seen: bool = True,
    ) -> Recorded:
        """Bill a session for what its Termination says; durable when this returns.

        The billed `seconds` are the session's, never those of its audio. When nobody saw its
        Begin, when it started stays unknown.
        """
        (answer,) = await self.record(
            [
                StreamTerminated(
                    provider_id=session.provider_id,
                    customer_id=session.customer_id,
                    dimensions=dict(session.dimensions),
                    collector=session.collector,
                    occurred_at=at,
                    recorded_at=at,
                    seconds=said.seconds,
                    audio_seconds=said.audio_seconds,
                    started_at=session.started_at if begin_seen else None,
                    model=session.model,
                )
            ]
        )
        return answer

    async def abandon(
        self,
        session: Session | NewSession,
        lower_seconds: Decimal,
        at: datetime,
    ) -> Recorded | None:
        """Record that no Termination of a session will come: bounds, and nothing billed.

        Both bounds are the provider's own words: its Heartbeats, and `expires_at`. None when the
        session is not open any more.
        """
        event = self._enriched(
            StreamAbandoned(
                provider_id=session.provider_id,
                customer_id=session.customer_id,
                dimensions=dict(session.dimensions),
                collector=session.collector,
                occurred_at=at,
                recorded_at=at,
                lower_seconds=lower_seconds,
                upper_seconds=upper_bound(session.started_at, session.expires_at, lower_seconds),
                started_at=session.started_at,
                model=session.model,
            )
        )
        answer = await self._journal.sessions.abandon(event)
        self._count(event, answer)
        self._announce(event, answer)
        return answer

    async def quarantine(self, items: Sequence[Quarantined]) -> int:
        """Keep things that cannot become events; answers how many were new."""
        return await self._journal.quarantine(items)

    def _enriched(self, event: E) -> E:
        return self._plugins.enrich(event) if self._enriches else event

    def _count_all(self, events: Sequence[Event], answers: list[Recorded]) -> None:
        """Count a batch; nearly always, all of it is new."""
        if answers.count(Recorded.RECORDED) == len(answers):
            for (collector, kind), times in Counter(map(_PLACE, events)).items():
                self.counted[collector, kind, Recorded.RECORDED] += times
        else:
            for event, answer in zip(events, answers, strict=True):
                self._count(event, answer)

    def _count(self, event: Event, answer: Recorded | None) -> None:
        if answer is not None:
            self.counted[event.collector, event.kind, answer] += 1

    def _announce(self, event: Event, answer: Recorded | None) -> None:
        if answer is Recorded.CONFLICT:
            _log.error(
                "event.conflict",
                extra={"event_id": event.event_id, "collector": event.collector},
            )
        if self._observed and answer is Recorded.RECORDED:
            self._plugins.notify("meter_event_recorded", event=event)
