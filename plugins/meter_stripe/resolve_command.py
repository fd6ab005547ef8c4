"""`meter stripe resolve`: a person says what is true where Stripe's figures do not bear it out."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Literal

import click

from meter.commands.tables import one_line
from meter_stripe import proof
from meter_stripe.api_errors import StripeRefused
from meter_stripe.asking import carried_out, on_terminal, who, why_not
from meter_stripe.intents import shown
from meter_stripe.printing import counted, number
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
    if on_terminal() and not yes:
        reason = reason or click.prompt("why, for the record", default="", show_default=False)
        if not click.confirm("is that so?"):
            return "it was not confirmed"
    say = resolve_counted if act == "counted" else resolve_missing
    try:
        books.ledger.state.commit(say(books, intent, who(), desk.clock.now(), reason))
    except Unresolvable as error:
        return str(error)
    return None


def accept(desk: SinkDesk, customer: str, day: date) -> int:
    """End the comparison of a customer's day, whatever it shows; return the exit code."""
    every: list[MeterBooks] = desk.sink.books()
    known = [books for books in every if books.ledger.tallies([customer])]
    for books in known:
        books.ledger.state.commit(accept_day(books, customer, day))
        click.echo(f"{one_line(customer)} on {books.event_name}, {day}: no longer compared")
    if not known:
        click.echo(
            f"nothing was ever sent for a Stripe customer {one_line(customer)}; `meter stripe "
            "verify` lists them",
            err=True,
        )
    return 0 if known else 1


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
