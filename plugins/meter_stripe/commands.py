"""The commands `meter stripe …`. Importing this costs little: the rest is imported when used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click

from meter.commands.arguments import pipelines_file

__all__ = ["stripe"]

F = TypeVar("F", bound=Callable[..., Any])
TYPE: Final = "stripe"

sink_name = click.option("--sink", "name", help="Which sink, when the file has several of stripe.")
style = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="table for people, csv for spreadsheets, json for programs.",
)
customer = click.option("--customer", help="Only this customer: your name of it, or Stripe's id.")
reason = click.option("--reason", default="", help="Why, for the record.")
yes = click.option("--yes", is_flag=True, help="Ask nothing.")


def waiting(default: float) -> Callable[[F], F]:
    """Return the option that bounds the wait for a running `meter run`."""
    return click.option(
        "--wait",
        "seconds",
        type=click.FloatRange(min=0),
        default=default,
        show_default=True,
        help="How many seconds to wait for a running `meter run`.",
    )


@click.group()
def stripe() -> None:
    """Set up, preview, prove and correct what is billed through Stripe.

    Usage goes to Stripe by `meter run`; these commands are for before and after.
    """


@stripe.command()
@pipelines_file
@sink_name
@click.option("--apply", is_flag=True, help="Make what is missing; without it, only show.")
@click.option("--currency", help="Of the prices, such as usd.")
@click.option(
    "--price",
    "prices",
    metavar="METER=AMOUNT[/UNIT]",
    multiple=True,
    help="What a meter's usage costs, in dollars (or whatever --currency says): 0.36/hour, or "
    "0.0001 for one unit of the meter; repeatable. Without it only meters are made.",
)
@click.option("--reactivate", is_flag=True, help="Also let deactivated meters take usage again.")
@click.pass_obj
def setup(
    plugins: Any,
    pipelines: Path,
    *,
    name: str | None,
    apply: bool,
    currency: str | None,
    prices: Sequence[str],
    reactivate: bool,
) -> None:
    """Show what Stripe has and lacks for each meter of PIPELINES, and make what is missing.

    Prints exactly what --apply would make: meters, and for each --price a product and a monthly
    price. It may run twice, or be interrupted: what is there is never made again. Also prints the
    permissions that a restricted key needs. Exit 1 when something is wrong that it cannot put
    right.
    """
    from meter_stripe.setup_command import set_up

    given = {}
    for text in prices:
        meter, separator, amount = text.rpartition("=")
        if not separator or not meter:
            raise click.UsageError(f"--price {text!r}: expected METER=AMOUNT")
        if meter in given:
            raise click.UsageError(f"--price {meter}=…: a meter has one price; it is given twice")
        given[meter] = amount
    code = set_up(
        plugins,
        pipelines,
        name=name,
        apply=apply,
        reactivate=reactivate,
        currency=currency,
        prices=given,
    )
    raise SystemExit(code)


@stripe.command()
@pipelines_file
@sink_name
@customer
@style
@click.pass_obj
def plan(
    plugins: Any, pipelines: Path, *, name: str | None, customer: str | None, style: str
) -> None:
    """Print what would be sent now, per customer and meter. Sends nothing.

    Also what is held and why, what awaits an answer of Stripe's, and dead letters. Works beside a
    running `meter run`.
    """
    from meter.commands import sink_desk
    from meter_stripe.plan_command import plan as planned

    with sink_desk(plugins, pipelines, type=TYPE, name=name, looking=True, blank=True) as desk:
        planned(desk, style=style, customer=customer)


@stripe.command()
@pipelines_file
@sink_name
@customer
@click.option("--from", "start", metavar="DAY", help="The first day, UTC. Default: last month's.")
@click.option("--to", "end", metavar="DAY", help="The last day, UTC. Default: today.")
@click.option("--month", metavar="MONTH", help="A whole month, such as 2026-11.")
@click.option("--strict", is_flag=True, help="Allow Stripe no hour to count what was just sent.")
@style
@click.pass_obj
def verify(  # noqa: PLR0913  because each option is a parameter
    plugins: Any,
    pipelines: Path,
    *,
    name: str | None,
    customer: str | None,
    start: str | None,
    end: str | None,
    month: str | None,
    strict: bool,
    style: str,
) -> None:
    """Compare the journal with what Stripe counts, per customer, meter and day.

    Where they differ it goes down to the minute, and names the events behind it. It also compares
    the journal with meter's own ledger. Reads only, and says how many reads it took. Exit 1 when
    something differs.
    """
    from meter.commands import sink_desk
    from meter_stripe.verify_command import days_asked
    from meter_stripe.verify_command import verify as verified

    with sink_desk(plugins, pipelines, type=TYPE, name=name) as desk:
        days = days_asked(start, end, month, desk.clock.now())
        code = verified(
            desk, days, customer=customer, strict=strict, style=style, pipelines=pipelines
        )
    raise SystemExit(code)


@stripe.command()
@click.argument("event")
@pipelines_file
@sink_name
@reason
@yes
@waiting(30)
@click.pass_obj
def cancel(
    plugins: Any,
    event: str,
    pipelines: Path,
    *,
    name: str | None,
    reason: str,
    yes: bool,
    seconds: float,
) -> None:
    """Take back what EVENT was billed: it is never billed again.

    Within a day Stripe cancels the meter event, and the other usage in it is billed anew; later a
    negative meter event takes the units back. Who asked, when and why is recorded: `meter events`
    shows it. Exit 1 when it is not done.
    """
    from meter.commands import sink_desk
    from meter_stripe.cancel_command import cancel as cancelled

    with sink_desk(plugins, pipelines, type=TYPE, name=name) as desk:
        code = cancelled(desk, event, reason=reason, yes=yes, seconds=seconds)
    raise SystemExit(code)


@stripe.command()
@click.argument("identifier")
@pipelines_file
@sink_name
@click.option(
    "--as",
    "act",
    type=click.Choice(["counted", "missing"]),
    help="counted: Stripe's figure is right. missing: it counts none of it; bill it anew.",
)
@click.option(
    "--day",
    metavar="DAY",
    help="IDENTIFIER is a Stripe customer: take the difference that this day shows now for right.",
)
@reason
@yes
@waiting(30)
@click.pass_obj
def resolve(  # noqa: PLR0913  because each option is a parameter
    plugins: Any,
    identifier: str,
    pipelines: Path,
    *,
    name: str | None,
    act: Literal["counted", "missing"] | None,
    day: str | None,
    reason: str,
    yes: bool,
    seconds: float,
) -> None:
    """Settle a dispute or a difference: say what is true of the meter event IDENTIFIER.

    IDENTIFIER may also be the name of a notice that `meter status` shows: it is shown no longer.
    Exit 1 when it is not done.
    """
    from meter.commands import sink_desk
    from meter_stripe import resolve_command

    with sink_desk(plugins, pipelines, type=TYPE, name=name) as desk:
        if day is not None:
            from meter_stripe.verify_command import day_of

            raise SystemExit(
                resolve_command.accept(
                    desk, identifier, day_of(day, "--day"), reason=reason, yes=yes
                )
            )
        code = resolve_command.resolve(
            desk, identifier, act=act, reason=reason, yes=yes, seconds=seconds
        )
    raise SystemExit(code)


@stripe.command(name="carry-forward")
@click.argument("events", nargs=-1, metavar="[EVENT]... [PIPELINES]")
@sink_name
@click.option("--all-late", is_flag=True, help="Everything that is held because it is late.")
@reason
@yes
@waiting(30)
@click.pass_obj
def carry_forward(
    plugins: Any,
    events: Sequence[str],
    *,
    name: str | None,
    all_late: bool,
    reason: str,
    yes: bool,
    seconds: float,
) -> None:
    """Bill held late usage under today's date; its true time stays in the ledger.

    EVENT is an event id, which has colons in it; a last word without one is PIPELINES. Who asked,
    when and why is recorded. Exit 1 when it is not done.
    """
    from meter.commands import sink_desk
    from meter.commands.arguments import DEFAULT_FILE
    from meter_stripe.carry_command import carry_forward as carried

    ids, pipelines = list(events), Path(DEFAULT_FILE)
    if ids and ":" not in ids[-1]:
        pipelines = Path(ids.pop())
    if bool(ids) == all_late:
        raise click.UsageError("name events, or say --all-late")
    with sink_desk(plugins, pipelines, type=TYPE, name=name) as desk:
        code = carried(desk, ids, all_late=all_late, reason=reason, yes=yes, seconds=seconds)
    raise SystemExit(code)


@stripe.command()
@pipelines_file
@sink_name
@waiting(120)
@click.pass_obj
def flush(plugins: Any, pipelines: Path, *, name: str | None, seconds: float) -> None:
    """Send everything now, such as before a billing period closes.

    A running `meter run` does it; where none runs, this command does. Names what is left and why;
    exit 1 when something is.
    """
    from meter.commands import sink_desk
    from meter_stripe.flush_command import flush as flushed

    with sink_desk(plugins, pipelines, type=TYPE, name=name) as desk:
        code = flushed(desk, seconds=seconds, pipelines=pipelines)
    raise SystemExit(code)
