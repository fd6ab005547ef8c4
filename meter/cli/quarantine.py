"""`meter quarantine`: what cannot become an event yet, and what is to be done about it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.arguments import as_json, file_apart, naming, pipelines_file, read_config
from meter.commands.moments import age, moment
from meter.commands.people import confirmed, given_reason, on_terminal, who
from meter.commands.spans import MOMENT
from meter.commands.tables import one_line, table

if TYPE_CHECKING:
    from meter.journal import Entry, Journal
    from meter.plugins import Plugins

__all__ = ["quarantine"]

_STATES: Final = ("open", "recorded", "assigned", "discarded")

ids = click.argument("arguments", nargs=-1, metavar="[ID]... [PIPELINES]")
every = click.option("--all", "every", is_flag=True, help="All that are open, instead of IDs.")
why = click.option("--why", metavar="TEXT", help="Only those whose reason has this in it.")


@click.group()
def quarantine() -> None:
    """See what cannot become an event yet, and clear it.

    Start with: meter quarantine list. An ID is what the list shows, or the id of a transcript or
    session. Whatever is done here is kept with who did it and when: meter acts.
    """


@quarantine.command(name="list")
@pipelines_file
@click.option("--state", "states", type=click.Choice(_STATES), multiple=True, help="Default: open.")
@click.option("--collector", help="Only what this collector set aside.")
@why
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The most rows."
)
@as_json
@click.pass_obj
def list_entries(
    plugins: Plugins,
    pipelines: Path,
    *,
    states: tuple[str, ...],
    collector: str | None,
    why: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List what is in quarantine, the newest first."""
    from meter.cli.quarantine_desk import Desk
    from meter.commands.nearest import named

    config = read_config(pipelines, plugins, looking=True)
    if collector is not None:
        collector = named(collector, config.collectors, "collector", config.path)
    with Desk(config, plugins) as desk:
        found = desk.journal.aside.entries(
            states=states or ("open",), collector=collector, why=why, limit=limit + 1
        )
        rows = [_row(entry, desk) for entry in found[:limit]]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo("nothing in quarantine")
        return
    shown = ("id", "what", "collector", "provider_id", "times", "since", "reason")
    header = ("id", "what", "collector", "of", "times", "since", "reason")
    click.echo(table(header, [[row[name] for name in shown] for row in rows], right=(0, 4)))
    if len(found) > limit:
        click.echo(f"\nthe newest {limit}; --limit shows more")
    click.echo(f"\nwhat to do about one: meter quarantine show ID{naming(pipelines)}")


