"""The journal against the ledger: is everything that was delivered billed, and nothing else?

One pass over the sink's events, a page at a time. Memory holds a figure for each customer, meter
and day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Final

from meter_stripe.selection import meters_for

if TYPE_CHECKING:
    from meter.sinks import Deliveries, Standing
    from meter_stripe.books import MeterBooks
    from meter_stripe.intents import Intent
    from meter_stripe.ledger import Ledger, Tally
    from meter_stripe.sink import StripeSink

__all__ = ["Fault", "JournalFigures", "check_journal"]

PAGE: Final = 1_000
NAMES: Final = 5
MOST: Final = 1_000
"""How many faults are named."""
BILLS: Final = frozenset({"open", "delivered", "disputed", "cancelling", "absorbed"})
"""The states of an intent that stands, or may."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Where the journal and the ledger do not agree.

    Attributes:
        meter: the event name; empty where none is concerned.
        event_id: the event that it is about; empty where it is about a customer's sum.
    """

    meter: str
    customer: str
    event_id: str
    words: str


@dataclass(slots=True)
class JournalFigures:
    """What the journal says.

    Attributes:
        days: exact seconds of delivered events, by Stripe customer, event name and the day of the
            slot that bills them.
        names: our customers behind each Stripe customer, the first few.
        faults: the first ones.
        events: how many were looked at.
        used: exact seconds of everything that is billed, by Stripe customer and event name.
    """

    days: defaultdict[tuple[str, str, date], Decimal] = field(
        default_factory=lambda: defaultdict(Decimal)
    )
    names: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    faults: list[Fault] = field(default_factory=list)
    events: int = 0
    used: defaultdict[tuple[str, str], Decimal] = field(
        default_factory=lambda: defaultdict(Decimal)
    )

    def add(self, meter: str, standing: Standing, intent: Intent | None) -> None:
        """Add an event that is linked on a meter; `intent` is what bills it there."""
        event = standing.event
        if intent is None or intent.state not in BILLS:
            if standing.where == "delivered":
                state = (
                    "nothing bills it" if intent is None else f"its meter event is {intent.state}"
                )
                words = f"delivered by the journal, and by the ledger {state}"
                self.fault(meter, "" if intent is None else intent.customer, event.event_id, words)
            return
        if intent.kind == "correction":
            return  # it is being taken back
        seconds = event.billed_seconds or Decimal(0)
        self.used[intent.customer, meter] += seconds
        self.named(intent.customer, event.customer_id)
        if intent.state in ("delivered", "absorbed"):
            self.days[intent.customer, meter, intent.slot.date()] += seconds

    def named(self, stripe: str, ours: str) -> None:
        """Note a name of ours for a Stripe customer."""
        names = self.names[stripe]
        if ours not in names and len(names) < NAMES:
            names.append(ours)

    def fault(self, meter: str, customer: str, event_id: str, words: str) -> None:
        """Note a fault."""
        if len(self.faults) < MOST:
            self.faults.append(Fault(meter, customer, event_id, words))


def check_journal(
    sink: StripeSink, deliveries: Deliveries, progress: Callable[[int], None]
) -> JournalFigures:
    """Read the sink's events and their links.

    Args:
        sink: never opened.
        deliveries: what the journal knows of its events.
        progress: told now and then how many events were read.
    """
    books = sink.books()
    before = [dict(each.ledger.every_tally()) for each in books]
    found = JournalFigures()
    for page in _pages(deliveries.standings()):
        _look(found, sink, books, page)
        found.events += len(page)
        progress(found.events)
    for each, tallies in zip(books, before, strict=True):
        for customer, tally in each.ledger.every_tally():
            # What moved meanwhile cannot be compared; the next time it can.
            if tallies.get(customer) == tally:
                _compare(found, deliveries, each, customer, tally)
    return found


def _pages(standings: Iterable[Standing]) -> Iterator[list[Standing]]:
    rest = iter(standings)
    while page := list(islice(rest, PAGE)):
        yield page


def _look(
    found: JournalFigures, sink: StripeSink, books: list[MeterBooks], page: list[Standing]
) -> None:
    ids = [standing.event.event_id for standing in page]
    known: set[str] = set()
    for each in books:
        links = each.ledger.links(ids)
        known |= links.keys()
        intents = each.ledger.intents({link.now for link in links.values() if link.now})
        for standing in page:
            link = links.get(standing.event.event_id)
            if link is not None and not link.cancelled:
                intent = None if link.now is None else intents.get(link.now)
                found.add(each.event_name, standing, intent)
    for standing in page:
        event = standing.event
        if standing.where != "delivered" or event.event_id in known:
            continue
        if event.billed_seconds is not None and meters_for(sink.options.meters, event):
            found.fault(
                "", "", event.event_id, "delivered by the journal, and the ledger does not know it"
            )


def _compare(
    found: JournalFigures, deliveries: Deliveries, books: MeterBooks, customer: str, tally: Tally
) -> None:
    """Compare a customer's exact seconds; where they differ, look at each event."""
    journal = found.used.get((customer, books.event_name), Decimal(0))
    if journal == tally.used:
        return
    # Events that the sink was given under another name of its own are in the journal as well.
    days: defaultdict[date, Decimal] = defaultdict(Decimal)
    used, missing = Decimal(0), 0
    for intent, event_id in _billed(books.ledger, customer):
        event = deliveries.find(event_id)
        if event is None:
            missing += 1
            found.fault(
                books.event_name, customer, event_id, "billed, and the journal has no such event"
            )
        else:
            used += event.billed_seconds or Decimal(0)
            if intent.state in ("delivered", "absorbed"):
                days[intent.slot.date()] += event.billed_seconds or Decimal(0)
    for day, seconds in days.items():
        found.days[customer, books.event_name, day] = seconds
    if not missing and used != tally.used:
        found.fault(
            books.event_name,
            customer,
            "",
            f"the journal has {used.normalize():f} s, the ledger {tally.used.normalize():f} s",
        )


def _billed(ledger: Ledger, customer: str) -> Iterator[tuple[Intent, str]]:
    """Yield the events that a customer's intents bill, each with its intent."""
    after = ""
    while intents := ledger.page(after, PAGE):
        after = intents[-1].identifier
        for intent in intents:
            if intent.customer != customer or intent.state not in BILLS:
                continue
            for event_id, link in ledger.links(intent.events).items():
                if link.now == intent.identifier and intent.kind == "usage":
                    yield intent, event_id
