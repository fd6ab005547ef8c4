"""`meter events`: the events in a list, as they come in, or one in full."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from meter.commands.arguments import as_json, file_apart, naming, read_config
from meter.commands.nearest import named
from meter.commands.spans import since as since_option
from meter.commands.spans import until as until_option

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = ["events"]

_KINDS = ("async_completed", "stream_terminated", "async_failed", "stream_abandoned")
_STATES = ("delivered", "pending", "held", "retrying", "dead", "discarded", "filtered")


@click.command()
@click.argument("arguments", nargs=-1, metavar="[REFERENCE] [PIPELINES]")
@click.option("--customer", help="Only this customer's.")
@click.option("--kind", type=click.Choice(_KINDS), help="Only of this kind.")
@click.option("--model", help="Only of this speech model.")
@since_option
@until_option
@click.option("--sink", help="Say where each stands for this sink.")
@click.option("--state", type=click.Choice(_STATES), help="With --sink: only those that stand so.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The most rows."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new ones as they are recorded.")
@as_json
@click.pass_obj
def events(  # noqa: PLR0913  because each option is a parameter
    plugins: Plugins,
    arguments: tuple[str, ...],
    *,
    customer: str | None,
    kind: str | None,
    model: str | None,
    since: datetime | None,
    until: datetime | None,
    sink: str | None,
    state: Any,
    limit: int,
    follow: bool,
    as_json: bool,
) -> None:
    """List the events of PIPELINES, the newest first, or show one in full with its history.

    REFERENCE is an event id, such as assemblyai:transcript:…, or a name under which a destination
    knows something: then the sinks say what it is; exit 1 when nobody knows it. An argument that
    ends in .yaml or .yml is PIPELINES. With --json, a list is one object a line.
    """
    from meter.cli import event_list, event_told
    from meter.clock import SystemClock
    from meter.journal import Wanted, open_journal

    references, pipelines = file_apart(arguments)
    filters: dict[str, Any] = {
        "--customer": customer,
        "--kind": kind,
        "--model": model,
        "--from": since,
    }
    filters |= {"--to": until, "--sink": sink, "--state": state, "--follow": follow or None}
    given = [name for name, value in filters.items() if value is not None]
    if len(references) > 1:
        raise click.UsageError(
            f"one REFERENCE at a time, got {len(references)}; PIPELINES ends in .yaml or .yml"
        )
    if references and given:
        raise click.UsageError(f"{given[0]} is for the list; leave it out to see one event")
    if state is not None and sink is None:
        raise click.UsageError("--state needs --sink: an event stands somewhere for each sink")
    if follow and sink is not None:
        raise click.UsageError("--follow and --sink exclude each other: what is new is pending")
    config = read_config(pipelines, plugins, looking=True)
    if sink is not None:
        named(sink, config.sinks, "sink", config.path)
    clock = SystemClock()
    journal = open_journal(config.journal, clock, create=False)
    wanted = Wanted(customer, kind, model, since, until, sink, state)
    try:
        if references:
            event_told.show(
                references[0],
                config,
                journal,
                clock,
                seconds=plugins.patience,
                file=naming(pipelines),
                as_json=as_json,
            )
        elif follow:
            event_list.follow(journal, wanted, limit, as_json=as_json)
        else:
            event_list.listed(journal, wanted, limit, file=naming(pipelines), as_json=as_json)
    finally:
        journal.close()
