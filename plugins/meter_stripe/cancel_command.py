"""`meter stripe cancel`: one event's usage is taken back, and that is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import click

from meter.commands.moments import age
from meter.commands.people import confirmed, on_terminal, who
from meter.commands.tables import one_line
from meter_stripe.asking import carried_out, why_not
from meter_stripe.intents import minute_of, shown
from meter_stripe.late import MARGIN, STRIPE_PAST, late_reason
from meter_stripe.ledger import Decision, Link, Tally
from meter_stripe.printing import counted, figure
from meter_stripe.proof import SAFE

if TYPE_CHECKING:
    from datetime import datetime

    from meter.commands import SinkDesk
    from meter.events import Event
    from meter_stripe.books import MeterBooks
    from meter_stripe.intents import Intent
    from meter_stripe.options import StripeOptions

__all__ = ["cancel"]

REFUSALS: Final = {
    "pending": "it is not sent yet, so that there is nothing to take back. Let it be sent first "
    "(`meter stripe flush`), then cancel it",
    "retrying": "it is on its way. Wait until it is delivered (`meter stripe flush`), then cancel "
    "it",
    "held": "it is held, so that nothing bills it. `meter events` says why; once that is put right "
    "and it is delivered, it can be cancelled",
    "dead": "Stripe refused it, so that nothing bills it: leave the dead letter where it is",
    "filtered": "it never was this sink's, so that nothing bills it",
}
WORKING: Final = "waits for the running `meter run` to do it"


@dataclass(frozen=True, slots=True)
class Billed:
    """What bills the event on one meter."""

    books: MeterBooks
    link: Link
    intent: Intent


def cancel(desk: SinkDesk, event_id: str, *, reason: str, yes: bool, seconds: float = 30) -> int:
    """Take back what an event was billed; return the exit code.

    Args:
        desk: of a sink `stripe`; may deliver.
        event_id: of the journal.
        reason: why, for the record.
        yes: ask nothing.
        seconds: how long to wait for a running `meter run`.
    """
    event = desk.find(event_id)
    place = desk.place(event_id)
    if event is None or place is None:
        guesses = [f"did you mean {one_line(each)}?" for each in desk.meant(event_id)]
        words = " ".join(guesses) or "`meter events` finds the right id"
        return _refuse(event_id, f"the journal has no such event; {words}")
    every: list[MeterBooks] = desk.sink.books()
    links = [(books, books.ledger.links([event_id]).get(event_id)) for books in every]
    decided = [d for b, _ in links if (d := b.ledger.decisions([event_id]).get(event_id))]
    asked = next((d for d in decided if d.act == "cancel"), None)
    known = [(books, link) for books, link in links if link is not None]
    if known and all(link.cancelled for _, link in known):
        click.echo(
            f"{one_line(event_id)} was taken back already{_by(asked)}; nothing was done now"
            + _not_kept(reason)
        )
        return 0
    if asked is None or place == "delivered":
        code = _ask(desk, event, place, known, reason=reason, yes=yes)
        if code is not None:
            return code
    else:
        click.echo(f"it was asked for already{_by(asked)}, and is under way{_not_kept(reason)}")

    def done() -> bool:
        return all(
            books.ledger.links([event_id]).get(event_id, Link()).cancelled for books, _ in known
        )

    if not carried_out(desk, done, seconds=seconds, waiting_for=WORKING):
        after = desk.place(event_id)
        click.echo(f"not done yet (it is {after}): {why_not(desk)}", err=True)
        return 1
    for books, _ in known:
        _tell(books, event, desk.clock.now())
    return 0


def _refuse(event_id: str, words: str) -> int:
    click.echo(f"meter: {one_line(event_id)} is not cancelled: {words}", err=True)
    return 1


def _not_kept(reason: str) -> str:
    return f"; the reason that you give now ({one_line(reason)}) is not kept" if reason else ""


def _by(decision: Decision | None) -> str:
    if decision is None:
        return ""
    why = f" ({one_line(decision.reason)})" if decision.reason else ""
    return f", by {one_line(decision.who)} at {shown(decision.at)}{why}"


def _ask(
    desk: SinkDesk,
    event: Event,
    place: str,
    known: list[tuple[MeterBooks, Link]],
    *,
    reason: str,
    yes: bool,
) -> int | None:
    """Check, ask the person, and write down what they want; None when it is written."""
    event_id, now = event.event_id, desk.clock.now()
    billed = []
    for books, link in known:
        intent = None if link.now is None else books.ledger.intent(link.now)
        if intent is not None:
            billed.append(Billed(books, link, intent))
    words = _in_the_way(place, event, billed, now) or _nothing(event, billed, now)
    if words is not None:
        return _refuse(event_id, words)
    seconds = event.billed_seconds
    click.echo(
        f"{one_line(event_id)}: {figure(seconds or 0)} s of {one_line(event.customer_id)}, "
        f"{shown(event.occurred_at)}"
    )
    for each in billed:
        _announce(each, desk.sink.options, now)
    if on_terminal() and not yes:
        reason = reason or click.prompt("why, for the record", default="", show_default=False)
    if not confirmed("take its usage back?", yes=yes):
        click.echo("nothing was done")
        return 1
    decision = Decision(act="cancel", who=who(), at=now, reason=reason)
    writes = [each.books.ledger.decide(event_id, decision) for each in billed]
    words = f"to be taken back, asked for by {decision.who}"
    if not desk.recall({event_id: words}, state=writes):
        return _refuse(
            event_id, f"it is {desk.place(event_id)} by now; the request stands, look at it again"
        )
    desk.acted("cancel", reason, [event_id])
    return None


def _nothing(event: Event, billed: list[Billed], now: datetime) -> str | None:
    """Say why there is nothing to take back: no seconds, or none that made a unit.

    What shared a meter event with it would be cancelled and sent anew for nothing.
    """
    seconds = event.billed_seconds or Decimal(0)
    if not seconds:
        return "it was billed nothing: it has 0 s"
    in_vain = [
        each
        for each in billed
        if len(each.intent.events) > 1
        and _by_adjustment(each.intent, now)
        and not _units_back(each, seconds)
    ]
    if len(in_vain) < len(billed):
        return None
    until = max(each.intent.frozen_at for each in in_vain) + SAFE
    units = " and no ".join(dict.fromkeys(each.books.options.unit for each in in_vain))
    return (
        f"it was billed nothing: without its {figure(seconds)} s there is no {units} less, and its "
        "meter event, which bills other usage, would be cancelled and sent anew. From "
        f"{shown(until)} on it can be cancelled: that only makes the remainder less"
    )


def _units_back(billed: Billed, seconds: Decimal) -> int:
    """Return how many whole units a customer is billed less without so many seconds."""
    customer, size = billed.intent.customer, billed.books.options.unit_seconds
    used = billed.books.ledger.tallies([customer]).get(customer, Tally()).used
    return int(used // size) - int((used - seconds) // size)


def _in_the_way(place: str, event: Event, billed: list[Billed], now: datetime) -> str | None:
    """Say why an event cannot be taken back, and what to do."""
    if any(each.intent.state == "disputed" for each in billed):
        return "its meter event is disputed: `meter stripe resolve` comes first"
    if place in ("pending", "retrying") and minute_of(event.occurred_at) > now.timestamp():
        return (
            f"it is not sent yet, and waits until {shown(event.occurred_at)}, the time that it is "
            "of; no meter event lies ahead of the clock. Once it is delivered, it can be cancelled"
        )
    if place != "delivered":
        return REFUSALS.get(place, f"it is {place}")
    if not billed:
        return "the ledger of this sink does not know that anything bills it"
    for each in billed:
        if each.intent.slot < now - STRIPE_PAST + MARGIN:
            return (
                f"Stripe counts it at {shown(each.intent.slot)} and takes no correction for more "
                "than 35 days ago: write a credit note"
            )
    return None


def _announce(billed: Billed, options: StripeOptions, now: datetime) -> None:
    """Say what stands at Stripe and how it will be taken back."""
    intent = billed.intent
    others = len(intent.events) - 1
    with_others = f", together with {counted(others, 'other event')}" if others else ""
    click.echo(
        f"  {billed.books.event_name}: {counted(intent.value, billed.books.options.unit)} for "
        f"{intent.customer} in the minute {shown(intent.slot)}{with_others}\n"
        f"  meter event {intent.identifier}"
    )
    if _by_adjustment(intent, now):
        anew = "; the usage of the others is billed anew" if others else ""
        click.echo(f"  Stripe is asked to cancel the whole meter event{anew}")
    elif intent.state == "absorbed":
        click.echo("  it was less than one unit, so that nothing was sent: the remainder shrinks")
    elif intent.cancel_refused:
        click.echo("  Stripe refused to cancel it: a negative meter event takes its units back")
    else:
        click.echo(
            f"  it was made {age(now, intent.frozen_at)} ago, too long for a cancellation: a "
            "negative meter event in the same hour takes its units back"
        )
    if late_reason(intent.slot, now, options) is not None:
        click.echo(
            "  the invoice of its period is final: Stripe's count is put right, the invoice is "
            "not. Write a credit note"
        )


def _by_adjustment(intent: Intent, now: datetime) -> bool:
    return (
        intent.state in ("delivered", "cancelling")
        and not intent.cancel_refused
        and intent.kind == "usage"
        and now < intent.frozen_at + SAFE
    )


def _tell(books: MeterBooks, event: Event, now: datetime) -> None:
    """Say what was done on one meter."""
    ledger, event_id = books.ledger, event.event_id
    link = ledger.links([event_id]).get(event_id, Link())
    intent = ledger.intent(link.past[-1]) if link.past else None
    unit = books.options.unit
    name = books.event_name
    if intent is None:
        click.echo(f"{name}: nothing had been sent; it will not be")
    elif intent.kind == "correction" and intent.value:
        click.echo(
            f"{name}: taken back by a negative meter event of {counted(intent.value, unit)} "
            f"({figure(-intent.seconds)} s exactly) for {intent.customer} in the minute "
            f"{shown(intent.slot)}: {intent.identifier}"
        )
    elif intent.state != "cancelled":
        click.echo(
            f"{name}: taken back; that changes no whole {unit}, so that nothing was sent: "
            f"{figure(event.billed_seconds or 0)} s less in the remainder of {intent.customer}"
        )
    else:
        when = shown(now.astimezone(UTC))
        click.echo(
            f"{name}: taken back by an adjustment at {when}: Stripe cancelled {intent.identifier} "
            f"({counted(intent.value, unit)} of {intent.customer})"
        )
        others = [each for each in intent.events if each != event_id]
        again = {x.now for x in ledger.links(others).values() if x.now is not None}
        if others:
            made = ", ".join(sorted(again)) or "as soon as `meter run` goes on"
            click.echo(f"{name}: {counted(len(others), 'other event')} billed anew: {made}")
