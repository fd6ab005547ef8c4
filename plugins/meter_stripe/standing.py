"""What the sink says of itself: `meter status`, and `meter events` for one event or identifier.

Read from the ledger alone, by an instance that was never opened, beside the running one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final

from meter.commands.moments import age
from meter_stripe.error_reports import pending
from meter_stripe.intents import shown
from meter_stripe.ledger import Ledger, Link, meter_ids
from meter_stripe.options import UNITS
from meter_stripe.printing import counted, number
from meter_stripe.troubles import troubles
from meter_stripe.unsent import oldest_unsent, warning

if TYPE_CHECKING:
    from datetime import datetime

    from meter_stripe.intents import Attempt, Intent
    from meter_stripe.ledger import Decision
    from meter_stripe.sink import StripeSink

__all__ = ["explain", "status"]

SHOWN: Final = 20
EVENTS_SHOWN: Final = 50
STATES: Final = {
    "open": "on its way: Stripe's answer is not known yet",
    "delivered": "delivered: Stripe has it",
    "rejected": "refused by Stripe: it bills nothing",
    "disputed": "disputed: Stripe counts something else; see `meter stripe resolve`",
    "cancelling": "being cancelled",
    "cancelled": "cancelled by an adjustment: it bills nothing",
    "reissued": "it does not stand: a later meter event took its place",
    "absorbed": "less than one unit, so that nothing was sent; kept in the remainder",
}


# -- meter status -----------------------------------------------------------------------------


def status(sink: StripeSink) -> list[str]:
    """Say what a person should know of the sink, a line each."""
    state, now = sink.context.state, sink.context.clock.now()
    ledgers = _ledgers(sink)
    if not ledgers:
        return ["it was not opened yet: no meter of Stripe's is known"]
    lines: list[str] = []
    oldest: list[datetime] = []
    for name, ledger in ledgers.items():
        lines.append(_meter_line(name, ledger))
        lines += _open_lines(name, ledger, now, oldest)
        lines += _problem_lines(name, ledger)
    lines += [
        f"since {shown(found.since)}: {found.words}"
        + (f"; once it is seen to: `meter stripe resolve {name}`" if found.ends == "person" else "")
        for name, found in troubles(state)
    ]
    reports = pending(state)
    if reports:
        first = min(kept.at for _, kept in reports)
        why = next((f"; {kept.words}" for _, kept in reports if kept.words), "")
        lines.append(
            f"{counted(len(reports), 'error report')} of Stripe's to be fetched, the oldest came "
            f"{age(now, first)} ago{why}"
        )
    lines += _unsent_lines(sink, oldest, now)
    return lines


def _ledgers(sink: StripeSink) -> dict[str, Ledger]:
    """Return the ledger of every meter that the sink ever used, by event name."""
    state = sink.context.state
    return {name: Ledger(state, meter_id) for name, meter_id in meter_ids(state).items()}


def _meter_line(name: str, ledger: Ledger) -> str:
    record = ledger.record()
    if record is None:
        return f"{name}: meter {ledger.meter_id}"
    return f"{name}: {record.mode} mode, counts in units of one {record.unit}, {ledger.meter_id}"


def _open_lines(name: str, ledger: Ledger, now: datetime, oldest: list[datetime]) -> list[str]:
    count = tries = 0
    first: Intent | None = None
    for intent in ledger.every_open_intent():
        count += 1
        tries = max(tries, intent.attempts)
        if first is None or intent.frozen_at < first.frozen_at:
            first = intent
        oldest[:] = [min([*oldest, intent.slot])]
    if first is None:
        return []
    calls = counted(tries, "call")
    return [
        (
            f"{name}: {counted(count, 'meter event')} without a final answer, the oldest "
            f"{age(now, first.frozen_at)} old ({first.identifier}), at most {calls} for one; it "
            "goes on by itself"
        )
    ]


def _problem_lines(name: str, ledger: Ledger) -> list[str]:
    lines = []
    for place, (intent, words) in enumerate(ledger.problems()):
        if place == SHOWN:
            lines.append(f"{name}: and more; `meter stripe verify` lists differences")
            break
        way_out = (
            f"; `meter events {intent.identifier}` shows it, `meter stripe resolve "
            f"{intent.identifier} --as counted` or `--as missing` ends it"
            if intent.state == "disputed"
            else f"; see `meter events {intent.identifier}`"
        )
        lines.append(f"{name}: {intent.identifier} of {intent.customer}: {words}{way_out}")
    lines += [
        f"{name}: {customer} on {day}: {words}; see `meter stripe verify`"
        for day, customer, words in islice(ledger.day_problems(), SHOWN)
    ]
    lines += [
        f"{name}: {identifier} is to be resolved as {said.act}, asked for by {said.who}"
        for identifier, said in islice(ledger.resolutions(), SHOWN)
    ]
    return lines


def _unsent_lines(sink: StripeSink, slots: list[datetime], now: datetime) -> list[str]:
    """Say how old the oldest unsent usage is, and warn when its invoice comes near."""
    found = oldest_unsent(sink.context.state)
    lines = []
    if slots:
        words = warning(slots[0], now, sink.options)
        if words is not None:
            lines.append(
                f"WARNING: usage that Stripe has not confirmed, of {shown(slots[0])}, {words}"
            )
    if found is None:
        return lines
    words = warning(found.occurred_at, now, sink.options)
    usage = f"the oldest usage that is not sent is of {shown(found.occurred_at)} ({found.event_id})"
    if words is None:
        return [*lines, f"{usage}, {age(now, found.occurred_at)} old"]
    way_out = (
        "`meter stripe flush` sends what can be sent"
        if words.startswith("is of")
        else "`meter stripe carry-forward` bills it under today's date"
    )
    return [*lines, f"WARNING: {usage}; it {words}; {way_out}"]


# -- meter events -----------------------------------------------------------------------------


def explain(sink: StripeSink, reference: str) -> list[str]:
    """Say what became of one event, or what an identifier of Stripe's stands for."""
    lines: list[str] = []
    for name, ledger in _ledgers(sink).items():
        link = ledger.links([reference]).get(reference)
        if link is not None:
            lines += _event_lines(name, ledger, reference, link)
        elif (asked := ledger.decisions([reference]).get(reference)) is not None:
            lines.append(f"{name}: {_asked(asked, _TO_DO)}")
        intent = ledger.intent(reference)
        if intent is not None:
            lines += _intent_lines(name, ledger, intent)
            lines += _covered(intent)
            lines += [
                f"    {said.who} said at {shown(said.at)} that it is {said.act}"
                + (f": {said.reason}" if said.reason else "")
                + (f"; {said.outcome}" if said.outcome else "")
                for said in ledger.resolved([reference]).values()
            ]
    return lines


