"""What people do on the page: the same acts as on the command line, recorded in the same way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from meter.collectors.cases import Lacking, Naming, case_of, receipt_of
from meter.collectors.clearing import Clearing
from meter.errors import InvalidEvent
from meter.journal import NewAct, NotDone
from meter.server.desk.aside_view import EntryView
from meter.server.desk.event_view import EventView
from meter.server.desk.words import address

if TYPE_CHECKING:
    from meter.collectors.intake import Intake
    from meter.journal import Entry
    from meter.server.desk.forms import Given
    from meter.server.desk.sources import Sources

__all__ = ["DONE", "ActDesk", "Refusal", "done_words"]

_log = logging.getLogger("meter.server")

MOST_REASON: Final = 500
_NEED_REASON: Final = frozenset({"discard", "drop"})
DONE: Final = {
    "retry": "Offered again: it is delivered within a second, or refused again.",
    "discard": "Given up. Offering it again takes that back.",
    "assign": "Assigned: it is an event now, and is delivered as any other.",
    "ask": "The provider is asked again within seconds; it stays here until the job is known.",
    "drop": "Discarded. It is kept, and listed as discarded.",
}
"""What is said when an act is done, by the act."""


def done_words(act: str, view: object, sink: str = "") -> str:
    """Return what is said of an act, when what a page shows agrees that it was done.

    An address can say anything: it may be old, or somebody else's.

    Args:
        act: what is said to be done.
        view: what the page shows.
        sink: for which sink, where it is an event.
    """
    agrees = False
    if isinstance(view, EntryView):
        states = {"drop": {"discarded"}, "assign": {"assigned"}, "ask": {"open", "recorded"}}
        agrees = bool(view.people) and view.entry.state in states.get(act, ())
    elif isinstance(view, EventView):
        (state,) = [place.state for place in view.places if place.sink == sink] or [""]
        waits = state not in {"", "dead", "discarded"}
        agrees = bool(view.people) and {"retry": waits, "discard": state == "discarded"}.get(
            act, False
        )
    return DONE[act] if agrees else ""


class Refusal(Exception):
    """An act that is not done; the text says why, and nothing was changed."""


class ActDesk:
    """Carries out acts, each in one short transaction together with who did it and why."""

    def __init__(self, sources: Sources, intake: Intake) -> None:
        """Act on the journal of a run."""
        self._sources = sources
        self._clearing = Clearing(
            sources.journal,
            intake,
            collectors=frozenset(sources.config.collectors),
            clock=sources.clock,
        )

    async def do(self, form: Given, who: str) -> str:
        """Do what a form asks for; answer the address that shows what became of it.

        Raises:
            Refusal: it cannot be done.
        """
        act, reason = form.get("act", ""), form.get("reason", "").strip()
        if act not in DONE:
            raise Refusal("there is no such act")
        if len(reason) > MOST_REASON:
            raise Refusal(f"the reason is too long: at most {MOST_REASON} characters")
        if act in _NEED_REASON and not reason:
            raise Refusal("it needs a reason: that is kept, with who and when")
        doing = NewAct(who, reason)
        if act in {"retry", "discard"}:
            where = await self._letter(act, form, doing)
        else:
            where = await self._entry(act, form, doing)
        _log.info("desk.act", extra={"act": act, "who": who})
        return where

    async def _letter(self, act: str, form: Given, doing: NewAct) -> str:
        journal, now = self._sources.journal, self._sources.clock.now()
        event_id, sink = form.get("event", ""), form.get("sink", "")
        states = {"dead", "discarded"} if act == "retry" else {"dead"}
        if sink not in self._sources.config.sinks:
            raise Refusal("the file has no such sink")
        offsets = [
            place.row.offset
            for place in journal.exceptions.places(event_id)
            if place.sink == sink and place.state in states and place.row is not None
        ]
        do = journal.exceptions.redrive if act == "retry" else journal.exceptions.discard
        if not offsets or not await do(sink, offsets, now, doing):
            raise Refusal(f"it is no dead letter of {sink} any more")
        return address("/desk/event", id=event_id, done=act, sink=sink)

    async def _entry(self, act: str, form: Given, doing: NewAct) -> str:
        journal, now = self._sources.journal, self._sources.clock.now()
        entry = self.entry(form.get("entry", ""))
        case = case_of(entry, journal.find)
        try:
            if act == "drop":
                await journal.aside.discard(entry.id, now, doing)
            elif act == "ask":
                if case.retryable is not None or not self._has_webhook(entry.collector):
                    raise Refusal(case.retryable or "no collector of the file would ask for it")
                await journal.aside.ask_again(entry.id, receipt_of(entry), now, doing)
            else:
                if case.assignable is not None:
                    raise Refusal(f"{case.assignable}. {case.advice}")
                customer = form.get("customer", "")
                if not customer:
                    raise Refusal("say whose it is")
                fact = self._clearing.fact_of(entry, Naming(customer))
                await self._clearing.assign(entry, fact, doing)
        except (NotDone, Lacking, InvalidEvent) as error:
            raise Refusal(str(error)) from None
        return address("/desk/entry", id=entry.id, done=act)

    def entry(self, number: str) -> Entry:
        """Return what is in quarantine under a number.

        Raises:
            Refusal: there is no such thing.
        """
        known = number.isascii() and number.isdecimal() and len(number) < len(str(2**63))
        entry = self._sources.journal.aside.find(int(number)) if known else None
        if entry is None:
            raise Refusal("there is no such thing in quarantine")
        return entry

    def _has_webhook(self, collector: str) -> bool:
        ours = self._sources.config.collectors.get(collector)
        return ours is not None and ours.type == "webhook"
