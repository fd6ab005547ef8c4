"""What `meter reconcile` shows of Stripe: what `meter stripe verify` finds, in a few words each."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter.errors import SinkError
from meter.sinks import Comparison, Discrepancy
from meter_stripe.api_errors import StripeRefused
from meter_stripe.asked import known_customers
from meter_stripe.findings import day_words, slot_words
from meter_stripe.journal_check import check_journal
from meter_stripe.printing import counted
from meter_stripe.read_budget import ReadBudget
from meter_stripe.verify_command import (
    AWAITS,
    DIFFERS,
    TAKEN_BACK,
    TOO_YOUNG,
    Days,
    Look,
    Outcome,
    days_asked,
    questions_of,
    refusal,
    same_mode,
)

if TYPE_CHECKING:
    from meter.sinks import Deliveries
    from meter_stripe.sink import StripeSink

__all__ = ["compared"]

_UNSURE: Final = (TOO_YOUNG, AWAITS, TAKEN_BACK)


def compared(
    sink: StripeSink, deliveries: Deliveries, since: datetime | None, until: datetime | None
) -> Comparison:
    """Compare the journal with the ledger, and the ledger with Stripe, by customer and UTC day.

    Nothing is written, but how many reads of Stripe's it took.

    Raises:
        SinkError: Stripe does not answer, or refuses the key.
    """
    now = sink.context.clock.now()
    days = _days(since, until, now)
    last = days.end - timedelta(days=1)
    scope = f"sums by customer, meter and UTC day, {days.start} to {last}"
    books = sink.books()
    if not books:
        return Comparison(scope, 0, notes=["nothing was ever sent"])
    same_mode(sink, books)
    budget = ReadBudget(sink.context.state, sink.options.reads_per_month)
    try:
        found = Outcome(days, check_journal(sink, deliveries, _silent))
        known = known_customers(sink, books, now)
        for ours, stripe in known.mapped.items():
            found.journal.named(stripe, ours)
        look = Look(found, sink, budget.left(now), _silent)
        for each in questions_of(known, books, days, None, now):
            look.compare(each, now)
    except StripeRefused as error:
        raise SinkError(refusal(error, sink, books)) from error
    finally:
        reads = sink.api().reads
        sink.context.state.commit(budget.spend(reads, now))
        sink.close()
    if found.cut:
        raise SinkError(
            f"this month's {counted(sink.options.reads_per_month, 'read')} of Stripe's are used "
            "up (`reads_per_month` of the sink): narrow --from and --to, or wait for the next month"
        )
    command = f"stripe verify --sink {sink.context.name} --from {days.start} --to {last}"
    notes = [
        f"{counted(number, 'figure')}: {word}" for word in _UNSURE if (number := found.count(word))
    ]
    if found.mapping_trouble:
        notes.append(f"customers: {found.mapping_trouble}")
    return Comparison(
        scope=scope,
        figures=len(found.rows),
        discrepancies=[*_of_days(found), *_of_the_journal(found)],
        command=command,
        notes=[*notes, f"it took {counted(reads, 'read')} of Stripe's"],
    )


def _of_days(found: Outcome) -> list[Discrepancy]:
    """Return the days that differ, with what the minutes say of each."""
    told = []
    for figures, state in found.rows:
        if state != DIFFERS:
            continue
        slots = [
            each.slot
            for each in found.slots
            if each.slot.customer == figures.customer
            and each.slot.event_name == figures.event_name
            and each.slot.start.date() == figures.day
        ]
        told.append(
            Discrepancy(
                whose=", ".join(found.journal.names.get(figures.customer, [figures.customer])),
                what=figures.event_name,
                when=f"{figures.day} UTC",
                delivered=Decimal(figures.delivered),
                counted=figures.counted,
                unit=figures.unit,
                words="; ".join(slot_words(slot) for slot in slots) or day_words(figures),
                event_ids=[event_id for slot in slots for event_id in slot.event_ids],
            )
        )
    return told


def _of_the_journal(found: Outcome) -> list[Discrepancy]:
    """Return where the journal and the ledger do not agree."""
    return [
        Discrepancy(
            whose=fault.customer,
            what=fault.meter,
            when="",
            delivered=None,
            counted=None,
            unit="",
            words=fault.words,
            event_ids=[fault.event_id] if fault.event_id else [],
        )
        for fault in found.journal.faults
    ]


def _days(since: datetime | None, until: datetime | None, now: datetime) -> Days:
    """Return the UTC days that a time touches; without a beginning, from last month's on."""
    usual = days_asked(None, None, None, now)
    first = usual.start if since is None else since.astimezone(UTC).date()
    if until is None:
        return Days(min(first, usual.end), usual.end)
    end = until.astimezone(UTC)
    beyond = end.date() + timedelta(days=end.time() != time.min)
    return Days(first if since is not None else min(first, beyond - timedelta(days=1)), beyond)


def _silent(_told: object) -> None:
    """Show no progress: `meter reconcile` shows its own."""