def _event_lines(name: str, ledger: Ledger, event_id: str, link: Link) -> Iterator[str]:
    decision = ledger.decisions([event_id]).get(event_id)
    act = None if decision is None else decision.act
    if link.now is not None:
        yield f"{name}: billed by the meter event {link.now}"
    elif not link.cancelled:
        yield f"{name}: billed by nothing now"
    elif decision is None or act != "cancel":
        yield f"{name}: taken back, and never billed again"
    found = ledger.intents({*link.past, *([link.now] if link.now else [])})
    if decision is not None:
        billing = None if link.now is None else found.get(link.now)
        carried = act == "carry_forward" and billing is not None and billing.carried
        words = _DONE if carried or (act == "cancel" and link.cancelled) else _TO_DO
        yield f"{name}: {_asked(decision, words)}"
    order = [*link.past, *([link.now] if link.now is not None else [])]
    for identifier in reversed(order):
        if identifier in found:
            yield from _intent_lines(name, ledger, found[identifier])
            others = len(found[identifier].events) - (event_id in found[identifier].events)
            if others:
                does = "also bills" if _stands(found[identifier]) else "was also to bill"
                yield f"    it {does} {counted(others, 'other event')}"


def _intent_lines(name: str, ledger: Ledger, intent: Intent) -> Iterator[str]:
    """Tell one intent: what it says, how it stands, and every call that was made for it."""
    record = ledger.record()
    unit = "unit" if record is None else record.unit
    yield (
        f"  {intent.identifier}: {counted(intent.value, unit)} ({_made_of(intent, unit)}) "
        f"of {intent.customer} on {name}, in the minute {shown(intent.slot)}{_PURPOSE[intent.kind]}"
    )
    yield f"    {STATES.get(intent.state, intent.state)}" + _more(intent)
    made = f"    made {shown(intent.frozen_at)}, generation {intent.generation}"
    made += f", for {intent.takes_from}" if intent.takes_from is not None else ""
    made += f", instead of {intent.replaces}" if intent.replaces is not None else ""
    yield made + (", under the date of sending (late usage)" if intent.carried else "")
    for attempt in intent.history:
        yield f"    {_attempt(attempt)}"
    if intent.attempts > len(intent.history):
        yield f"    {intent.attempts} calls in all; the first and the latest are kept in full"
    if intent.next_at is not None and intent.unsettled:
        yield f"    the next call: not before {shown(intent.next_at)}"


def _made_of(intent: Intent, unit: str) -> str:
    """Say which seconds its units are made of; what was carried in is in the tally alone."""
    if intent.kind == "true_up":
        return "no usage of its own"
    exact = f"{number(intent.seconds)} s exactly"
    size = UNITS.get(unit)
    if size is None or intent.state == "absorbed" or intent.value * size == intent.seconds:
        return exact
    if intent.kind == "correction":
        return f"{exact}; the rest is in the remainder"
    if intent.value * size < intent.seconds:
        return f"{exact}; what makes no whole {unit} is kept for the next meter event"
    return f"{exact}, with what was left over from before"


_PURPOSE: Final = {
    "usage": "",
    "correction": ", taking usage back",
    "true_up": ", evening out what meter events that do not stand left over",
}


def _stands(intent: Intent) -> bool:
    return intent.state not in ("rejected", "cancelled", "reissued")


def _more(intent: Intent) -> str:
    return f"; {intent.note}" if intent.note else ""


def _attempt(attempt: Attempt) -> str:
    status = "" if attempt.status is None else f" {attempt.status}"
    request = "" if attempt.request_id is None else f" ({attempt.request_id})"
    words = f": {attempt.message}" if attempt.message else ""
    return f"{shown(attempt.at)} {attempt.what}: {attempt.outcome}{status}{request}{words}"


_TO_DO: Final = {"cancel": "to be taken back", "carry_forward": "to be billed under today's date"}
_DONE: Final = {
    "cancel": "taken back, and never billed again",
    "carry_forward": "billed under the date of sending",
}


def _asked(decision: Decision, acts: Mapping[str, str]) -> str:
    words = acts.get(decision.act, decision.act)
    reason = f": {decision.reason}" if decision.reason else ""
    return f"{words}, asked for by {decision.who} at {shown(decision.at)}{reason}"


def _covered(intent: Intent) -> Iterator[str]:
    if not intent.events:
        return
    does = "covers" if _stands(intent) else "was to cover"
    yield f"    it {does} {counted(len(intent.events), 'event')}:"
    for event_id in intent.events[:EVENTS_SHOWN]:
        yield f"      {event_id}"
    if len(intent.events) > EVENTS_SHOWN:
        yield f"      and {len(intent.events) - EVENTS_SHOWN:,} more"
