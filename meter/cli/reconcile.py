"""`meter reconcile`: the provider against the journal against every sink, to the id."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meter.commands.arguments import naming, pipelines_file, read_config
from meter.commands.spans import MOMENT, bounds, in_month

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = ["reconcile"]


@click.command()
@pipelines_file
@click.option("--from", "since", type=MOMENT, help="Usage from this day or time on (UTC).")
@click.option("--to", "until", type=MOMENT, help="Usage before this day or time (UTC).")
@in_month
@click.option(
    "--collector",
    "collectors",
    multiple=True,
    metavar="NAME",
    help="Only this list of AssemblyAI's, besides --sink and --usage; repeatable.",
)
@click.option(
    "--sink",
    "sinks",
    multiple=True,
    metavar="NAME",
    help="Only this sink, besides --collector and --usage; repeatable.",
)
@click.option(
    "--usage",
    "usage_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also JSON that AssemblyAI's own tool printed: usage or sessions.",
)
@click.option(
    "--mapping",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Which field of that JSON says what: see docs/reconcile.md.",
)
@click.option(
    "--seconds",
    "every",
    is_flag=True,
    help="Also ask AssemblyAI for the seconds and the customer of each job: one request each.",
)
@click.option(
    "--per-second",
    type=click.FloatRange(min=0.1),
    default=50.0,
    show_default=True,
    metavar="N",
    help="The most jobs to ask for in a second.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="The most differences of each side in the table; all are counted.",
)
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@click.pass_obj
def reconcile(  # noqa: PLR0913  because each option is a parameter
    plugins: Plugins,
    pipelines: Path,
    *,
    since: datetime | None,
    until: datetime | None,
    month: str | None,
    collectors: tuple[str, ...],
    sinks: tuple[str, ...],
    usage_file: Path | None,
    mapping: Path | None,
    every: bool,
    per_second: float,
    limit: int,
    shape: str,
) -> None:
    """Compare AssemblyAI, the journal and every sink of PIPELINES, event by event.

    What is missing on one side, or differs, is named; what is on its way is told apart from it.
    Changes nothing, works beside a running `meter run`, and says which command would put each
    difference right. AssemblyAI's list has no seconds, no sessions, and 90 days: --seconds and
    --usage compare those.

    Exit 1 when something differs, or could not be compared; csv and json hold all of it.
    """
    from meter.cli.reconcile_sides import Asked, Sides
    from meter.cli.reconcile_told import tell
    from meter.clock import SystemClock
    from meter.journal import open_journal
    from meter.reports.reconciling import Window
    from meter.reports.reconciling.scratch import Scratch

    if mapping is not None and usage_file is None:
        raise click.UsageError("--mapping is about a file that --usage names")
    asked = Asked(
        window=Window(*bounds(since, until, month)),
        collectors=collectors,
        sinks=sinks,
        usage_file=usage_file,
        mapping=mapping,
        every=every,
        per_second=per_second,
    )
    config = read_config(pipelines, plugins, looking=True)
    clock = SystemClock()
    sides = Sides(config, plugins, clock, asked)
    journal = open_journal(config.journal, clock, create=False)
    try:
        with Scratch() as scratch:
            found = sides.compare(scratch, journal)
            code = tell(scratch, found, asked.window, naming(pipelines), limit=limit, shape=shape)
    finally:
        journal.close()
    raise SystemExit(code)
