"""Making something in quarantine the event that it is, once a person has said whose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meter.collectors.cases import Naming, case_of, event_of
from meter.events import Event, StreamTerminated
from meter.journal import Recorded

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.collectors.intake import Intake
    from meter.journal import Entry, Journal, NewAct, NewSession

__all__ = ["Clearing"]

_MOST: Final = 20


class Clearing:
    """Assigns what is in quarantine; each assignment is one short transaction."""

    def __init__(
        self, journal: Journal, intake: Intake, *, collectors: frozenset[str], clock: Clock
    ) -> None:
        """Stand ready.

        Args:
            journal: what the entries are in.
            intake: where the events go.
            collectors: the names of those in the pipelines file.
            clock: tells the time.
        """
        self._journal = journal
        self._intake = intake
        self._collectors = collectors
        self._clock = clock

    def fact_of(self, entry: Entry, naming: Naming) -> Event | NewSession:
        """Return what an entry is to become; nothing is stored.

        Raises:
            Lacking: something else than the customer is missing.
            InvalidEvent: what is there cannot be an event.
        """
        provider_id = entry.provider_id
        session = None if provider_id is None else self._journal.sessions.find(provider_id)
        now = self._clock.now()
        return event_of(entry, naming, session=session, collectors=self._collectors, now=now)

    async def assign(self, entry: Entry, fact: Event | NewSession, act: NewAct) -> str:
        """Store what an entry became, with the act; answer what that is, in words.

        Raises:
            NotDone: it is not open any more, or the event would be a conflict; nothing is stored.
        """
        now = self._clock.now()
        if isinstance(fact, Event):
            answer = await self._intake.assign(entry.id, fact, act, now)
            was = "" if answer is Recorded.RECORDED else " (it was recorded meanwhile)"
            return f"{fact.event_id}{was}"
        await self._journal.aside.begin(entry.id, fact, now, act)
        return await self._end_if_waiting(fact, act)

    async def _end_if_waiting(self, session: NewSession, act: NewAct) -> str:
        """Bill a Termination that waits for somebody to say whose its session is."""
        naming = Naming(session.customer_id)
        waiting = self._journal.aside.entries(provider_id=session.provider_id, limit=_MOST)
        for entry in waiting:
            obstacle = case_of(entry, self._journal.find).assignable
            if entry.collector != session.collector or obstacle is not None:
                continue
            begun = self._journal.sessions.find(session.provider_id)
            now = self._clock.now()
            fact = event_of(entry, naming, session=begun, collectors=frozenset(), now=now)
            if isinstance(fact, StreamTerminated):
                await self._intake.assign(entry.id, fact, act, now)
                return f"{fact.event_id}, whose Termination had come"
        return f"session {session.provider_id}, open"
