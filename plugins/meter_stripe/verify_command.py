"""`meter stripe verify`: the journal against Stripe's summaries, and where exactly they differ."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import click

from meter.commands.arguments import naming
from meter.commands.tables import one_line
from meter.errors import ConfigurationError, SinkError
from meter_stripe.api_errors import StripeRefused
from meter_stripe.asked import Question, known_customers, questions
from meter_stripe.comparison import SETTLE, compare, drill
from meter_stripe.counting import DAY, midnight
from meter_stripe.intents import shown
from meter_stripe.journal_check import check_journal
from meter_stripe.printing import counted
from meter_stripe.read_budget import ReadBudget
from meter_stripe.resolving import ways_out
from meter_stripe.unbilled import Unbilled, remainders, unbilled
from meter_stripe.verify_report import report

if TYPE_CHECKING:
    from pathlib import Path

    from meter.commands import SinkDesk
    from meter_stripe.asked import KnownCustomers
    from meter_stripe.books import MeterBooks
    from meter_stripe.comparison import DayFigures, SlotFigures
    from meter_stripe.journal_check import JournalFigures
    from meter_stripe.sink import StripeSink

__all__ = [
    "DIFFERS",
    "Days",
    "Look",
    "Outcome",
    "day_of",
    "days_asked",
    "questions_of",
    "refusal",
    "same_mode",
    "verify",
]

TOO_YOUNG: Final = "too young to tell"
DIFFERS: Final = "DIFFERS"
AWAITS: Final = "awaits an answer"
TAKEN_BACK: Final = "just taken back"
DRILLS: Final = 200
"""So many days that differ are drilled down; each takes some reads."""
NOT_FOUND: Final = 404
EXTRA: Final = 1_000
"""Most reads for those who have no usage in these days, so that the audit has its share."""


@dataclass(frozen=True, slots=True)
class Days:
    """UTC days, without `end`."""

    start: date
    end: date


@dataclass(frozen=True, slots=True)
class Difference:
    """Where figures differ.

    Attributes:
        slot: the minutes, and the figures.
        settled: who settled it; empty when nobody did.
        ways: what `meter stripe resolve` can do about it.
    """

    slot: SlotFigures
    settled: str
    ways: list[Literal["missing", "counted"]]


@dataclass(slots=True)
class Outcome:
    """What was found.

    Attributes:
        rows: a customer's day on a meter, and its state in a word.
        slots: where days differ.
        asked: the Stripe customers that Stripe was asked for.
        meters: the event names of the meters that it was asked for.
        not_asked: those customers that it was not asked for on every meter.
        begun: whether any of the days has begun.
        waits: usage that is not billed.
        mapping_trouble: why the mapping could not be read.
        reads: how many reads of Stripe's it took.
        not_drilled: days that differ and were not looked into.
        cut: the month's read budget was used up before the end.
    """

    days: Days
    journal: JournalFigures
    rows: list[tuple[DayFigures, str]] = field(default_factory=list)
    slots: list[Difference] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    meters: set[str] = field(default_factory=set)
    not_asked: set[str] = field(default_factory=set)
    begun: bool = True
    waits: Unbilled = field(default_factory=Unbilled)
    mapping_trouble: str = ""
    reads: int = 0
    not_drilled: int = 0
    cut: bool = False

    def count(self, state: str) -> int:
        """Return how many rows have a state."""
        return sum(each == state for _, each in self.rows)

    @property
    def agrees(self) -> bool:
        """Whether nothing differs that could be compared."""
        return not (self.cut or self.journal.faults or self.count(DIFFERS))


def days_asked(start: str | None, end: str | None, month: str | None, now: datetime) -> Days:
    """Read --from, --to (that day included) and --month.

    Raises:
        ConfigurationError: a text is no day, or the range is none.
    """
    today = now.astimezone(UTC).date()
    if month is not None:
        if start is not None or end is not None:
            raise ConfigurationError("--month and --from, --to exclude each other")
        first = day_of(f"{month}-01", "--month", "2026-11")
        return Days(first, (first + timedelta(days=32)).replace(day=1))
    last = today if end is None else day_of(end, "--to", "2026-11-22")
    before = last.replace(day=1) - timedelta(days=1)
    first = before.replace(day=1) if start is None else day_of(start, "--from", "2026-11-01")
    if first > last:
        raise ConfigurationError(f"--from {first} is after --to {last}")
    return Days(first, last + timedelta(days=1))


def day_of(text: str, option: str, example: str = "2026-11-22") -> date:
    """Read a day.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        said = text.removesuffix("-01") if option == "--month" else text
        raise ConfigurationError(f"{option} {said!r}: expected such as {example}") from None