@quarantine.command()
@click.argument("reference", metavar="ID")
@pipelines_file
@as_json
@click.pass_obj
def show(plugins: Plugins, reference: str, pipelines: Path, *, as_json: bool) -> None:
    """Show one thing in quarantine: why, what was kept of it, and what to do.

    Exit 1 when there is none of this ID.
    """
    from meter.cli.quarantine_desk import Desk
    from meter.reports.event_history import acts_of, plain

    config = read_config(pipelines, plugins, looking=True)
    with Desk(config, plugins) as desk:
        entry = desk.entry(reference, states=())
        acts = desk.journal.acts.of_entry(entry.id)
        row, now = _row(entry, desk), desk.clock.now()
    payload = json.loads(entry.payload)
    if as_json:
        document = {**row, "payload": payload, "acts": [plain(act) for act in acts]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    click.echo(f"{entry.id}: {row['what']} from {entry.collector}, {entry.state}")
    times = f"{entry.times} times" if entry.times > 1 else "once"
    since = f"{moment(entry.first_at)}, {age(now, entry.first_at)} ago; {times}"
    facts = [("reason", entry.reason), ("of", entry.provider_id or ""), ("since", since)]
    for name, value in facts:
        if value:
            click.echo(f"  {name:<8}  {one_line(value)}")
    click.echo("  kept")
    for line in json.dumps(payload, indent=2, ensure_ascii=False).splitlines():
        click.echo(f"    {one_line(line)}")
    for line in acts_of(acts):
        click.echo(f"  {one_line(line)}")
    if entry.state == "open":
        click.echo("\nwhat to do")
        for line in _ways(row, naming(pipelines)):
            click.echo(f"  {one_line(line)}")


@quarantine.command()
@ids
@every
@why
@as_json
@click.pass_obj
def retry(
    plugins: Plugins, arguments: tuple[str, ...], *, every: bool, why: str | None, as_json: bool
) -> None:
    """Ask the provider again for a job that could not be fetched.

    It stays in quarantine until the job is known: a running `meter run` asks within seconds, and
    again for as long as it did at first. Exit 1 when an ID is none that can be asked for; then
    nothing is done.
    """
    from meter.cli.quarantine_desk import Desk

    references, pipelines = file_apart(arguments)
    config = read_config(pipelines, plugins, looking=True)
    with Desk(config, plugins) as desk:
        chosen = desk.chosen(references, "retryable", every=every, why=why)
        desk.ask_again(chosen, who())
        running = desk.journal.running()
    if as_json:
        _json("retry", chosen, running=running)
        return
    click.echo(f"asked for again: {_named(chosen)}")
    if chosen and running:
        click.echo("the running `meter run` does it within seconds")
    elif chosen:
        click.echo(
            f"no `meter run` works on this journal; do it now: meter run --once{naming(pipelines)}"
        )


@quarantine.command()
@ids
@click.option("--customer", required=True, help="Whose it is, exactly as your applications say.")
@click.option(
    "--dimension", "dimensions", multiple=True, metavar="NAME=VALUE", help="Added; repeatable."
)
@click.option(
    "--at", "at", type=MOMENT, help="When it happened, where nothing was kept of that (UTC)."
)
@click.option("--reason", help="Why; kept with who and when.")
@every
@why
@as_json
@click.pass_obj
def assign(  # noqa: PLR0913  because each option is a parameter
    plugins: Plugins,
    arguments: tuple[str, ...],
    *,
    customer: str,
    dimensions: tuple[str, ...],
    at: datetime | None,
    reason: str | None,
    every: bool,
    why: str | None,
    as_json: bool,
) -> None:
    """Say whose something in quarantine is: it becomes its event, and is delivered as any other.

    An event is recorded once, for ever: look twice at the customer. Exit 1 when an ID is none that
    lacks only its customer; then nothing is done.
    """
    from meter.cli.quarantine_desk import Desk
    from meter.collectors.cases import Naming

    references, pipelines = file_apart(arguments)
    pairs = [dimension.partition("=") for dimension in dimensions]
    if wrong := next((name for name, equals, _ in pairs if not (name and equals)), None):
        raise click.UsageError(f"--dimension {wrong}: expected NAME=VALUE")
    if not customer:
        raise click.UsageError("--customer: expected whose it is, got empty text")
    meant = Naming(customer, {name: value for name, _, value in pairs}, at)
    config = read_config(pipelines, plugins, looking=True)
    with Desk(config, plugins) as desk:
        chosen = desk.chosen(references, "assignable", every=every, why=why)
        if chosen and not _sure_of(customer, desk.journal):
            raise SystemExit(1)
        became = desk.assign(chosen, meant, who(), reason or "")
        running = desk.journal.running()
    if as_json:
        _json("assign", chosen, running=running, became=became)
        return
    for entry, what in zip(chosen, became, strict=True):
        click.echo(one_line(f"{entry.id}: {what}, for {customer}"))
    if not chosen:
        click.echo("nothing in quarantine that lacks only its customer")
    elif not running:
        file = naming(pipelines)
        click.echo(f"no `meter run` works on this journal; deliver now: meter run --once{file}")


@quarantine.command()
@ids
@click.option("--reason", help="Why it is no usage of anybody; kept with who and when.")
@every
@why
@click.option("--yes", is_flag=True, help="With --all: do not ask.")
@as_json
@click.pass_obj
def discard(
    plugins: Plugins,
    arguments: tuple[str, ...],
    *,
    reason: str | None,
    every: bool,
    why: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Close something in quarantine that is nobody's usage.

    It is kept, and shown with `meter quarantine list --state discarded`. Exit 1 when an ID is none
    that is open; then nothing is done.
    """
    from meter.cli.quarantine_desk import Desk

    words = given_reason(reason, "discard")
    references, pipelines = file_apart(arguments)
    config = read_config(pipelines, plugins, looking=True)
    with Desk(config, plugins) as desk:
        chosen = desk.chosen(references, None, every=every, why=why)
        if every and chosen and not confirmed(f"discard {len(chosen)} of them?", yes=yes):
            raise SystemExit(1)
        desk.discard(chosen, who(), words)
    if as_json:
        _json("discard", chosen)
    else:
        click.echo(f"discarded: {_named(chosen)}")


def _row(entry: Entry, desk: Any) -> dict[str, Any]:
    case = desk.case(entry)
    still = entry.state == "open"
    return {
        "id": entry.id,
        "what": case.noun,
        "collector": entry.collector,
        "provider_id": entry.provider_id,
        "reason": entry.reason,
        "state": entry.state,
        "times": entry.times,
        "since": moment(entry.first_at),
        "last": moment(entry.last_at),
        "can_assign": still and case.assignable is None,
        "can_retry": still and case.retryable is None,
        "advice": case.advice,
    }


def _ways(row: dict[str, Any], file: str) -> list[str]:
    """Say what can be done, a line each: the advice, and the commands for it."""
    lines = [row["advice"]]
    if row["can_retry"]:
        lines.append(f"to ask again: meter quarantine retry {row['id']}{file}")
    if row["can_assign"]:
        lines.append(f"to assign: meter quarantine assign {row['id']}{file} --customer CUSTOMER")
    lines.append(f"to discard: meter quarantine discard {row['id']}{file} --reason TEXT")
    return lines


def _named(chosen: list[Entry]) -> str:
    some = ", ".join(str(entry.id) for entry in chosen[:20])
    more = f", and {len(chosen) - 20} more" if len(chosen) > 20 else ""  # noqa: PLR2004  because it is what is shown above
    return (some + more) or "nothing"


def _json(act: str, chosen: list[Entry], **more: Any) -> None:
    done = [entry.id for entry in chosen]
    click.echo(json.dumps({"act": act, "ids": done, **more}, indent=2, ensure_ascii=False))


def _sure_of(customer: str, journal: Journal) -> bool:
    """Warn of a customer who has never used anything; ask, where somebody can answer."""
    from zoneinfo import ZoneInfo

    from meter.reports.usage import Question, usage

    question = Question(by=("customer",), zone=ZoneInfo("UTC"), customers=frozenset({customer}))
    if usage(journal, question):
        return True
    click.echo(
        f"warning: nobody called {one_line(customer)!r} has used anything yet, and an event is "
        "recorded once, for ever",
        err=True,
    )
    if not on_terminal() or click.confirm("is it spelt as your applications spell it?"):
        return True
    click.echo("meter: nothing was done", err=True)
    return False
