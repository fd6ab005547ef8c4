"""Resolving: a person says what becomes of a meter event that Stripe's figures do not bear out.

A command writes what was said; a running sink sees to it within a second, because only its own
thread changes intents (and the command itself runs the sink where none runs).

`counted`: Stripe's figure is right as it stands, so that its events are delivered and the audit
no longer minds. `missing`: Stripe does not count it, so that its events form a new intent, under
another identifier.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from meter.sinks import Report
from meter_stripe.accepting import Acceptance, acceptance_of, keep_acceptance
from meter_stripe.answers import Answer, Outcome
from meter_stripe.ledger import Link, Resolution, Tally
from meter_stripe.unwinding import Busy, Unwinding

if TYPE_CHECKING:
    from meter.sinks import StateWrite
    from meter_stripe.books import MeterBooks
    from meter_stripe.comparison import DayFigures
    from meter_stripe.intents import Intent
    from meter_stripe.ledger import Ledger

__all__ = [
    "DONE",
    "Unresolvable",
    "accept_day",
    "carry_out",
    "resolve_counted",
    "resolve_missing",
    "ways_out",
]

Log = logging.LoggerAdapter[logging.Logger]
DONE: Final = "done"
"""The outcome of what was carried out."""
TOO_YOUNG: Final = timedelta(hours=1)


class Unresolvable(Exception):
    """An intent is in no state in which a person's word can help; the text says why."""


def resolve_counted(
    books: MeterBooks, intent: Intent, who: str, now: datetime, reason: str = ""
) -> list[StateWrite]:
    """Make the writes that say: Stripe counts it, whatever its figures showed.

    Raises:
        Unresolvable: there is nothing to say about it.
    """
    _require(books.ledger, intent, "counted")
    return [books.ledger.resolve(intent.identifier, Resolution("counted", who, now, reason))]


def resolve_missing(
    books: MeterBooks, intent: Intent, who: str, now: datetime, reason: str = ""
) -> list[StateWrite]:
    """Make the writes that say: Stripe does not count it, bill its events anew.

    Look at the slot first (`proof.counted`): what is counted there would be billed twice.

    Raises:
        Unresolvable: there is nothing to say about it.
    """
    _require(books.ledger, intent, "missing")
    if intent.arrived_at is not None and now < intent.arrived_at + TOO_YOUNG:
        raise Unresolvable("it is less than an hour old: Stripe may not have counted it yet")
    return [books.ledger.resolve(intent.identifier, Resolution("missing", who, now, reason))]


def ways_out(
    books: MeterBooks, intent: Intent, counted: Decimal, now: datetime
) -> list[Literal["missing", "counted"]]:
    """Return what a person may say of an intent of which Stripe counts so much: it would be done.

    What is counted is never missing: billed anew, it would be billed twice.
    """
    found: list[Literal["missing", "counted"]] = []
    for act, say in (("missing", resolve_missing), ("counted", resolve_counted)):
        try:
            say(books, intent, "", now)
        except Unresolvable:
            continue
        if act == "counted" or not counted:
            found.append(act)  # type: ignore[arg-type]  # because mypy does not narrow texts in a tuple
    return found


def accept_day(
    books: MeterBooks, figures: DayFigures, who: str, now: datetime, reason: str = ""
) -> list[StateWrite]:
    """Make the writes that take Stripe's figure for a day as it is, and end its comparison.

    For what lies in minutes that meter never used: there is no intent to speak of. A day with
    something too young to tell stays marked for the audit: only its difference is accepted.
    """
    ledger, customer, name = books.ledger, figures.customer, figures.day.isoformat()
    before = acceptance_of(ledger, customer, figures.day)
    more = figures.difference + (Decimal(0) if before is None else before.difference)
    said = Acceptance(who, now, more, reason)
    writes = [
        keep_acceptance(ledger, customer, figures.day, said),
        ledger.day_problem(name, customer, None),
        ledger.answered(name, customer),
    ]
    if not (figures.young or figures.doubtful):
        writes.append(ledger.compared(name, customer))
    return writes


def carry_out(meters: Iterable[MeterBooks], *, now: datetime, log: Log) -> Report | None:
    """See to one thing that a person said; None when there is nothing. In the sink's thread."""
    for books in meters:
        for identifier, said in books.ledger.resolutions():
            try:
                return _carried_out(books.ledger, identifier, said, now)
            except Busy:
                continue
            except Unresolvable as error:
                log.warning("stripe.unresolvable", extra={"identifier": identifier})
                ended = msgspec.structs.replace(said, outcome=f"not done: {error}")
                return Report(state=books.ledger.close_resolution(identifier, ended))
    return None


def _carried_out(ledger: Ledger, identifier: str, said: Resolution, now: datetime) -> Report:
    """Return the report of what was said about one intent.

    Raises:
        Unresolvable: it changed since.
        Busy: a negative event for it is under way.
    """
    intent = ledger.intent(identifier)
    if intent is None:
        raise Unresolvable("there is no such meter event")
    _require(ledger, intent, said.act)
    done = ledger.close_resolution(identifier, msgspec.structs.replace(said, outcome=DONE))
    why = f"{said.who} said on {said.at:%Y-%m-%d}"
    reason = f" ({said.reason})" if said.reason else ""
    if said.act == "missing":
        unwinding = Unwinding(ledger, now)
        unwinding.free(intent, f"{why} that Stripe does not count it{reason}: billed anew")
        return unwinding.report(*done)
    note = f"{why} that Stripe counts it{reason}"
    writes = _counts(ledger, intent, note, now)
    return Report(hasten=intent.state != "delivered", state=[*writes, *done])


def _counts(ledger: Ledger, intent: Intent, note: str, now: datetime) -> list[StateWrite]:
    """Make the writes after which an intent stands."""
    noted = intent.noted("resolve", "delivered", now, Answer(Outcome.DELIVERED, message=note))
    after = noted.changed(state="delivered", next_at=None, note=note)
    if intent.arrived_at is None:
        after = after.changed(arrived_at=now)
    writes = [ledger.put_aside(after), ledger.problem(intent.identifier, None)]
    writes.append(ledger.compare(intent.slot, intent.customer))
    links = ledger.links(intent.events)
    if intent.kind == "correction" and intent.state == "disputed":
        writes += [
            ledger.link(event_id, Link(None, link.to(None).past, cancelled=True))
            for event_id, link in links.items()
        ]
    if intent.state == "rejected":
        tally = ledger.tallies([intent.customer]).get(intent.customer, Tally())
        tally = tally.plus(intent.seconds, intent.value)
        writes.append(ledger.tally(intent.customer, tally))
        for event_id, link in links.items():
            past = tuple(one for one in link.past if one != intent.identifier)
            writes.append(ledger.link(event_id, Link(intent.identifier, past)))
    return writes


def _require(ledger: Ledger, intent: Intent, act: Literal["counted", "missing"]) -> None:
    """Check that something can be said about an intent.

    Raises:
        Unresolvable: why not.
    """
    if intent.state in ("disputed", "delivered"):
        return
    if intent.state == "rejected" and act == "counted" and intent.kind == "usage":
        links = ledger.links(intent.events).values()
        if any(link.cancelled or link.now not in (None, intent.identifier) for link in links):
            raise Unresolvable("its events were billed anew, or taken back, since it was rejected")
        return
    raise Unresolvable(f"it is {intent.state}: only what is delivered or disputed can be resolved")