def verify(
    desk: SinkDesk,
    days: Days,
    *,
    customer: str | None,
    strict: bool,
    style: str,
    pipelines: Path,
) -> int:
    """Compare and print; return the exit code: 1 when something differs.

    Args:
        desk: of a sink `stripe`.
        days: which days of Stripe's.
        customer: only this one: our name, or Stripe's id.
        strict: allow Stripe no time to count what was just delivered.
        style: table, csv or json.
        pipelines: the file, for the commands that are printed.

    Raises:
        SinkError: Stripe refuses the key, or does not answer; or the key is of another mode.
        ConfigurationError: nobody knows the customer.
    """
    sink: StripeSink = desk.sink
    books = sink.books()
    if not books:
        raise SinkError("the sink was not opened yet, so that nothing was sent")
    same_mode(sink, books)
    say = _progress()
    budget = ReadBudget(desk.context.state, sink.options.reads_per_month)
    try:
        journal = check_journal(sink, desk, lambda count: say(f"{counted(count, 'event')} read"))
        found = Outcome(days, journal)
        found.begun = days.start <= desk.clock.now().astimezone(UTC).date()
        known = known_customers(sink, books, desk.clock.now())
        found.mapping_trouble = known.trouble
        ids = None if customer is None else known.meant(customer, journal.names)
        _add_waiting(desk, found, known, customer, ids)
        for ours, stripe in known.mapped.items():
            journal.named(stripe, ours)
        # An hour later, nothing would be too young any more.
        look = Look(found, sink, budget.left(desk.clock.now()), say)
        for each in questions_of(known, books, days, ids, desk.clock.now()):
            look.compare(each, desk.clock.now() + (SETTLE if strict else timedelta()))
        order = [each.event_name for each in books]
        found.rows.sort(key=lambda row: (order.index(row[0].event_name), row[0].customer))
        if ids is not None:
            journal.faults = [fault for fault in journal.faults if fault.customer in ids]
    except StripeRefused as error:
        raise SinkError(refusal(error, sink, books)) from error
    finally:
        say("")
        reads = sink.api().reads
        desk.context.state.commit(budget.spend(reads, desk.clock.now()))
        sink.close()
    found.reads = reads
    report(desk, found, style, naming(pipelines))
    return 0 if found.agrees else 1


def same_mode(sink: StripeSink, meters: Iterable[MeterBooks]) -> None:
    """Refuse a key of another mode than usage was sent in: Stripe knows no such meter there.

    Raises:
        SinkError: it is of another one.
    """
    sink.api()  # says so when it is no key at all
    for books in meters:
        record = books.ledger.record()
        if record is not None and record.mode != sink.options.mode:
            raise SinkError(
                f"the ledger of the meter {books.event_name!r} is of Stripe's {record.mode} mode, "
                f"and the sink's api_key is of {sink.options.mode} mode: compare with a key of "
                f"{record.mode} mode"
            )


def refusal(error: StripeRefused, sink: StripeSink, meters: Iterable[MeterBooks]) -> str:
    """Say what Stripe refused; a meter that it does not know is one of another account."""
    unknown = [books for books in meters if books.ledger.meter_id in str(error)]
    if error.status != NOT_FOUND or not unknown:
        return str(error)
    return (
        f"{error}: the ledger of the meter {unknown[0].event_name!r} and the sink's api_key are "
        f"both of {sink.options.mode} mode, so that the key is of another account or sandbox"
    )


def questions_of(
    known: KnownCustomers,
    meters: list[MeterBooks],
    days: Days,
    ids: list[str] | None,
    now: datetime,
) -> list[Question]:
    """Return what Stripe is asked; nothing of days that have not begun."""
    start = midnight(days.start)
    end = min(midnight(days.end), midnight(now.astimezone(UTC).date()) + DAY)
    if start >= end:
        return []
    if ids is not None:
        return [Question(books, each, due=True) for books in meters for each in ids]
    return questions(known, meters, start=start, end=end)


