"""What would be sent now: the very steps of the sink, carried out on a ledger that keeps nothing.

`planning` sorts the events and `freezing` computes units and slots, as when they are sent. Memory
holds one batch of events, and one line for each customer, meter and hour.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final, Literal

from meter_stripe.books import MeterBooks
from meter_stripe.freezing import TooLarge, freeze
from meter_stripe.imbalances import imbalances
from meter_stripe.ledger import Ledger, Tally
from meter_stripe.planning import plan
from meter_stripe.slots import HOUR, Wait
from meter_stripe.true_ups import owed

if TYPE_CHECKING:
    from meter.commands import SinkDesk, Standing
    from meter.events import Event
    from meter_stripe.customers import Customers
    from meter_stripe.intents import Intent
    from meter_stripe.jobs import Chain, Job
    from meter_stripe.sink import StripeSink

__all__ = ["Aside", "Forecast", "Hour", "Line", "forecast"]

EVENS_OUT: Final = "soon, to even out what was undone"
UNOPENED: Final = "not opened yet: "
NAMES: Final = 5
"""How many of our customers are named where several share one Stripe customer."""


@dataclass(slots=True)
class Hour:
    """What would be sent for one hour of usage."""

    events: int = 0
    seconds: Decimal = Decimal(0)
    units: int = 0
    meter_events: int = 0

    def add(self, other: Hour) -> None:
        """Add another one."""
        self.events += other.events
        self.seconds += other.seconds
        self.units += other.units
        self.meter_events += other.meter_events


@dataclass(slots=True)
class Line:
    """What would be sent for one customer on one meter.

    Attributes:
        customers: our names of that Stripe customer, the first few.
        stripe_customer, meter, unit: of the meter events.
        when: `now`, or what it waits for.
        remainder: seconds that stay behind because they make no whole unit.
        hours: by the start of the hour in which the usage happened, UTC.
    """

    stripe_customer: str
    meter: str
    unit: str
    when: str
    customers: list[str] = field(default_factory=list)
    remainder: Decimal = Decimal(0)
    hours: dict[datetime, Hour] = field(default_factory=dict)

    def total(self) -> Hour:
        """Return the sum over the hours."""
        total = Hour()
        for hour in self.hours.values():
            total.add(hour)
        return total


@dataclass(slots=True)
class Aside:
    """Usage that would not be sent, and why."""

    where: Literal["held", "dead", "rejected"]
    reason: str
    events: int = 0
    seconds: Decimal = Decimal(0)
    customers: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Forecast:
    """What `meter stripe plan` says.

    Attributes:
        at: when, aware UTC.
        lines: what would be sent, in order of meter and customer.
        aside: what would not, the most first.
        underway: intents whose answer is awaited: (event name, intent).
        taken_back: events that a person had cancelled: (event name, event id).
        settled: events that need no call.
        guessed: meters whose ledger is not known before the sink's first run.
    """

    at: datetime
    lines: dict[tuple[str, str, str], Line] = field(default_factory=dict)
    aside: dict[tuple[str, str], Aside] = field(default_factory=dict)
    underway: list[tuple[str, Intent]] = field(default_factory=list)
    taken_back: list[tuple[str, str]] = field(default_factory=list)
    settled: int = 0
    guessed: list[str] = field(default_factory=list)

    def set_aside(self, where: str, reason: str, event: Event) -> None:
        """Count an event that would not be sent."""
        found = self.aside.setdefault((where, reason), Aside(where, reason))  # type: ignore[arg-type]  # because the callers pass these
        found.events += 1
        found.seconds += event.billed_seconds or Decimal(0)
        if len(found.customers) < NAMES:
            found.customers.add(event.customer_id)


class DryLedger(Ledger):
    """A meter's ledger as it would be after what was planned so far; nothing is stored."""

    def __init__(self, ledger: Ledger) -> None:
        """Read what is there through the same state."""
        self.meter_id = ledger.meter_id
        self.state = ledger.state
        self._tallies: dict[str, Tally] = {}
        self._minutes: dict[str, set[int]] = {}

    def tallies(self, customers: Collection[str]) -> dict[str, Tally]:
        """Return tallies; those of planned intents come first."""
        planned = {c: self._tallies[c] for c in customers if c in self._tallies}
        return super().tallies([c for c in customers if c not in planned]) | planned

    def taken(self, customer: str, start: int, end: int) -> dict[int, str]:
        """Return the minutes that have an owner; those of planned intents too."""
        planned = {m: "planned" for m in self._minutes.get(customer, ()) if start <= m < end}
        return super().taken(customer, start, end) | planned

    def keep(self, chain: Chain, minute: int | None) -> None:
        """Note a chain's tally, and the minute that an intent takes."""
        self._tallies[chain.customer] = chain.tally
        if minute is not None:
            self._minutes.setdefault(chain.customer, set()).add(minute)


def forecast(desk: SinkDesk, customers: Customers) -> Forecast:
    """Say what would be sent now if everything left that can. Sends nothing, stores nothing.

    Args:
        desk: of a sink `stripe`.
        customers: refreshed.

    Raises:
        SinkError: the customers are not known.
    """
    sink: StripeSink = desk.sink
    made = Forecast(desk.clock.now())
    books = _dry_books(sink, made)
    for each in books:
        made.underway += [(each.event_name, i) for i in each.ledger.every_open_intent()]
    for batch in _batches(desk.standings(unsettled=True), made, sink.batch_size):
        _plan_batch(made, sink, books, customers, batch)
    for each in books:
        _plan_true_ups(made, each)
    made.lines = dict(sorted(made.lines.items()))
    return made


