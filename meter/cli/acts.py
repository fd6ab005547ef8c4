"""`meter acts`: what people did, when, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meter.commands.arguments import as_json, pipelines_file, read_config
from meter.commands.moments import moment
from meter.commands.nearest import named
from meter.commands.tables import table

if TYPE_CHECKING:
    from meter.journal import Act
    from meter.plugins import Plugins

__all__ = ["acts"]


@click.command()
@pipelines_file
@click.option("--sink", help="Only those about this sink.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The most rows."
)
@as_json
@click.pass_obj
def acts(plugins: Plugins, pipelines: Path, *, sink: str | None, limit: int, as_json: bool) -> None:
    """List what people did to the events of PIPELINES, the newest first: who, when, what and why.

    Retries, discards, replays, and what was done to something in quarantine.
    """
    from meter.clock import SystemClock
    from meter.journal import open_journal
    from meter.reports.event_history import plain

    config = read_config(pipelines, plugins, looking=True)
    if sink is not None:
        named(sink, config.sinks, "sink", config.path)
    journal = open_journal(config.journal, SystemClock(), create=False)
    try:
        found = journal.acts.newest(limit + 1, sink=sink)
    finally:
        journal.close()
    if as_json:
        shown = [plain(act) for act in found[:limit]]
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    if not found:
        click.echo("nobody did anything")
        return
    rows = [
        (moment(act.at), act.who, act.what, act.sink, _about(act), act.reason)
        for act in found[:limit]
    ]
    click.echo(table(("at", "who", "what", "sink", "about", "reason"), rows))
    if len(found) > limit:
        click.echo(f"\nthe newest {limit}; --limit shows more")


def _about(act: Act) -> str:
    if act.entry is not None:
        became = f", now {act.first}" if act.first is not None else ""
        return f"quarantine {act.entry}{became}"
    if act.first is None:
        return "the journal" if act.what in ("repair", "prune") else ""
    more = f" and {act.events - 1} more" if act.events > 1 else ""
    return f"{act.first}{more}"
