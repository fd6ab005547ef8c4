"""Unwinding: an intent that seemed to stand does not, and its usage is no longer billed by it.

Used where Stripe or a person says so afterwards. Only in the sink's own thread, because existing
intents, links and tallies change; everything is stored with one report.

The tally follows. `sent` loses the intent's units. `used` loses the seconds of the events whose
billing ends: those that were taken back meanwhile by a negative event have left it already. What
the two do not agree on then is evened out; see `imbalances`.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from meter.sinks import Report
from meter_stripe.answers import Answer, Outcome
from meter_stripe.imbalances import refused, undone
from meter_stripe.ledger import Link, Tally

if TYPE_CHECKING:
    from meter.sinks import StateWrite
    from meter_stripe.intents import Intent, State
    from meter_stripe.ledger import Ledger

__all__ = ["UNWOUND", "Busy", "Unwinding"]

UNWOUND: Final = frozenset({"open", "delivered", "disputed", "cancelling"})
"""The states of an intent that stands, or may."""


class Busy(Exception):
    """A negative event for one of its events is under way: look again when that is settled."""


class Unwinding:
    """Collects what is to be stored about intents of one meter that do not stand."""

    def __init__(self, ledger: Ledger, now: datetime) -> None:
        """Begin with nothing; what is read is as of now."""
        self.recall: dict[str, str] = {}
        self.hasten = False
        self._ledger = ledger
        self._now = now
        self._tallies: dict[str, Tally] = {}
        self._undone: defaultdict[str, list[Intent]] = defaultdict(list)
        self._changed: dict[str, Intent] = {}
        self._links: dict[str, Link] = {}
        self._writes: list[StateWrite] = []

    def reject(self, intent: Intent, words: str) -> None:
        """Flip an intent to rejected: its events become dead letters, once offered again.

        Those that a person asked to take back are done with: they are not billed.

        Raises:
            Busy: nothing was collected for this intent.
        """
        if self._current(intent).state not in UNWOUND:
            self.note(intent, "report", words)
        elif intent.kind == "correction":
            billed = self._correction(intent, "rejected", words)
            if billed:
                again = "it is billed as before. Ask for it again: `meter stripe cancel`"
                words = f"taking back {', '.join(billed)} did not count: {words}; {again}"
                self._writes.append(self._ledger.problem(intent.identifier, words))
        elif intent.kind == "true_up":
            self._unwind(intent, "rejected", words)
            self._writes.append(refused(self._ledger, intent, words))
        else:
            links = self._unwind(intent, "rejected", words)
            taken_back = {
                event_id
                for event_id, decision in self._ledger.decisions(links).items()
                if decision.act == "cancel"
            }
            for event_id, link in links.items():
                if event_id in taken_back:
                    self._links[event_id] = Link(None, link.to(None).past, cancelled=True)
                else:
                    self.recall[event_id] = words

    def free(self, intent: Intent, words: str) -> None:
        """End an intent so that its events form a new one; a negative event is tried again.

        Raises:
            Busy: nothing was collected for this intent.
        """
        if intent.kind == "correction":
            links = self._correction(intent, "reissued", words)
        else:
            links = self._unwind(intent, "reissued", words)
            for event_id, link in links.items():
                self._links[event_id] = link.to(None)
        self.recall.update(dict.fromkeys(links, words))

    def note(self, intent: Intent, what: str, words: str) -> None:
        """Note in an intent's history what is known of it now; nothing else changes."""
        self._change(intent, _noted(self._current(intent), what, "noted", words, self._now))

    def report(self, *state: StateWrite) -> Report:
        """Return all of it, and other writes, as one report."""
        ledger = self._ledger
        writes = [*self._writes]
        writes += [ledger.link(event_id, link) for event_id, link in self._links.items()]
        writes += [ledger.tally(customer, tally) for customer, tally in self._tallies.items()]
        writes += [undone(ledger, intents, self._now) for intents in self._undone.values()]
        return Report(recall=self.recall, hasten=self.hasten, state=[*writes, *state])

    # -- one intent ----------------------------------------------------------------------------

    def _unwind(self, intent: Intent, state: State, words: str) -> dict[str, Link]:
        """Take an intent of usage out of the tally; return the links of events it still bills."""
        links = self._linked(intent)
        taken_back = self._taken_back(intent, links)
        self._end(intent, state, words)
        self._untally(intent, intent.seconds - taken_back, intent.value)
        return {event_id: link for event_id, link in links.items() if link.now == intent.identifier}

    def _correction(self, intent: Intent, state: State, words: str) -> dict[str, Link]:
        """Take a negative event out of the tally: what it took back is billed again, if it was.

        Returns:
            The links of the events that are billed again.
        """
        target = None if intent.takes_from is None else self._ledger.intent(intent.takes_from)
        stands = target is not None and self._current(target).state in {*UNWOUND, "absorbed"}
        links = self._linked(intent)
        self._end(intent, state, words)
        self._untally(intent, intent.seconds if stands else Decimal(0), intent.value)
        billed: dict[str, Link] = {}
        for event_id, link in links.items():
            freed = link if link.now is None else link.to(None)
            if stands:
                past = tuple(one for one in freed.past if one != intent.takes_from)
                billed[event_id] = Link(intent.takes_from, past)
                self._links[event_id] = billed[event_id]
            else:
                self._links[event_id] = Link(None, freed.past, cancelled=True)
        return billed

    def _taken_back(self, intent: Intent, links: dict[str, Link]) -> Decimal:
        """Return the seconds of its events that negative events took back, and that stand."""
        names = {
            name
            for link in links.values()
            if link.now != intent.identifier
            for name in (*link.past, link.now)
            if name is not None
        }
        seconds = Decimal(0)
        for found in self._ledger.intents(names).values():
            other = self._current(found)
            if other.kind != "correction" or other.takes_from != intent.identifier:
                continue
            if other.unsettled:
                raise Busy(other.identifier)
            if other.state in ("delivered", "disputed", "absorbed"):
                seconds -= other.seconds
        return seconds

    def _end(self, intent: Intent, state: State, words: str) -> None:
        what = "report" if state == "rejected" else "resolve"
        before = self._current(intent)
        # Its events are held, for up to an hour; those of an open one come again at their time.
        self.hasten = self.hasten or before.state == "disputed"
        ended = _noted(before, what, state, words, self._now)
        self._change(before, ended.changed(state=state, next_at=None, note=words))
        self._writes += [
            self._ledger.problem(intent.identifier, None),
            self._ledger.compare(intent.slot, intent.customer),
        ]

    def _change(self, before: Intent, after: Intent) -> None:
        """Store an intent; the index of open ones changes only if it was one."""
        self._changed[after.identifier] = after
        if before.unsettled:
            self._writes += self._ledger.put(after)
        else:
            self._writes.append(self._ledger.put_aside(after))

    def _current(self, intent: Intent) -> Intent:
        return self._changed.get(intent.identifier, intent)

    def _linked(self, intent: Intent) -> dict[str, Link]:
        found = self._ledger.links(intent.events)
        return {event_id: self._links.get(event_id, link) for event_id, link in found.items()}

    def _untally(self, intent: Intent, seconds: Decimal, units: int) -> None:
        tally = self._tallies.get(intent.customer)
        if tally is None:
            tally = self._ledger.tallies([intent.customer]).get(intent.customer, Tally())
        self._tallies[intent.customer] = tally.plus(-seconds, -units)
        self._undone[intent.customer].append(intent)


def _noted(intent: Intent, what: str, outcome: str, words: str, now: datetime) -> Intent:
    # A call that is under way stays so: whoever resumes it must know.
    in_flight = intent.in_flight_at
    noted = intent.noted(what, outcome, now, Answer(Outcome.REFUSED, message=words))
    return msgspec.structs.replace(noted, in_flight_at=in_flight)
