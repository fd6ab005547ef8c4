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
    from meter_stripe.comparison import DayFigures, SlotFigures
    from meter_stripe.sink import StripeSink
    from meter_stripe.verify_command import Outcome

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
        click.echo("nothing was sent in these days, and Stripe counts nothing")
    for slot, settled in found.slots:
        _print_slot(slot, settled, file)
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


def _print_slot(slot: SlotFigures, settled: str, file: str) -> None:
    where = f"{slot.customer} on {slot.event_name}, {slot.start:%Y-%m-%d %H:%M}"
    if slot.intent is None:
        click.echo(
            f"\n{where} to {slot.end:%H:%M}: Stripe counts {figure(slot.counted)}, and this sink "
            "sent nothing into these minutes: does another program send to this meter?"
        )
        return
    identifier = slot.intent.identifier
    click.echo(
        f"\n{where}: {figure(slot.expected)} sent, Stripe counts {figure(slot.counted)} "
        f"({identifier}, {slot.intent.state})"
    )
    if settled:
        click.echo(f"  {one_line(settled)}")
        return
    for event_id in slot.event_ids[:EVENTS_SHOWN]:
        click.echo(f"  {one_line(event_id)}")
    if len(slot.event_ids) > EVENTS_SHOWN:
        click.echo(f"  and {len(slot.event_ids) - EVENTS_SHOWN:,} more; --format json has all")
    click.echo(
        f"  look: meter events {identifier}{file}; settle: meter stripe resolve {identifier}{file} "
        "--as missing (bill it anew) or --as counted (Stripe is right)"
    )


def _totals(found: Outcome) -> Iterator[str]:
    for meter in dict.fromkeys(figures.event_name for figures, _ in found.rows):
        mine = [figures for figures, _ in found.rows if figures.event_name == meter]
        seconds = sum((_seconds(found, figures) for figures in mine), Decimal(0))
        sent = sum(figures.delivered for figures in mine)
        counts = sum((figures.counted for figures in mine), Decimal(0))
        yield (
            f"total {meter}: journal {figure(seconds)} s; sent {counted(sent, mine[0].unit)}; "
            f"Stripe counts {figure(counts)}"
        )
    if differing := found.count("DIFFERS"):
        yield f"{counted(differing, 'day')} of a customer differ{'s' if differing == 1 else ''}"
    if young := found.count("too young to tell"):
        yield (
            f"{counted(young, 'day')} too young to tell: Stripe counts what it took with a delay; "
            "compare again in an hour"
        )
    if waiting := found.count("awaits an answer"):
        yield (
            f"{counted(waiting, 'day')} with usage that awaits an answer, or was just taken back: "
            "Stripe's figure may still change"
        )
    if found.not_drilled:
        yield f"{counted(found.not_drilled, 'day')} more were not looked into: narrow it down"
    if found.journal.faults:
        yield f"{counted(len(found.journal.faults), 'fault')} between journal and ledger"
    if found.cut:
        yield (
            "the month's read budget (reads_per_month) is used up, so that not everything was "
            "compared; --customer and --from need fewer reads"
        )
    if found.agrees:
        rest = young or waiting
        yield "nothing differs" if rest else "everything agrees"
    yield f"{counted(found.reads, 'read')} of Stripe's"


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
    for slot, settled in found.slots:
        yield (
            *("slot", "", slot.customer, slot.event_name, slot.start.date()),
            *(time_of(slot.start), time_of(slot.end), "", slot.expected, slot.counted),
            *(slot.counted - slot.expected, slot.unit, settled or "DIFFERS"),
            *(slot.intent.identifier if slot.intent else "", " ".join(slot.event_ids)),
        )
    for fault in found.journal.faults:
        yield (
            *("journal", "", fault.customer, fault.meter, "", "", "", "", "", "", "", ""),
            *(fault.words, "", fault.event_id),
        )


def _document(desk: SinkDesk, found: Outcome) -> dict[str, Any]:
    return {
        "sink": desk.name,
        "mode": desk.sink.options.mode,
        "from": found.days.start,
        "to": found.days.end - timedelta(days=1),
        "agrees": found.agrees,
        "reads": found.reads,
        "complete": not found.cut,
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
                "settled": settled or None,
                "event_ids": list(slot.event_ids),
            }
            for slot, settled in found.slots
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
