"""What `meter stripe verify` prints: for people, spreadsheets and programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands import table
from meter.commands.tables import one_line
from meter_stripe.printing import as_csv, as_document, counted, figure, time_of

if TYPE_CHECKING:
    from meter.commands import SinkDesk
    from meter_stripe.comparison import DayFigures
    from meter_stripe.sink import StripeSink
    from meter_stripe.verify_command import Difference, Outcome

__all__ = ["report"]

EVENTS_SHOWN: Final = 10


def report(desk: SinkDesk, found: Outcome, style: str, file: str) -> None:
    """Print what was found.

    Args:
        desk: of the sink.
        found: by `verify`.
        style: table, csv or json.
        file: what a command line needs to name the pipelines file.
    """
    if style == "json":
        as_document(_document(desk, found))
    elif style == "csv":
        as_csv(_HEADER, _rows(found))
    else:
        _print(desk, found, file)


# -- for people -------------------------------------------------------------------------------


_COLUMNS: Final = (
    "customer",
    "Stripe customer",
    "meter",
    "day (UTC)",
    "journal s",
    "sent",
    "Stripe counts",
    "difference",
    "unit",
    "state",
)


def _cells(found: Outcome, figures: DayFigures, state: str) -> tuple[object, ...]:
    return (
        ", ".join(found.journal.names.get(figures.customer, ())),
        figures.customer,
        figures.event_name,
        figures.day,
        figure(_seconds(found, figures)),
        figure(figures.delivered),
        figure(figures.counted),
        _signed(figures.difference),
        figures.unit,
        state,
    )


def _seconds(found: Outcome, figures: DayFigures) -> Decimal:
    key = (figures.customer, figures.event_name, figures.day)
    return found.journal.days.get(key, Decimal(0))


def _signed(value: Decimal) -> str:
    return f"+{figure(value)}" if value > 0 else figure(value)


def _print(desk: SinkDesk, found: Outcome, file: str) -> None:
    sink: StripeSink = desk.sink
    last = found.days.end - timedelta(days=1)
    click.echo(
        f"verify of the sink {desk.name} ({sink.options.mode} mode): the journal against Stripe's "
        f"summaries, {found.days.start} to {last}\n"
    )
    if found.rows:
        cells = [_cells(found, figures, state) for figures, state in found.rows]
        click.echo(table(_COLUMNS, cells, right=(4, 5, 6, 7)))
    else:
        click.echo(_nothing(found))
    for words in found.waits.lines(file):
        click.echo(words)
    for each in found.slots:
        _print_slot(each, file)
    if found.journal.faults:
        click.echo("\nthe journal and the ledger do not agree:")
        for fault in found.journal.faults:
            about = " ".join(
                one_line(x) for x in (fault.meter, fault.customer, fault.event_id) if x
            )
            click.echo(f"  {about}: {fault.words}")
    click.echo()
    for words in _totals(found):
        click.echo(words)


def _nothing(found: Outcome) -> str:
    """Say why there is no day to show; nothing is said of Stripe where it was not asked."""
    if found.asked:
        whom = "it" if len(found.asked) == 1 else "them"
        return (
            f"Stripe was asked for {_asked(found)}: it counts nothing for {whom} in these days, "
            "and nothing was sent"
        )
    if found.not_asked:
        why = "no reads are left for it"
    elif found.begun:
        why = "no Stripe customer is known yet"
    else:
        why = "these days have not begun"
    return f"Stripe was not asked: {why}"


def _asked(found: Outcome) -> str:
    customers = counted(len(found.asked), "customer")
    return f"{customers} on {counted(len(found.meters), 'meter')}"


def _print_slot(found: Difference, file: str) -> None:
    slot = found.slot
    where = f"{slot.customer} on {slot.event_name}, {slot.start:%Y-%m-%d %H:%M}"
    if slot.intent is None:
        click.echo(
            f"\n{where} to {slot.end:%H:%M}: Stripe counts {figure(slot.counted)}, and this sink "
            "sent nothing into these minutes: does another program send to this meter?"
        )
        click.echo(
            f"  if that is right: meter stripe resolve {slot.customer}{file} --day "
            f"{slot.start:%Y-%m-%d} (accept what Stripe counts of this day)"
        )
        return
    identifier = slot.intent.identifier
    click.echo(
        f"\n{where}: {figure(slot.expected)} sent, Stripe counts {figure(slot.counted)} "
        f"({identifier}, {slot.intent.state})"
    )
    if found.settled:
        click.echo(f"  {one_line(found.settled)}")
        return
    for event_id in slot.event_ids[:EVENTS_SHOWN]:
        click.echo(f"  {one_line(event_id)}")
    if len(slot.event_ids) > EVENTS_SHOWN:
        click.echo(f"  and {len(slot.event_ids) - EVENTS_SHOWN:,} more; --format json has all")
    settle = " or ".join(_WAYS[way] for way in found.ways)
    click.echo(
        f"  look: meter events {identifier}{file}"
        + (f"; settle: meter stripe resolve {identifier}{file} {settle}" if settle else "")
    )


_WAYS: Final = {
    "missing": "--as missing (bill it anew)",
    "counted": "--as counted (Stripe is right)",
}


def _totals(found: Outcome) -> Iterator[str]:
    yield from _sums(found)
    yield from _states(found)
    yield from _limits(found)
    if not found.asked:
        if found.agrees:
            yield "nothing was compared with Stripe"
        yield f"{counted(found.reads, 'read')} of Stripe's"
        return
    if found.agrees:
        certain = not found.not_asked and all(
            state in ("agrees", "settled") for _, state in found.rows
        )
        yield "everything agrees" if certain else "nothing differs"
    yield f"{counted(found.reads, 'read')} of Stripe's, for {_asked(found)}"


def _sums(found: Outcome) -> Iterator[str]:
    for meter in dict.fromkeys(figures.event_name for figures, _ in found.rows):
        mine = [figures for figures, _ in found.rows if figures.event_name == meter]
        seconds = sum((_seconds(found, figures) for figures in mine), Decimal(0))
        sent = sum(figures.delivered for figures in mine)
        counts = sum((figures.counted for figures in mine), Decimal(0))
        yield (
            f"total {meter}: journal {figure(seconds)} s; sent {counted(sent, mine[0].unit)}; "
            f"Stripe counts {figure(counts)}"
        )


def _states(found: Outcome) -> Iterator[str]:
    if differing := found.count("DIFFERS"):
        yield f"{counted(differing, 'day')} of a customer differ{'s' if differing == 1 else ''}"
    if young := found.count("too young to tell"):
        yield (
            f"{counted(young, 'day')} too young to tell: Stripe counts what it took with a delay; "
            "compare again in an hour"
        )
    if waiting := found.count("awaits an answer"):
        yield (
            f"{counted(waiting, 'day')} with usage that awaits an answer: Stripe's figure may "
            "still change"
        )
    if taken_back := found.count("just taken back"):
        yield (
            f"{counted(taken_back, 'day')} with usage that was just taken back: Stripe's figure "
            "may still change; compare again in an hour"
        )
    accepted = sum(figures.accepted is not None for figures, _ in found.rows)
    if accepted:
        yield f"{counted(accepted, 'day')} on which Stripe's figure was accepted as it is"


def _limits(found: Outcome) -> Iterator[str]:
    if found.not_drilled:
        yield f"{counted(found.not_drilled, 'day')} more were not looked into: narrow it down"
    if found.journal.faults:
        yield f"{counted(len(found.journal.faults), 'fault')} between journal and ledger"
    if found.cut:
        yield (
            "the month's read budget (reads_per_month) is used up, so that not everything was "
            "compared; --customer and --from need fewer reads"
        )
    if found.mapping_trouble:
        yield (
            f"who is mapped could not be read ({one_line(found.mapping_trouble)}): only customers "
            "that were billed are compared"
        )
    if found.not_asked:
        yield (
            f"{counted(len(found.not_asked), 'customer')} not asked for on every meter: this took "
            "as many reads as it may; --customer asks for one"
        )


# -- for machines -----------------------------------------------------------------------------


_HEADER: Final = (
    "what",
    "customer",
    "stripe_customer",
    "meter",
    "day",
    "from",
    "to",
    "journal_seconds",
    "sent",
    "counted",
    "difference",
    "unit",
    "state",
    "identifier",
    "event_ids",
)


def _rows(found: Outcome) -> Iterator[tuple[object, ...]]:
    for figures, state in found.rows:
        names = ", ".join(found.journal.names.get(figures.customer, ()))
        yield (
            *("day", names, figures.customer, figures.event_name, figures.day, "", ""),
            *(_seconds(found, figures), figures.delivered, figures.counted, figures.difference),
            *(figures.unit, state, "", ""),
        )
    for each in found.slots:
        slot = each.slot
        yield (
            *("slot", "", slot.customer, slot.event_name, slot.start.date()),
            *(time_of(slot.start), time_of(slot.end), "", slot.expected, slot.counted),
            *(slot.counted - slot.expected, slot.unit, each.settled or "DIFFERS"),
            *(slot.intent.identifier if slot.intent else "", " ".join(slot.event_ids)),
        )
    for where, aside in found.waits.classes.items():
        if aside.events:
            yield (
                *("unbilled", "", "", "", "", "", "", aside.seconds, "", "", "", "second"),
                *(where, "", ""),
            )
    if found.waits.rests:
        yield (
            *("unbilled", "", "", "", "", "", "", found.waits.rest, "", "", "", "second"),
            *("below one unit", "", ""),
        )
    for fault in found.journal.faults:
        yield (
            *("journal", "", fault.customer, fault.meter, "", "", "", "", "", "", "", ""),
            *(fault.words, "", fault.event_id),
        )


def _accepted(figures: DayFigures) -> dict[str, Any] | None:
    said = figures.accepted
    if said is None:
        return None
    return {
        "who": said.who,
        "at": time_of(said.at),
        "reason": said.reason,
        "difference": said.difference,
    }


def _document(desk: SinkDesk, found: Outcome) -> dict[str, Any]:
    return {
        "sink": desk.name,
        "mode": desk.sink.options.mode,
        "from": found.days.start,
        "to": found.days.end - timedelta(days=1),
        "agrees": found.agrees,
        "reads": found.reads,
        "complete": not (found.cut or found.not_asked),
        "asked": {
            "customers": len(found.asked),
            "meters": len(found.meters),
            "customers_not_asked": len(found.not_asked),
            "mapping_trouble": found.mapping_trouble or None,
        },
        "not_billed": {
            **{
                where: {"events": aside.events, "seconds": aside.seconds}
                for where, aside in found.waits.classes.items()
            },
            "below_one_unit": {"remainders": found.waits.rests, "seconds": found.waits.rest},
        },
        "days": [
            {
                "customers": found.journal.names.get(figures.customer, []),
                "stripe_customer": figures.customer,
                "meter": figures.event_name,
                "day": figures.day,
                "journal_seconds": _seconds(found, figures),
                "sent": figures.delivered,
                "counted": figures.counted,
                "difference": figures.difference,
                "unit": figures.unit,
                "too_young": figures.young,
                "doubtful": figures.doubtful,
                "taken_back": figures.taken_back,
                "accepted": _accepted(figures),
                "state": state,
            }
            for figures, state in found.rows
        ],
        "differences": [
            {
                "stripe_customer": slot.customer,
                "meter": slot.event_name,
                "from": time_of(slot.start),
                "to": time_of(slot.end),
                "sent": slot.expected,
                "counted": slot.counted,
                "unit": slot.unit,
                "identifier": None if slot.intent is None else slot.intent.identifier,
                "state": None if slot.intent is None else slot.intent.state,
                "settled": each.settled or None,
                "ways": each.ways,
                "event_ids": list(slot.event_ids),
            }
            for each in found.slots
            for slot in (each.slot,)
        ],
        "journal": [
            {
                "meter": fault.meter or None,
                "stripe_customer": fault.customer or None,
                "event_id": fault.event_id or None,
                "words": fault.words,
            }
            for fault in found.journal.faults
        ],
        "not_drilled_days": found.not_drilled,
    }
