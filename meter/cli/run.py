"""`meter run`: collect and deliver, until told to stop."""

from __future__ import annotations

import signal
from collections.abc import Container, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meter.commands.arguments import naming, pipelines_file, read_config

if TYPE_CHECKING:
    from meter.journal import JournalTotals
    from meter.plugins import Plugins

__all__ = ["run", "run_loop"]

T = TypeVar("T")


@click.command()
@pipelines_file
@click.option("--once", is_flag=True, help="Collect and deliver what there is, then exit; no port.")
@click.option(
    "--sandbox", is_flag=True, help="Run the file against local doubles: no account, no network."
)
@click.option(
    "--jobs", default=60, show_default=True, help="With --sandbox: how many jobs to submit."
)
@click.option(
    "--streams", default=20, show_default=True, help="With --sandbox: how many sessions to stream."
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
    help="auto: text on a terminal, JSON lines otherwise.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default=None,
    help="The least level shown. Default: info, and error with --sandbox.",
)
@click.pass_obj
def run(  # noqa: PLR0913  because each option is a parameter
    plugins: Plugins,
    pipelines: Path,
    *,
    once: bool,
    sandbox: bool,
    jobs: int,
    streams: int,
    log_format: str,
    log_level: str | None,
) -> None:
    """Collect usage and deliver it, as PIPELINES says.

    SIGTERM or Ctrl-C finishes what is in hand and exits. With --once, exit 1 when something
    could not be collected or delivered yet.
    """
    from meter.cli import logs

    logs.set_up(log_format, log_level or ("error" if sandbox else "info"))
    if sandbox and once:
        raise click.UsageError("--sandbox and --once exclude each other")
    if sandbox:
        from meter.cli.run_sandbox import run_sandbox

        run_sandbox(pipelines, plugins, jobs=jobs, streams=streams)
        return

    from meter.clock import SystemClock
    from meter.journal import open_journal
    from meter.server.running import Run

    config = read_config(pipelines, plugins)
    logs.name_pipelines(config)
    clock = SystemClock()
    journal = open_journal(config.journal, clock, run=True)
    try:
        if once:
            before = sum(journal.totals().quarantined.values())
            process = Run(config, journal=journal, plugins=plugins, clock=clock)
            caught = run_loop(process.once())
            totals = journal.totals()
            left = unfinished(totals, config.sinks)
            if (aside := sum(totals.quarantined.values()) - before) > 0:
                left.append(
                    f"{aside} more in quarantine; to look: meter quarantine list{naming(pipelines)}"
                )
            for line in left:
                click.echo(f"meter: {line}", err=True)
        else:
            process = Run(config, journal=journal, plugins=plugins, clock=clock)
            caught, left = run_loop(process.forever()), []
        if caught is signal.SIGINT:
            raise SystemExit(130)
        if left:
            raise SystemExit(1)
    finally:
        journal.close()


def unfinished(totals: JournalTotals, sinks: Container[str]) -> list[str]:
    """Say what a `--once` run could not finish, a line each; of sinks, those of the file."""
    lines = [f"collector {name}: {why}" for name, why in sorted(totals.collectors.items())]
    if waiting := totals.receipts.get("open", 0):
        lines.append(f"{waiting} webhook receipts are still open; the next run tries them again")
    for balance in (b for b in totals.balances if b.sink in sinks):
        places = {
            "pending": balance.pending,
            "retrying": balance.retrying,
            "held": balance.held,
            "dead-lettered": balance.dead_lettered - balance.discarded,
        }
        left = ", ".join(f"{n} {place}" for place, n in places.items() if n)
        if left or balance.parked:
            lines.append(
                f"sink {balance.sink}: {left or 'nothing pending'}"
                + (f"; parked: {balance.parked}" if balance.parked else "")
            )
    return lines


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop where there is one."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
