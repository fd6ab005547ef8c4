"""`meter stripe plan`: what would be sent now, for people, spreadsheets and programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands import table
from meter.commands.tables import one_line
from meter.errors import FatalSinkError
from meter_stripe.customers import customers_for
from meter_stripe.forecast import Hour, forecast
from meter_stripe.printing import as_csv, as_document, counted, figure, time_of

if TYPE_CHECKING:
    from meter.commands import SinkDesk
    from meter_stripe.forecast import Aside, Forecast, Line
    from meter_stripe.intents import Intent
    from meter_stripe.sink import StripeSink

__all__ = ["plan", "shown_hours"]

SHOWN: Final = 20
"""How many reasons and intents a table lists."""
PLACES: Final = {"held": "held", "rejected": "refused", "dead": "dead letters"}


def plan(desk: SinkDesk, *, style: str, customer: str | None) -> None:
    """Print what would be sent; send nothing.

    Args:
        desk: of a sink `stripe`; may be for looking only.
        style: table, csv or json.
        customer: only this one: our name, or Stripe's id.

    Raises:
        SinkError: the customers cannot be read.
    """
    sink: StripeSink = desk.sink
    source = sink.options.customers
    if source != "passthrough" and source.metadata is not None and sink.options.mode is None:
        raise FatalSinkError(
            "the customers stand in Stripe's metadata, so that `plan` needs the sink's api_key: "
            "set its variable"
        )
    try:
        customers = customers_for(sink.options, sink.api)
        customers.refresh(desk.clock.now())
        made = forecast(desk, customers)
    finally:
        sink.close()
    if customer is not None:
        _keep_only(made, customer)
    if style == "json":
        as_document(_document(desk, made))
    elif style == "csv":
        as_csv(_HEADER, _rows(made))
    else:
        _print(desk, made, customer)


def _keep_only(made: Forecast, customer: str) -> None:
    made.lines = {
        key: line
        for key, line in made.lines.items()
        if customer == line.stripe_customer or customer in line.customers
    }
    ids = {customer, *(line.stripe_customer for line in made.lines.values())}
    made.underway = [(meter, i) for meter, i in made.underway if i.customer in ids]
    made.aside = {key: a for key, a in made.aside.items() if customer in a.customers}


# -- for people -------------------------------------------------------------------------------


def _print(desk: SinkDesk, made: Forecast, customer: str | None) -> None:
    sink: StripeSink = desk.sink
    mode = f" ({sink.options.mode} mode)" if sink.options.mode else ""
    click.echo(f"plan of the sink {desk.name}{mode} at {time_of(made.at)}; nothing is sent by this")
    _print_state(desk, made)
    lines = list(made.lines.values())
    if lines:
        click.echo()
        click.echo(table(_COLUMNS, [_cells(line) for line in lines], right=(3, 4, 5, 7)))
        click.echo()
        for words in _totals(lines):
            click.echo(words)
    else:
        whose = "" if customer is None else f" for {one_line(customer)}"
        click.echo(f"\nnothing is to be sent{whose}")
    if made.settled:
        click.echo(f"{counted(made.settled, 'event')} more need no call: Stripe has their usage")
    _print_intents(made)
    _print_aside(made)


def _print_state(desk: SinkDesk, made: Forecast) -> None:
    row = desk.row()
    if desk.blank:
        click.echo("nothing is recorded yet: there is no journal, `meter run` makes it")
    if row is None:
        click.echo(f"the sink never ran; {_begins(desk.start)}")
    elif row.parked:
        click.echo(f"the sink is parked, so that nothing leaves: {one_line(row.parked)}")
    if made.guessed:
        click.echo(f"not opened yet, planned as if nothing was sent: {', '.join(made.guessed)}")


def _begins(start: str | datetime) -> str:
    """Say in the file's own words what the first run will take."""
    if isinstance(start, datetime):
        return f"by `start: {time_of(start)}` its first run takes all usage since then"
    if start == "beginning":
        return "by `start: beginning` its first run takes everything that is recorded"
    return "by `start: now` its first run takes no usage of before"


_COLUMNS: Final = (
    "customer",
    "Stripe customer",
    "meter",
    "events",
    "seconds",
    "to send",
    "unit",
    "remainder s",
    "usage of (UTC)",
    "when",
)


def _cells(line: Line) -> tuple[object, ...]:
    total = line.total()
    return (
        ", ".join(line.customers),
        line.stripe_customer,
        line.meter,
        f"{total.events:,}",
        figure(total.seconds),
        f"{total.units:,}",
        line.unit,
        figure(line.remainder),
        shown_hours(line),
        line.when,
    )


def shown_hours(line: Line) -> str:
    """Say for which hours, and in how many meter events."""
    first, last = min(line.hours), max(line.hours) + timedelta(hours=1)
    day = "%Y-%m-%d " if last.date() != first.date() else ""
    number_of = line.total().meter_events
    span = f"{first:%Y-%m-%d %H:%M} to {last.strftime(day + '%H:%M')}"
    return f"{span} in {counted(number_of, 'meter event')}" if number_of else span


def _totals(lines: list[Line]) -> Iterator[str]:
    for meter in dict.fromkeys(line.meter for line in lines):
        mine = [line for line in lines if line.meter == meter]
        total = Hour()
        for line in mine:
            total.add(line.total())
        whose = len({line.stripe_customer for line in mine})
        yield (
            f"total {meter}: {counted(total.units, mine[0].unit)} for "
            f"{counted(whose, 'customer')}, in {counted(total.meter_events, 'meter event')}, from "
            f"{counted(total.events, 'event')} of {figure(total.seconds)} s"
        )