def _dry_books(sink: StripeSink, made: Forecast) -> list[MeterBooks]:
    known = {each.event_name: each for each in sink.books()}
    books = []
    for options in sink.options.meters:
        each = known.get(options.event_name)
        if each is None:
            made.guessed.append(options.event_name)
        ledger = (
            Ledger(sink.context.state, UNOPENED + options.event_name)
            if each is None
            else each.ledger
        )
        books.append(
            MeterBooks(
                options=options,
                ledger=DryLedger(ledger),
                ledger_id=sink.context.journal_id,
                mode=sink.options.mode or "",
            )
        )
    return books


def _batches(standings: Iterable[Standing], made: Forecast, size: int) -> Iterator[list[Event]]:
    """Yield batches as the sink is offered them: what was set aside, then what is new."""

    def living() -> Iterator[Standing]:
        for standing in standings:
            if standing.where == "dead":
                made.set_aside("dead", standing.reason, standing.event)
            else:
                yield standing

    for _, some in groupby(living(), key=lambda standing: standing.where == "pending"):
        while batch := [standing.event for standing in islice(some, size)]:
            yield batch


def _plan_batch(
    made: Forecast,
    sink: StripeSink,
    books: list[MeterBooks],
    customers: Customers,
    events: list[Event],
) -> None:
    by_id = {event.event_id: event for event in events}
    planned = plan(events, books, customers=customers, options=sink.options, now=made.at)
    for event_id, verdicts in planned.verdicts.found.items():
        for verdict in verdicts:
            if verdict.place in ("held", "rejected"):
                made.set_aside(verdict.place, verdict.reason, by_id[event_id])
            else:
                made.settled += 1
    for chain in planned.chains:
        _plan_chain(made, chain, by_id)


def _plan_chain(made: Forecast, chain: Chain, by_id: Mapping[str, Event]) -> None:
    """Freeze the new usage of a chain, without keeping it; what is before it may hold it up."""
    when = "now"
    for job in chain.jobs:
        if job.cancels is not None:
            made.taken_back.append((chain.books.event_name, job.cancels))
        elif job.intent is not None:
            if job.intent.next_at is not None and job.intent.next_at > made.at:
                when = f"once {job.intent.identifier} is answered"
        else:
            when = _plan_job(made, chain, job, when, by_id)


def _plan_job(made: Forecast, chain: Chain, job: Job, when: str, by_id: Mapping[str, Event]) -> str:
    """Add a job to the lines; return what the jobs after it wait for."""
    seconds = sum((usage.seconds for usage in job.usages), Decimal(0))
    units = chain.tally.units(seconds, chain.books.options.unit_seconds)
    minute: int | None = None
    try:
        intent, _ = freeze(chain, job, made.at, flushing=True)
    except TooLarge as error:
        for usage in job.usages:
            made.set_aside("held", str(error), by_id[usage.event_id])
        return when
    except Wait as wait:
        begins = datetime.fromtimestamp(wait.until, UTC)
        when = f"from {begins:%Y-%m-%d %H:%M}" if when == "now" else when
        chain.tally = chain.tally.plus(seconds, units)
    else:
        minute = intent.minute if intent.value else None
    ledger = chain.books.ledger
    if isinstance(ledger, DryLedger):
        ledger.keep(chain, minute)
    hour = _line(made, chain, job, when, by_id).hours.setdefault(_hour(job, made.at), Hour())
    hour.add(Hour(len(job.usages), seconds, units, int(units > 0)))
    return when


def _plan_true_ups(made: Forecast, books: MeterBooks) -> None:
    """Add what evens out what was undone, as far as the usage that is planned does not."""
    options = books.options
    for customer, imbalance in imbalances(books.ledger):
        tally = books.ledger.tallies([customer]).get(customer, Tally())
        units = owed(tally, options.unit_seconds)
        if not units:
            continue
        line = Line(customer, options.event_name, options.unit, EVENS_OUT)
        line.remainder = tally.used % options.unit_seconds
        begin = datetime.fromtimestamp(imbalance.minute - imbalance.minute % HOUR, UTC)
        line.hours[begin] = Hour(units=units, meter_events=1)
        made.lines[options.event_name, customer, EVENS_OUT] = line


def _hour(job: Job, now: datetime) -> datetime:
    last = now if job.carried else max(usage.occurred_at for usage in job.usages)
    return last.replace(minute=0, second=0, microsecond=0)


def _line(made: Forecast, chain: Chain, job: Job, when: str, by_id: Mapping[str, Event]) -> Line:
    options = chain.books.options
    line = made.lines.setdefault(
        (options.event_name, chain.customer, when),
        Line(chain.customer, options.event_name, options.unit, when),
    )
    for usage in job.usages:
        name = by_id[usage.event_id].customer_id
        if name not in line.customers and len(line.customers) < NAMES:
            line.customers.append(name)
    line.remainder = chain.tally.used - chain.tally.sent * options.unit_seconds
    return line
