"""`meter stripe resolve`: a person says what is true where Stripe's figures do not bear it out."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

import click

from meter.commands.people import confirmed, on_terminal, who
from meter.commands.tables import one_line
from meter.errors import SinkError
from meter_stripe import proof
from meter_stripe.api_errors import StripeRefused
from meter_stripe.asking import carried_out, why_not
from meter_stripe.comparison import compare
from meter_stripe.intents import shown
from meter_stripe.printing import counted, figure, number
from meter_stripe.read_budget import ReadBudget
from meter_stripe.resolving import (
    DONE,
    Unresolvable,
    accept_day,
    resolve_counted,
    resolve_missing,
)
from meter_stripe.troubles import dismiss, troubles

if TYPE_CHECKING:
    from meter.commands import SinkDesk
    from meter_stripe.books import MeterBooks
    from meter_stripe.comparison import DayFigures
    from meter_stripe.intents import Intent
    from meter_stripe.sink import StripeSink

__all__ = ["accept", "resolve"]


def resolve(
    desk: SinkDesk,
    identifier: str,
    *,
    act: Literal["counted", "missing"] | None,
    reason: str,
    yes: bool,
    seconds: float = 30,
) -> int:
    """Store what a person says, and have it seen to; return the exit code.

    Args:
        desk: of a sink `stripe`; may deliver.
        identifier: of a meter event, or the name of a trouble that `meter status` shows.
        act: what is true of the meter event.
        reason: why, for the record.
        yes: ask nothing.
        seconds: how long to wait for a running `meter run`.
    """
    state = desk.context.state
    found = dict(troubles(state)).get(identifier)
    if found is not None:
        state.commit([dismiss(state, identifier)])
        click.echo(f"no longer shown: {one_line(found.words)}")
        return 0
    books, intent = _find(desk, identifier)
    if books is None or intent is None:
        click.echo(
            f"meter: the ledger has no meter event {one_line(identifier)}; `meter status` and "
            "`meter stripe verify` show those that differ",
            err=True,
        )
        return 1
    if act is None:
        raise click.UsageError("--as counted or --as missing: say what is true of it")
    click.echo(
        f"{identifier}: {counted(intent.value, books.options.unit)} of {intent.customer} on "
        f"{books.event_name}, in the minute {shown(intent.slot)}, {intent.state}"
    )
    words = _in_the_way(desk.sink, books, intent, act)
    if words is None:
        words = _said(desk, books, intent, act, reason=reason, yes=yes)
    if words is not None:
        click.echo(f"meter: nothing was done: {words}", err=True)
        return 1
    ledger = books.ledger

    def done() -> bool:
        return all(name != identifier for name, _ in ledger.resolutions())

    if not carried_out(
        desk, done, seconds=seconds, waiting_for="waits for the running `meter run` to see to it"
    ):
        click.echo(f"not seen to yet: {why_not(desk)}", err=True)
        return 1
    kept = ledger.resolved([identifier]).get(identifier)
    after = ledger.intent(identifier)
    outcome = kept.outcome if kept is not None else ""
    click.echo(f"{outcome or DONE}: it is {after.state if after is not None else 'gone'} now")
    return 0 if outcome in ("", DONE) else 1


def _said(
    desk: SinkDesk,
    books: MeterBooks,
    intent: Intent,
    act: Literal["counted", "missing"],
    *,
    reason: str,
    yes: bool,
) -> str | None:
    """Ask the person, and store what they say; return why it is not stored."""
    click.echo(
        "  Stripe's figure is taken for right as it is; nothing is sent"
        if act == "counted"
        else f"  Stripe counts nothing of it: {counted(len(intent.events), 'event')} billed anew"
    )
    reason = _reason(reason, yes=yes)
    if not confirmed("is that so?", yes=yes):
        return "it was not confirmed"
    say = resolve_counted if act == "counted" else resolve_missing
    try:
        books.ledger.state.commit(say(books, intent, who(), desk.clock.now(), reason))
    except Unresolvable as error:
        return str(error)
    desk.acted(f"resolve as {act}", reason, intent.events)
    return None


def _reason(given: str, *, yes: bool) -> str:
    """Return why, for the record: asked for where somebody can answer."""
    if given or yes or not on_terminal():
        return given
    return str(click.prompt("why, for the record", default="", show_default=False))


def accept(desk: SinkDesk, customer: str, day: date, *, reason: str = "", yes: bool = False) -> int:
    """Take what Stripe counts of a customer's day for right as it is; return the exit code.

    Only the difference that is seen now is accepted, on every meter where there is one.

    Args:
        desk: of a sink `stripe`.
        customer: Stripe's id.
        day: UTC.
        reason: why, for the record.
        yes: ask nothing.

    Raises:
        SinkError: Stripe does not say what it counts.
        ConfigurationError: there is nobody to ask.
    """
    every: list[MeterBooks] = desk.sink.books()
    found = _days(desk, every, customer, day)
    if not found and not any(books.ledger.tallies([customer]) for books in every):
        click.echo(
            f"meter: nothing was ever sent for a Stripe customer {one_line(customer)}, and Stripe "
            f"counts nothing of it on {day}; `meter stripe verify` lists them",
            err=True,
        )
        return 1
    differing = [(books, figures) for books, figures in found if figures.difference]
    if not differing:
        click.echo(f"{one_line(customer)}, {day}: nothing differs there, so nothing is to accept")
        return 0
    for books, figures in differing:
        click.echo(
            f"{one_line(customer)} on {books.event_name}, {day}: {figure(figures.delivered)} sent, "
            f"Stripe counts {figure(figures.counted)}; Stripe's figure is taken for right"
        )
    reason = _reason(reason, yes=yes)
    if not confirmed("is that so?", yes=yes):
        click.echo("meter: nothing was done: it was not confirmed", err=True)
        return 1
    for books, figures in differing:
        books.ledger.state.commit(accept_day(books, figures, who(), desk.clock.now(), reason))
        desk.acted(f"accept {customer}'s {day} of {books.event_name}", reason)
        click.echo(f"{one_line(customer)} on {books.event_name}, {day}: accepted by {who()}")
    return 0


def _days(
    desk: SinkDesk, meters: list[MeterBooks], customer: str, day: date
) -> list[tuple[MeterBooks, DayFigures]]:
    """Compare one day of a customer on every meter: a read for each.

    Raises:
        SinkError: Stripe does not say what it counts.
    """
    sink: StripeSink = desk.sink
    state, now = desk.context.state, desk.clock.now()
    budget = ReadBudget(state, sink.options.reads_per_month)
    api = sink.api()
    try:
        return [
            (books, figures)
            for books in meters
            for figures in compare(
                api, books, customers=[customer], start=day, end=day + timedelta(days=1), now=now
            )
        ]
    except StripeRefused as error:
        raise SinkError(str(error)) from error
    finally:
        state.commit(budget.spend(api.reads, now))
        sink.close()


def _in_the_way(
    sink: StripeSink, books: MeterBooks, intent: Intent, act: Literal["counted", "missing"]
) -> str | None:
    """Look at the slot before anything is billed anew: what is counted would be billed twice."""
    if act == "counted":
        return None
    try:
        there = proof.counted(sink.api(), books.ledger.meter_id, intent)
    except StripeRefused as error:
        return str(error)
    finally:
        sink.close()
    if there == 0:
        return None
    return (
        f"Stripe counts {number(there)} in that minute by now, and billing it anew would bill it "
        "twice; --as counted says that this is right"
    )


def _find(desk: SinkDesk, identifier: str) -> tuple[MeterBooks | None, Intent | None]:
    every: list[MeterBooks] = desk.sink.books()
    for books in every:
        intent = books.ledger.intent(identifier)
        if intent is not None:
            return books, intent
    return None, None
