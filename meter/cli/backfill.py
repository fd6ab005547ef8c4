"""`meter backfill`: collect what AssemblyAI still lists of a time, by hand."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from meter.commands.arguments import UNSET, as_json, naming, pipelines_file, read_config
from meter.commands.spans import MOMENT, bounds, in_month

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meter.cli.backfill_told import Screen, Walk
    from meter.clock import Clock
    from meter.collectors.webhook import WebhookCollector
    from meter.collectors.window import Told, Window
    from meter.config import Config
    from meter.journal import Journal
    from meter.plugins import Plugins

__all__ = ["backfill"]


@click.command()
@pipelines_file
@click.option("--collector", help="Only this one. Default: every one of type webhook.")
@click.option("--from", "since", type=MOMENT, help="Jobs from this day or time on (UTC).")
@click.option("--to", "until", type=MOMENT, help="Jobs before this day or time. Default: now.")
@in_month
@click.option("--restart", is_flag=True, help="Begin anew, not where an earlier run stopped.")
@click.option("--dry-run", is_flag=True, help="Only count what it would fetch; write nothing.")
@as_json
@click.pass_obj
def backfill(  # noqa: PLR0913  because each option is a parameter
    plugins: Plugins,
    pipelines: Path,
    *,
    collector: str | None,
    since: datetime | None,
    until: datetime | None,
    month: str | None,
    restart: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Collect the jobs of a time from AssemblyAI's list, which goes back 90 days.

    `meter run` does this by itself for what its webhooks missed; this is for any other time. It
    takes jobs that were submitted before --to, and submitted or done from --from on. What is
    recorded already stays as it is, so any window may be walked any number of times, also beside a
    running `meter run`. Interrupted, the same command goes on where it stopped.

    Exit 1 when something went to quarantine, could not be fetched, or the list could not be read
    to its end; 2 when a key is refused.
    """
    from meter.cli import logs
    from meter.cli.backfill_told import Screen, Walk, report
    from meter.clock import SystemClock
    from meter.journal import open_journal

    clock = SystemClock()
    window = _window(clock, since, until, month)
    config = read_config(pipelines, plugins, looking=True)
    chosen = _chosen(config, collector)
    _warn_of_the_end(window, clock.now())
    logs.set_up("auto", "warning")
    walks: list[Walk] = []
    with ExitStack() as stack:
        place = config.journal
        if dry_run and not Path(place).exists():  # then nothing is known yet, and none is made
            place = str(Path(stack.enter_context(TemporaryDirectory(prefix="meter-")), "blank.db"))
        journal = open_journal(place, clock)
        stack.callback(journal.close)
        with Screen(window) as screen:
            for name in chosen:
                entry = _collector(config, name, plugins, journal, clock)
                walk = Walk(name)
                walks.append(walk)
                try:
                    asyncio.run(_walk(walk, entry, window, screen, restart=restart, dry=dry_run))
                except KeyboardInterrupt:
                    screen.say(f"{name}: interrupted; the same command goes on where it stopped")
                    raise
        plugins.catch_up(plugins.patience)
        running = journal.running()
    report(
        walks,
        window,
        file=naming(pipelines),
        path=pipelines,
        running=running,
        dry_run=dry_run,
        as_json=as_json,
    )


async def _walk(
    walk: Walk,
    collector: WebhookCollector,
    window: Window,
    screen: Screen,
    *,
    restart: bool,
    dry: bool,
) -> None:
    from meter.collectors.assemblyai_client import ApiError

    def tell(told: Told) -> None:
        walk.told = told
        screen.show(walk.name, told)

    try:
        await collector.collect_window(
            window, tell=tell, waiting=screen.waits, restart=restart, dry_run=dry
        )
    except ApiError as error:
        walk.error = error


def _window(
    clock: Clock, since: datetime | None, until: datetime | None, month: str | None
) -> Window:
    from meter.collectors.window import Window

    since, until = bounds(since, until, month)
    if since is None:
        raise click.UsageError("say which time: --from DAY, or --month YYYY-MM")
    if since > clock.now():
        raise click.UsageError(f"there are no jobs from {since:%Y-%m-%dT%H:%M:%SZ} on yet")
    return Window(since, until)


def _warn_of_the_end(window: Window, now: datetime) -> None:
    """Say so when the list does not reach back to the window's start."""
    from meter.collectors.backfill import LISTED

    end = now - LISTED
    if window.since < end:
        click.echo(
            f"warning: AssemblyAI lists {LISTED.days} days: of before {end:%Y-%m-%d} nothing can "
            "be collected",
            err=True,
        )


def _chosen(config: Config, wanted: str | None) -> Sequence[str]:
    """Return the collectors that can walk a list; their keys are there."""
    from meter.collectors.webhook import WebhookCollector
    from meter.commands.nearest import named

    able = [
        name
        for name, entry in config.collectors.items()
        if issubclass(entry.extension.cls, WebhookCollector)
    ]
    if wanted is not None:
        name = named(wanted, config.collectors, "collector", config.path)
        if name not in able:
            kind = config.collectors[name].type
            raise click.UsageError(
                f"{name} is of type {kind}: only a webhook collector has a list to walk"
            )
        able = [name]
    if not able:
        raise click.UsageError(f"{config.path} has no collector of type webhook: nothing to walk")
    for name in able:
        key = config.collectors[name].options.api_key.get_secret_value()
        if key.startswith(UNSET):
            raise click.UsageError(f"collectors.{name}.api_key: {key.strip()}")
    return able


def _collector(
    config: Config, name: str, plugins: Plugins, journal: Journal, clock: Clock
) -> WebhookCollector:
    import logging

    from meter.collectors.intake import Intake
    from meter.collectors.interface import CollectorContext
    from meter.logs import FieldLogger

    entry = config.collectors[name]
    context = CollectorContext(
        name=name,
        collectors=frozenset(config.collectors),
        intake=Intake(journal, plugins),
        journal=journal,
        clock=clock,
        log=FieldLogger(logging.getLogger("meter.collectors"), {"collector": name}),
    )
    collector: WebhookCollector = entry.extension.cls(entry.options, context)
    return collector
