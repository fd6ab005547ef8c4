"""The verdict on a world: what Stripe bills, against what the journal says was used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from meter.sandbox.stripe_event_book import MeterEvent
from meter_stripe.intents import Intent
from meter_stripe.ledger import Ledger, Link, Tally, meter_ids
from meter_stripe.sink import StripeSink
from worlds.draws import HOUR, MeterDraw, Usage
from worlds.running import Run

Pair = tuple[str, str]
"""A Stripe customer and an event name."""
TOO_OLD: Final = "cannot be more than 35 days in past"
"""Stripe's words on usage that grew too old while it was in doubt; it is a dead letter then."""


@dataclass
class Verdict:
    """What is wrong with a world's end; nothing, if all is well.

    Attributes:
        faults: in words.
        over, short: units billed too many and too few in the end.
    """

    faults: list[str] = field(default_factory=list)
    over: Decimal = Decimal(0)
    short: Decimal = Decimal(0)

    def fault(self, words: str) -> None:
        self.faults.append(words)


def judge_books(run: Run) -> Verdict:
    """Compare Stripe's books with the journal's: in the end, and at every moment before."""
    verdict = Verdict()
    late = run.world.late is not None
    for row in (*run.rows("held"), *run.rows("dead")):
        explained = row.reason.startswith("late:") or TOO_OLD in row.reason
        if not (late and explained):
            verdict.fault(f"{row.event.event_id} is not billed: {row.reason}")
    expected: dict[Pair, int] = {}
    for pair, meter, events in _pairs(run):
        kept = kept_back(run, meter) | run.cancelled
        seconds = sum((e.seconds for _, e in events if e.event_id not in kept), Decimal(0))
        expected[pair] = int(seconds // meter.unit_seconds)
        if not _may_double(run, pair, meter):
            _judge_moments(run, pair, meter, events, verdict)
    totals = run.books.truth().totals
    for pair in expected.keys() | totals.keys():
        off = totals.get(pair, Decimal(0)) - expected.get(pair, 0)
        if off:
            verdict.fault(f"{pair}: used {expected.get(pair, 0)}, billed {totals.get(pair, 0)}")
            verdict.over += max(off, Decimal(0))
            verdict.short += max(-off, Decimal(0))
    for balance in run.journal.real.totals().balances:
        if not balance.balances:
            verdict.fault(f"the journal does not balance: {balance}")
    recorded = sum(run.journal.real.totals().events.values())
    if recorded != len(run.used) or len(run.used) != len(run.world.usage):
        verdict.fault(f"the journal has {recorded} of {len(run.world.usage)} events")
    return verdict


def kept_back(run: Run, meter: MeterDraw) -> set[str]:
    """Return the events that are late for a meter; another meter may bill them nevertheless."""
    rows = [row.event.event_id for row in (*run.rows("held"), *run.rows("dead"))]
    if not rows:
        return set()
    state = run.state()
    ledger = Ledger(state, meter_ids(state)[meter.event_name])
    links = ledger.links(rows)
    intents = ledger.intents({link.now for link in links.values() if link.now is not None})
    # A rejected intent bills nothing, also where its event was not told so yet.
    standing = {name for name, intent in intents.items() if intent.state != "rejected"}
    return {event_id for event_id in rows if links.get(event_id, Link()).now not in standing}


def judge_slots(run: Run, verdict: Verdict) -> None:
    """Each minute of a customer and meter bills at most one meter event, and so does each event."""
    standing = Counter((e.customer, e.event_name, e.minute) for e in _standing(run))
    for slot, count in standing.items():
        if count > 1:
            verdict.fault(f"{count} meter events stand in {slot}")
    sent = {e.identifier: e for e in run.books.truth().events}
    state = run.state()
    for meter in run.world.meters:
        ledger = Ledger(state, meter_ids(state)[meter.event_name])
        intents = {i.identifier: i for i in _intents(ledger)}
        _judge_cover(run, meter, ledger, intents, verdict)
        for intent in intents.values():
            there = sent.get(intent.identifier)
            if (intent.state == "delivered") != (there is not None and there.stands):
                verdict.fault(f"{intent.identifier} is {intent.state}, at Stripe it is {there}")
            if there is not None:
                as_frozen = (intent.customer, Decimal(intent.value), intent.slot)
                if (there.customer, there.value, there.timestamp) != as_frozen:
                    verdict.fault(f"{intent.identifier} was sent otherwise than it was frozen")
        _judge_time(run, ledger, intents, verdict)
        sent = {i: e for i, e in sent.items() if i not in intents}
    if sent:
        verdict.fault(f"Stripe has what the ledger does not know: {sorted(sent)}")


def _may_double(run: Run, pair: Pair, meter: MeterDraw) -> bool:
    """Tell whether a re-issue may stand twice for a while: summaries came too late to see it."""
    if run.world.lag_seconds < HOUR or not issubclass(run.sink, StripeSink):
        return False
    state = run.state()
    ledger = Ledger(state, meter_ids(state)[meter.event_name])
    return any(i.replaces is not None and i.customer == pair[0] for i in _intents(ledger))


def _judge_moments(
    run: Run,
    pair: Pair,
    meter: MeterDraw,
    events: list[tuple[datetime, Usage]],
    verdict: Verdict,
) -> None:
    """At no moment may Stripe hold more than was used until then."""
    changes: list[tuple[datetime, int, Decimal]] = [(at, 0, e.seconds) for at, e in events]
    for there in run.books.truth().events:
        # What Stripe took and does not count after all was never billed; a negative one was
        # relied on until Stripe said so.
        counts = there.rejected is None or there.value < 0
        if (there.customer, there.event_name) == pair and counts:
            changes.append((there.received_at, 1, there.value))
            if there.cancelled_at is not None:
                changes.append((there.cancelled_at, 1, -there.value))
    used = billed = Decimal(0)
    for at, what, amount in sorted(changes, key=lambda c: c[:2]):
        if what == 0:
            used += amount
            continue
        billed += amount
        if billed > used // meter.unit_seconds:
            verdict.fault(f"{pair}: {billed} billed at {at}, {used} s used until then")
            return


def _judge_cover(
    run: Run, meter: MeterDraw, ledger: Ledger, intents: dict[str, Intent], verdict: Verdict
) -> None:
    """Every event is billed by exactly one intent, and what is sent adds up with the remainder."""
    held = kept_back(run, meter)
    seconds = {e.event_id: e.seconds for _, e in run.used if meter.takes(e)}
    final = [i for i in intents.values() if i.state in ("delivered", "absorbed")]
    taken_back = [i for i in final if i.takes_from is not None and intents[i.takes_from] in final]
    billed = Counter(e for intent in final if intent.kind == "usage" for e in intent.events)
    billed.subtract(event_id for intent in taken_back for event_id in intent.events)
    if +billed != Counter(dict.fromkeys(seconds.keys() - held - run.cancelled, 1)):
        wanted = dict.fromkeys(seconds.keys() - held - run.cancelled, 1)
        off = {
            e: billed[e] for e in seconds.keys() | billed.keys() if billed[e] != wanted.get(e, 0)
        }
        verdict.fault(f"{meter.event_name}: so often are billed {off}")
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    for intent in final:
        exact = sum((seconds[event_id] for event_id in intent.events), Decimal(0))
        if intent.seconds != (-exact if intent.kind == "correction" else exact):
            verdict.fault(f"{intent.identifier} bills other seconds than its events have")
        # What was taken back of an intent that does not stand either is not taken back twice.
        counts = intent.kind != "correction" or intent in taken_back
        tallies[intent.customer] = tallies[intent.customer].plus(
            intent.seconds if counts else Decimal(0), intent.value
        )
    for customer, _ in ledger.every_tally():  # of whom all may have been taken back
        tallies[customer]
    if dict(ledger.every_tally()) != tallies:
        verdict.fault(f"the tallies are {dict(ledger.every_tally())}, the intents say {tallies}")
    for customer, tally in tallies.items():
        if not 0 <= tally.used - tally.sent * meter.unit_seconds < meter.unit_seconds:
            verdict.fault(f"{customer}: the remainder of {tally} is a unit or more")
    left = [i.identifier for i in intents.values() if i.state in ("open", "cancelling", "disputed")]
    indexed = [i.identifier for i in ledger.every_open_intent()]
    shown = [words for _, words in ledger.problems()]
    if left or indexed or shown:
        verdict.fault(f"unsettled or disputed: {left} {indexed} {shown}")


def _judge_time(run: Run, ledger: Ledger, intents: dict[str, Intent], verdict: Verdict) -> None:
    """Usage is billed in the hour in which it happened, unless that hour was full or is over."""
    events = {e.event_id: e for _, e in run.used}
    for intent in intents.values():
        if intent.state != "delivered" or intent.carried or intent.kind != "usage":
            continue
        for event_id in intent.events:
            hour = _hour(events[event_id].occurred_at)
            if hour != _hour(intent.slot):
                start = int(hour.timestamp())
                if len(ledger.taken(intent.customer, start, start + 3600)) < 60:
                    verdict.fault(f"{event_id} of {hour} is billed in {intent.slot}")
                run.seen["full hour"] += 1


def _pairs(run: Run) -> Iterator[tuple[Pair, MeterDraw, list[tuple[datetime, Usage]]]]:
    stripe_ids = {c.customer_id: c.stripe_id for c in run.world.customers}
    for meter in run.world.meters:
        for stripe_id in sorted(set(stripe_ids.values())):
            events = [
                (at, event)
                for at, event in run.used
                if meter.takes(event) and stripe_ids[event.customer_id] == stripe_id
            ]
            yield (stripe_id, meter.event_name), meter, events


def _standing(run: Run) -> Iterator[MeterEvent]:
    return (e for e in run.books.truth().events if e.stands)


def _intents(ledger: Ledger) -> Iterator[Intent]:
    for _, value in ledger._scan("i/"):
        yield msgspec.json.decode(value, type=Intent)


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def count(run: Run) -> Counter[str]:
    """Return what happened in a world, by name."""
    seen = Counter(run.seen)
    for request in run.books.requests:
        seen[f"status {request.status}"] += 1
        if request.lost:
            seen[f"{request.lost} lost"] += 1
    seen["events"] = len(run.used)
    state = run.state()
    for meter_id in meter_ids(state).values():
        for intent in _intents(Ledger(state, meter_id)):
            seen[f"intent {intent.state}"] += 1
            seen[f"{intent.kind} {intent.state}"] += 1
            seen["probes"] += sum(a.what == "probe" for a in intent.history)
            seen["generation 2 or more"] += intent.generation > 1
            seen["carried forward"] += intent.carried
    seen["duplicates"] = sum(
        request.status == 400 for request in run.books.requests if request.method == "POST"
    )
    if run.world.lag_seconds >= timedelta(hours=1).total_seconds():
        seen["summaries hours late"] = 1
    seen["held as late"] = len(run.rows("held"))
    return seen
