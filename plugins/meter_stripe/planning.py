"""Planning: what is to be done about the events of a batch. Reads the ledger, writes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter_stripe.customers import Unmapped
from meter_stripe.jobs import Chain, Job, Usage
from meter_stripe.late import late_reason
from meter_stripe.ledger import Link, Tally
from meter_stripe.selection import counts
from meter_stripe.slots import HOUR
from meter_stripe.verdicts import Verdict, Verdicts

if TYPE_CHECKING:
    from meter.events import Event
    from meter_stripe.books import MeterBooks
    from meter_stripe.customers import Customers
    from meter_stripe.intents import Intent
    from meter_stripe.ledger import Decision
    from meter_stripe.options import StripeOptions

__all__ = ["Plan", "plan"]

NO_METER: Final = "no meter of the sink counts it: see `meters:`"
NEVER_BILLED: Final = "events of this kind are never billed"


@dataclass(slots=True)
class Plan:
    """What a batch comes to.

    Attributes:
        verdicts: of the events that need no call; the chains add the others.
        chains: one for each customer and meter with something to do.
    """

    verdicts: Verdicts = field(default_factory=Verdicts)
    chains: list[Chain] = field(default_factory=list)


@dataclass(slots=True)
class _Found:
    """What the ledger of one meter says of a batch."""

    links: dict[str, Link]
    intents: dict[str, Intent]
    decisions: dict[str, Decision]


def plan(
    events: Sequence[Event],
    meters: Iterable[MeterBooks],
    *,
    customers: Customers,
    options: StripeOptions,
    now: datetime,
) -> Plan:
    """Sort the events of a batch by what is to be done about them."""
    made = Plan()
    selected: set[str] = set()
    redriven: set[str] = set()
    planners = []
    for books in meters:
        mine = [event for event in events if counts(books.options, event)]
        selected.update(event.event_id for event in mine)
        if mine:
            planner = _Planner(made, books, customers, options, now)
            redriven |= planner.find(mine)
            planners.append(planner)
    for planner in planners:
        planner.plan(redriven)
    for event in events:
        if event.event_id not in selected:
            billed = event.billed_seconds is not None
            verdict = Verdict("held", NO_METER) if billed else Verdict("rejected", NEVER_BILLED)
            made.verdicts.give([event.event_id], verdict)
    return made


class _Planner:
    """Plans the events that one meter counts."""

    def __init__(
        self,
        made: Plan,
        books: MeterBooks,
        customers: Customers,
        options: StripeOptions,
        now: datetime,
    ) -> None:
        self.made = made
        self.books = books
        self.customers = customers
        self.options = options
        self.now = now
        self.events: Sequence[Event] = ()
        self.found = _Found({}, {}, {})
        self.redriven: set[str] = set()
        self.resumed: dict[str, Job] = {}
        self.cancels: list[Job] = []
        self.groups: defaultdict[tuple[str, int, bool], list[Usage]] = defaultdict(list)

    def find(self, events: Sequence[Event]) -> set[str]:
        """Read the ledger; return the events that were refused here, and told so, once."""
        ledger = self.books.ledger
        ids = [event.event_id for event in events]
        links = ledger.links(ids)
        self.events = events
        self.found = _Found(
            links,
            ledger.intents({link.now for link in links.values() if link.now is not None}),
            ledger.decisions(ids),
        )
        return {i for i, link in links.items() if link.now is None and link.past}

    def plan(self, redriven: set[str]) -> None:
        """Sort the events; `redriven` are back, on any meter, although they were refused."""
        self.redriven = redriven
        for event in self.events:
            self._sort(event, self.found)
        self._chains()

    def _sort(self, event: Event, found: _Found) -> None:
        """Say at once what became of an event, or put it to a job."""
        link = found.links.get(event.event_id, Link())
        decision = found.decisions.get(event.event_id)
        cancels = decision is not None and decision.act == "cancel"
        intent = None if link.now is None else found.intents.get(link.now)
        if link.cancelled:
            self._give(event, Verdict("duplicate"))
        elif intent is None:
            self._fresh(event, link, decision)
        elif intent.unsettled:
            self.resumed.setdefault(intent.identifier, Job(intent)).offered.append(event.event_id)
        elif intent.state in ("delivered", "absorbed"):
            if cancels:
                usage = Usage(
                    event.event_id, event.occurred_at, event.billed_seconds or Decimal(0), link
                )
                job = Job(intent, [event.event_id], usages=[usage], cancels=event.event_id)
                self.cancels.append(job)
            else:
                self._give(event, Verdict("duplicate"))
        elif intent.state == "disputed":
            self._give(event, Verdict("held", intent.note))
        elif event.event_id in self.redriven:
            # Refused here after it was a dead letter of another meter: it is offered again to all.
            self._fresh(event, link.to(None), decision)
        else:
            self._give(event, rejection(self.books, event.event_id, link, intent.note))

    def _fresh(self, event: Event, link: Link, decision: Decision | None) -> None:
        """Group an event that nothing bills yet, unless it must wait for a person."""
        seconds = event.billed_seconds
        if seconds is None:
            self._give(event, Verdict("rejected", NEVER_BILLED))
            return
        if decision is not None and decision.act == "cancel":
            self.made.verdicts.state.append(
                self.books.ledger.link(event.event_id, Link(None, link.past, cancelled=True))
            )
            self._give(event, Verdict("delivered"))
            return
        try:
            customer = self.customers.find(event.customer_id)
        except Unmapped as reason:
            self._give(event, Verdict("held", str(reason)))
            return
        late = late_reason(event.occurred_at, self.now, self.options)
        forward = self.options.late == "carry_forward" or (
            decision is not None and decision.act == "carry_forward"
        )
        if late is not None and not forward:
            self._give(event, Verdict("held", f"late: {late}"))
            return
        hour = -1 if late is not None else int(event.occurred_at.timestamp()) // HOUR
        self.groups[customer, hour, late is not None].append(
            Usage(event.event_id, event.occurred_at, seconds, link)
        )

    def _chains(self) -> None:
        """Put the jobs in order: what is open first, then what is taken back, then the new."""
        ledger = self.books.ledger
        touched = {customer for customer, _, _ in self.groups}
        touched.update(job.intent.customer for job in self.cancels if job.intent is not None)
        jobs: defaultdict[str, list[Job]] = defaultdict(list)
        for job in self.resumed.values():
            if job.intent is not None:
                jobs[job.intent.customer].append(job)
        for customer, intent in ledger.open_intents(touched - jobs.keys()).items():
            jobs[customer].append(Job(intent))
        for job in self.cancels:
            if job.intent is not None:
                jobs[job.intent.customer].append(job)
        for (customer, _, carried), usages in sorted(self.groups.items(), key=lambda g: g[0]):
            ids = [usage.event_id for usage in usages]
            jobs[customer].append(Job(None, ids, usages=usages, carried=carried))
        tallies = ledger.tallies(jobs.keys())
        for customer, some in jobs.items():
            chain = Chain(self.books, customer, tallies.get(customer, Tally()), self.made.verdicts)
            chain.jobs.extend(some)
            self.made.chains.append(chain)

    def _give(self, event: Event, verdict: Verdict) -> None:
        self.made.verdicts.give([event.event_id], verdict)


def rejection(books: MeterBooks, event_id: str, link: Link, words: str) -> Verdict:
    """Return the verdict on an event of a rejected intent, which frees it for a redrive."""
    return Verdict("rejected", words, unlink=books.ledger.link(event_id, link.to(None)))
