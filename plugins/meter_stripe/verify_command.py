"""`meter stripe verify`: the journal against Stripe's summaries, and where exactly they differ."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from meter.commands.arguments import naming
from meter.errors import ConfigurationError, SinkError
from meter_stripe.api_errors import StripeRefused
from meter_stripe.comparison import SETTLE, compare, drill
from meter_stripe.intents import shown
from meter_stripe.journal_check import check_journal
from meter_stripe.printing import counted
from meter_stripe.read_budget import ReadBudget
from meter_stripe.verify_report import report

if TYPE_CHECKING:
    from pathlib import Path

    from meter.commands import SinkDesk
    from meter_stripe.books import MeterBooks
    from meter_stripe.comparison import DayFigures, SlotFigures
    from meter_stripe.journal_check import JournalFigures
    from meter_stripe.sink import StripeSink

__all__ = ["Days", "day_of", "days_asked", "verify"]

TOO_YOUNG: Final = "too young to tell"
DIFFERS: Final = "DIFFERS"
AWAITS: Final = "awaits an answer"
DRILLS: Final = 200
"""So many days that differ are drilled down; each takes some reads."""


@dataclass(frozen=True, slots=True)
class Days:
    """UTC days, without `end`."""

    start: date
    end: date


@dataclass(slots=True)
class Outcome:
    """What was found.

    Attributes:
        rows: a customer's day on a meter, and its state in a word.
        slots: where days differ, and who settled it, if a person has.
        reads: how many reads of Stripe's it took.
        not_drilled: days that differ and were not looked into.
        cut: the month's read budget was used up before the end.
    """

    days: Days
    journal: JournalFigures
    rows: list[tuple[DayFigures, str]] = field(default_factory=list)
    slots: list[tuple[SlotFigures, str]] = field(default_factory=list)
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
        SinkError: Stripe refuses the key, or does not answer.
    """
    sink: StripeSink = desk.sink
    books = sink.books()
    if not books:
        raise SinkError("the sink was not opened yet, so that nothing was sent")
    say = _progress()
    budget = ReadBudget(desk.context.state, sink.options.reads_per_month)
    try:
        journal = check_journal(desk, lambda count: say(f"{counted(count, 'event')} read"))
        found = Outcome(days, journal)
        look = _Look(found, sink, budget.left(desk.clock.now()), say)
        for each in books:
            # An hour later, nothing would be too young any more.
            at = desk.clock.now() + (SETTLE if strict else timedelta())
            look.compare(each, _wanted(journal, customer), at)
        if customer is not None:
            ids = set(_wanted(journal, customer) or ())
            journal.faults = [fault for fault in journal.faults if fault.customer in ids]
        found.reads = sink.api().reads
        desk.context.state.commit(budget.spend(found.reads, desk.clock.now()))
    except StripeRefused as error:
        raise SinkError(str(error)) from error
    finally:
        say("")
        sink.close()
    report(desk, found, style, naming(pipelines))
    return 0 if found.agrees else 1


def _progress() -> Callable[[str], None]:
    """Return what shows progress: on a terminal only; an empty text ends it."""
    if not sys.stderr.isatty():
        return lambda _words: None

    def say(words: str) -> None:
        click.echo(f"\r\x1b[K{words and '  ' + words}", err=True, nl=False)

    return say


def _wanted(journal: JournalFigures, customer: str | None) -> list[str] | None:
    """Return the Stripe customers that are meant; None for all."""
    if customer is None:
        return None
    ids = {stripe for stripe, names in journal.names.items() if customer in names}
    return sorted(ids or {customer})


class _Look:
    """Asks Stripe, within the month's read budget."""

    def __init__(
        self, found: Outcome, sink: StripeSink, budget: int, say: Callable[[str], None]
    ) -> None:
        self.found = found
        self.api = sink.api()
        self.budget = budget
        self.say = say
        self.drilled = 0

    def spent(self) -> bool:
        """Tell whether nothing more may be read, and remember that it was so."""
        self.found.cut = self.found.cut or self.api.reads >= self.budget
        return self.found.cut

    def compare(self, books: MeterBooks, customers: list[str] | None, now: datetime) -> None:
        """Compare the days of one meter."""
        days = self.found.days
        if self.spent():
            return
        for figures in compare(
            self.api, books, customers=customers, start=days.start, end=days.end, now=now
        ):
            self.say(f"{books.event_name}: {figures.customer}, {counted(self.api.reads, 'read')}")
            state = "agrees"
            if figures.difference:
                state = self.drill(books, figures, now)
            elif figures.doubtful:
                state = AWAITS
            elif figures.counted != figures.delivered:
                state = TOO_YOUNG
            self.found.rows.append((figures, state))
            if self.spent():
                return

    def drill(self, books: MeterBooks, figures: DayFigures, now: datetime) -> str:
        """Look where a day differs; what a person has settled is no difference any more."""
        if self.drilled == DRILLS:
            self.found.not_drilled += 1
            return DIFFERS
        self.drilled += 1
        settled: list[bool] = []
        for slot in drill(self.api, books, figures.customer, figures.day, now=now):
            words = _settled(books, slot)
            settled.append(bool(words))
            self.found.slots.append((slot, words))
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
