"""`meter dead-letters`: what sinks refused for good, why, and how to offer it again."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.arguments import as_json, naming, pipelines_file, read_config, sink_named
from meter.commands.moments import moment
from meter.commands.tables import one_line, table

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.journal import ExceptionRow, Journal
    from meter.plugins import Plugins

__all__ = ["dead_letters"]

PAGE: Final = 1_000
"""How many dead letters are freed in one transaction."""


@click.command(name="dead-letters")
@pipelines_file
@click.option("--sink", help="Only this sink's.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The most rows."
)
@click.option(
    "--retry",
    metavar="EVENT",
    multiple=True,
    help="Offer this event again to every sink that refused it; repeatable.",
)
@click.option("--retry-all", is_flag=True, help="Offer all of them again.")
@as_json
@click.pass_obj
def dead_letters(
    plugins: Plugins,
    pipelines: Path,
    *,
    sink: str | None,
    limit: int,
    retry: tuple[str, ...],
    retry_all: bool,
    as_json: bool,
) -> None:
    """List the dead letters of PIPELINES: events that a sink refused for good, and why.

    Put the cause right, then --retry: a running `meter run` offers them again within a second.
    Whatever a sink refuses again is a dead letter again. Exit 1 when an EVENT is none; then nothing
    is offered.
    """
    from meter.clock import SystemClock
    from meter.journal import open_journal

    if retry and retry_all:
        raise click.UsageError("--retry and --retry-all exclude each other")
    config = read_config(pipelines, plugins, looking=True)
    if sink is not None:
        sink_named(config, sink)
    sinks = list(config.sinks) if sink is None else [sink]
    clock = SystemClock()
    journal = open_journal(config.journal, clock, create=False)
    try:
        if retry or retry_all:
            freed = (
                _free_all(journal, sinks, clock)
                if retry_all
                else _free(journal, sinks, retry, clock)
            )
            _say(freed, running=journal.running(), file=naming(pipelines), as_json=as_json)
        else:
            found = journal.exceptions.rows(sinks=sinks, states=["dead"], limit=limit + 1)
            _list(found, limit, naming(pipelines), as_json=as_json)
    finally:
        journal.close()


def _free_all(journal: Journal, sinks: Collection[str], clock: Clock) -> dict[str, int]:
    freed = dict.fromkeys(sinks, 0)
    for sink in sinks:
        at = 0
        while rows := journal.exceptions.rows(
            sinks=[sink], states=["dead"], after=(sink, at), limit=PAGE
        ):
            offsets = [row.offset for row in rows]
            freed[sink] += journal.exceptions.redrive(sink, offsets, clock.now()).wait()
            at = offsets[-1]
    return freed


def _free(
    journal: Journal, sinks: Collection[str], wanted: Collection[str], clock: Clock
) -> dict[str, int]:
    """Free what was named; all of it, or nothing when one of them is no dead letter."""
    offsets: dict[str, set[int]] = {sink: set() for sink in sinks}
    refused = []
    for event_id in wanted:
        places = [p for p in journal.exceptions.places(event_id) if p.sink in offsets]
        dead = [p for p in places if p.state == "dead" and p.row is not None]
        for place in dead:
            if place.row is not None:
                offsets[place.sink].add(place.row.offset)
        if not dead and journal.find(event_id) is None:
            refused.append(f"{event_id}: no such event")
        elif not dead:
            stands = ", ".join(f"{p.state} for {p.sink}" for p in places) or "not offered yet"
            refused.append(f"{event_id}: no dead letter, but {stands}")
    if refused:
        click.echo("meter: nothing was offered again, because of", err=True)
        for line in refused:
            click.echo(f"  {one_line(line)}", err=True)
        raise SystemExit(1)
    return {
        sink: journal.exceptions.redrive(sink, those, clock.now()).wait() if those else 0
        for sink, those in offsets.items()
    }


def _say(freed: dict[str, int], *, running: bool, file: str, as_json: bool) -> None:
    total = sum(freed.values())
    if as_json:
        click.echo(json.dumps({"freed": total, "sinks": freed, "running": running}, indent=2))
        return
    if not total:
        click.echo("no dead letters")
        return
    shares = ", ".join(f"{n} of {sink}" for sink, n in freed.items() if n)
    click.echo(f"{total} dead letter{'s' if total > 1 else ''} will be offered again: {shares}")
    if running:
        click.echo(f"the running `meter run` does it within a second; `meter status{file}` tells")
    else:
        click.echo(f"no `meter run` works on this journal; deliver now: meter run --once{file}")


def _list(found: list[ExceptionRow], limit: int, file: str, *, as_json: bool) -> None:
    rows = [_row(row) for row in found[:limit]]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo("no dead letters")
        return
    shown = ("sink", "event_id", "customer_id", "seconds", "since", "reason")
    header = ("sink", "event", "customer", "seconds", "since", "reason")
    click.echo(table(header, [[row[name] for name in shown] for row in rows], right=(3,)))
    if len(found) > limit:
        click.echo(f"\nthe first {limit}; --limit shows more")
    click.echo(
        "\nput the cause right, then offer them again: "
        f"meter dead-letters{file} --retry EVENT, or --retry-all"
    )


def _row(row: ExceptionRow) -> dict[str, Any]:
    from meter.events import format_seconds

    seconds = row.event.billed_seconds
    return {
        "sink": row.sink,
        "event_id": row.event.event_id,
        "customer_id": row.event.customer_id,
        "seconds": None if seconds is None else format_seconds(seconds),
        "attempts": row.attempts,
        "since": moment(row.changed_at),
        "reason": row.reason,
    }