def _add_waiting(
    desk: SinkDesk,
    found: Outcome,
    known: KnownCustomers,
    customer: str | None,
    ids: list[str] | None,
) -> None:
    """Add up what is not billed.

    Raises:
        ConfigurationError: nobody knows the customer that was asked for.
    """
    names: set[str] | None = None
    if customer is not None and ids is not None:
        names = {ours for ours, stripe in known.mapped.items() if stripe in ids}
        names |= {name for each in ids for name in found.journal.names.get(each, ())}
        names.add(customer)
    found.waits = unbilled(desk, found.days.start, found.days.end, names)
    if customer is not None and not ids:
        if not any(each.event.customer_id == customer for each in desk.standings(unsettled=True)):
            trouble = f"; {known.trouble}" if known.trouble else ""
            raise ConfigurationError(
                f"--customer {one_line(customer)}: neither the ledger nor the option `customers` "
                f"of the sink knows it, as a name of yours or as Stripe's id{trouble}; `meter "
                "stripe verify` without it lists those that were billed"
            )
        if desk.sink.options.customers == "passthrough" and ids is not None:
            ids.append(customer)
    remainders(found.waits, desk.sink.books(), ids)


def _progress() -> Callable[[str], None]:
    """Return what shows progress: on a terminal only; an empty text ends it."""
    if not sys.stderr.isatty():
        return lambda _words: None

    def say(words: str) -> None:
        click.echo(f"\r\x1b[K{words and '  ' + words}", err=True, nl=False)

    return say


class Look:
    """Asks Stripe, within the month's read budget."""

    def __init__(
        self, found: Outcome, sink: StripeSink, budget: int, say: Callable[[str], None]
    ) -> None:
        self.found = found
        self.api = sink.api()
        self.clock = sink.context.clock
        self.budget = budget
        self.say = say
        self.drilled = 0
        self.extra = 0

    def spent(self) -> bool:
        """Tell whether nothing more may be read, and remember that it was wanted."""
        self.found.cut = self.found.cut or self.api.reads >= self.budget
        return self.found.cut

    def compare(self, each: Question, now: datetime) -> None:
        """Compare the days of one customer on one meter, if there are reads left for it."""
        found, before = self.found, self.api.reads
        no_more = self.extra >= EXTRA or before >= self.budget
        if self.spent() if each.due else no_more:
            found.not_asked.add(each.customer)
            return
        books, days = each.books, found.days
        self.say(f"{books.event_name}: {each.customer}, {counted(self.api.reads, 'read')}")
        for figures in compare(
            self.api, books, customers=[each.customer], start=days.start, end=days.end, now=now
        ):
            found.rows.append((figures, self.state(books, figures, now)))
        found.asked.add(each.customer)
        found.meters.add(books.event_name)
        if not each.due:
            self.extra += self.api.reads - before

    def state(self, books: MeterBooks, figures: DayFigures, now: datetime) -> str:
        """Say how a day stands, in a word."""
        if figures.difference:
            return self.drill(books, figures, now)
        if figures.accepted is not None:
            return figures.accepted.words
        if figures.doubtful:
            return TAKEN_BACK if figures.doubtful == figures.taken_back else AWAITS
        return "agrees" if figures.counted == figures.delivered else TOO_YOUNG

    def drill(self, books: MeterBooks, figures: DayFigures, now: datetime) -> str:
        """Look where a day differs; what a person has settled is no difference any more."""
        if self.drilled == DRILLS or self.spent():
            self.found.not_drilled += 1
            return DIFFERS
        self.drilled += 1
        settled: list[bool] = []
        for slot in drill(self.api, books, figures.customer, figures.day, now=now):
            words = _settled(books, slot)
            settled.append(bool(words))
            # By the true time, also with --strict: a command is about to be recommended.
            at = self.clock.now()
            ways = [] if slot.intent is None else ways_out(books, slot.intent, slot.counted, at)
            self.found.slots.append(Difference(slot, words, ways))
            if self.spent():
                return DIFFERS
        return "settled" if settled and all(settled) else DIFFERS


def _settled(books: MeterBooks, slot: SlotFigures) -> str:
    """Say who settled a difference; nothing when nobody did."""
    if slot.intent is None:
        return ""
    identifier = slot.intent.identifier
    said = books.ledger.resolved([identifier]).get(identifier)
    if said is None or said.act != "counted":
        return ""
    reason = f": {said.reason}" if said.reason else ""
    return f"settled as counted by {said.who} at {shown(said.at)}{reason}"