def _print_intents(made: Forecast) -> None:
    if made.underway:
        click.echo("\nalready under way, and not in the figures above:")
        rows = [
            (i.customer, meter, figure(i.value), i.identifier, i.attempts, _next(i, made))
            for meter, i in made.underway[:SHOWN]
        ]
        header = ("Stripe customer", "meter", "units", "identifier", "tries", "next")
        click.echo(table(header, rows, right=(2, 4)))
        _more(len(made.underway))
    if made.taken_back:
        click.echo("\nto be taken back; other usage of the same meter events is billed anew:")
        for meter, event_id in made.taken_back[:SHOWN]:
            click.echo(f"  {one_line(event_id)} on {meter}")
        _more(len(made.taken_back))


def _next(intent: Intent, made: Forecast) -> str:
    if intent.state == "cancelling":
        return "is being cancelled"
    when = "now"
    if intent.next_at is not None and intent.next_at > made.at:
        when = f"at {time_of(intent.next_at)}"
    from meter_stripe.proof import needed

    if needed(intent, made.at):
        return f"looked for in Stripe's summaries {when}, not sent again"
    return f"sent again as it was, {when}"


def _print_aside(made: Forecast) -> None:
    for where, title in PLACES.items():
        some = sorted(
            (a for a in made.aside.values() if a.where == where),
            key=lambda a: (-a.events, a.reason),
        )
        if not some:
            continue
        events = sum(a.events for a in some)
        seconds = sum((a.seconds for a in some), Decimal(0))
        click.echo(f"\n{title}: {counted(events, 'event')} of {figure(seconds)} s")
        for each in some[:SHOWN]:
            click.echo(
                f"  {counted(each.events, 'event')} of {figure(each.seconds)} s, "
                f"{_whose(each)}: {one_line(each.reason)}"
            )
        _more(len(some))
        if where == "dead":
            click.echo("  to offer them again: meter dead-letters --retry EVENT, or --retry-all")
        elif any(a.reason.startswith("late: ") for a in some):
            click.echo("  to bill late usage under today's date: meter stripe carry-forward")


def _whose(aside: Aside) -> str:
    names = sorted(one_line(name) for name in aside.customers)
    return ("customer " if len(names) == 1 else "customers such as ") + ", ".join(names)


def _more(count: int) -> None:
    if count > SHOWN:
        click.echo(f"  and {count - SHOWN:,} more; --format json has all")


# -- for machines -----------------------------------------------------------------------------

_HEADER: Final = (
    "what",
    "when",
    "customer",
    "stripe_customer",
    "meter",
    "events",
    "seconds",
    "units",
    "unit",
    "remainder_seconds",
    "first_hour",
    "last_hour",
    "meter_events",
    "identifier",
    "reason",
)


def _rows(made: Forecast) -> Iterator[tuple[object, ...]]:
    """Yield one flat row each, for a spreadsheet."""
    for line in made.lines.values():
        total = line.total()
        yield (
            *("send", line.when, ", ".join(line.customers), line.stripe_customer, line.meter),
            *(total.events, total.seconds, total.units, line.unit, line.remainder),
            *(time_of(min(line.hours)), time_of(max(line.hours)), total.meter_events, "", ""),
        )
    for meter, intent in made.underway:
        yield (
            *("under way", _next(intent, made), "", intent.customer, meter, len(intent.events)),
            *(intent.seconds, intent.value, "", "", time_of(intent.slot), time_of(intent.slot)),
            *(1, intent.identifier, intent.note),
        )
    for aside in made.aside.values():
        yield (
            *(aside.where, "", ", ".join(sorted(aside.customers)), "", "", aside.events),
            *(aside.seconds, "", "", "", "", "", "", "", aside.reason),
        )


def _document(desk: SinkDesk, made: Forecast) -> dict[str, Any]:
    return {
        "sink": desk.name,
        "mode": desk.sink.options.mode,
        "at": time_of(made.at),
        "send": [_line_document(line) for line in made.lines.values()],
        "under_way": [
            {
                "identifier": intent.identifier,
                "stripe_customer": intent.customer,
                "meter": meter,
                "units": intent.value,
                "seconds": intent.seconds,
                "events": len(intent.events),
                "tries": intent.attempts,
                "next": _next(intent, made),
            }
            for meter, intent in made.underway
        ],
        "taken_back": [{"event_id": e, "meter": meter} for meter, e in made.taken_back],
        "aside": [
            {
                "where": aside.where,
                "reason": aside.reason,
                "events": aside.events,
                "seconds": aside.seconds,
                "customers": sorted(aside.customers),
            }
            for aside in made.aside.values()
        ],
        "settled_events": made.settled,
        "not_opened": made.guessed,
    }


def _line_document(line: Line) -> dict[str, Any]:
    total = line.total()
    return {
        "customers": line.customers,
        "stripe_customer": line.stripe_customer,
        "meter": line.meter,
        "when": line.when,
        "events": total.events,
        "seconds": total.seconds,
        "units": total.units,
        "unit": line.unit,
        "remainder_seconds": line.remainder,
        "meter_events": total.meter_events,
        "hours": [
            {
                "hour": time_of(at),
                "events": hour.events,
                "seconds": hour.seconds,
                "units": hour.units,
                "meter_events": hour.meter_events,
            }
            for at, hour in sorted(line.hours.items())
        ],
    }
