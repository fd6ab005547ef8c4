"""`meter check`: validate a pipelines file, or print its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meter.commands.arguments import pipelines_file, read_config
from meter.commands.tables import one_line

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.collectors import Collector
    from meter.config import Config
    from meter.journal import Journal
    from meter.plugins import Plugins
    from meter.sinks import Sink

__all__ = ["check"]

CONNECT_PATIENCE: Final = 6
"""A sink that tries its keys and addresses may take so many times the plugins' patience."""


@click.command()
@pipelines_file
@click.option(
    "--schema", is_flag=True, help="Print the JSON Schema of pipelines files, for editors."
)
@click.option(
    "--connect", is_flag=True, help="Also let every sink try its keys and addresses; sends nothing."
)
@click.pass_obj
def check(plugins: Plugins, pipelines: Path, *, schema: bool, connect: bool) -> None:
    """Say what is wrong with PIPELINES, all of it at once, or what it will do.

    Exit 2 when the file cannot be used; nothing is opened or sent. With --connect, exit 1 when a
    sink could not be reached, or refused its key; nothing is changed there.
    """
    if schema and connect:
        raise click.UsageError("--schema and --connect exclude each other")
    if schema:
        from meter.config import json_schema

        click.echo(json.dumps(json_schema(plugins), indent=2))
        return
    config = read_config(pipelines, plugins)
    click.echo(f"{pipelines}: correct")
    click.echo(f"  journal    {config.journal}")
    for collector in config.collectors.values():
        click.echo(f"  collector  {collector.name} ({collector.type})")
        _exempted(collector.extension.cls)
    for sink in config.sinks.values():
        cls = sink.extension.cls
        start = sink.start or cls.default_start
        click.echo(f"  sink       {sink.name} ({sink.type}), from {start}: {cls.guarantee.value}")
        if cls.guarantee_note:
            click.echo(f"             {cls.guarantee_note}")
        _exempted(cls)
    for name, pipeline in config.pipelines.items():
        click.echo(
            f"  pipeline   {name}: {', '.join(pipeline.from_)} → {', '.join(pipeline.to)}"
            f" ({', '.join(pipeline.kinds)})"
        )
    if connect and not _connect(config, plugins):
        raise SystemExit(1)


def _exempted(cls: type[Sink | Collector]) -> None:
    """Say which cases of the conformance kit a type does not pass, and why."""
    for case, why in getattr(cls, "exemptions", {}).items():
        click.echo(f"             exempt from {one_line(case)}: {one_line(why)}")


def _connect(config: Config, plugins: Plugins) -> bool:
    """Let each sink try what it needs, and print what it found; tell whether all is well."""
    from meter.clock import SystemClock
    from meter.commands.asking import ask

    well = True
    clock = SystemClock()
    click.echo()
    with _journal(config, clock) as journal:
        for name, entry in config.sinks.items():
            answer = ask(
                entry,
                lambda sink: sink.check(),
                journal=journal,
                clock=clock,
                seconds=CONNECT_PATIENCE * plugins.patience,
            )
            if answer.error is not None:
                well = False
                click.echo(f"{name}: FAILED: {one_line(answer.error)}")
            else:
                click.echo(f"{name}: {'in order' if answer.lines else 'nothing to try'}")
            for line in answer.lines:
                click.echo(f"  {one_line(line)}")
    return well


@contextmanager
def _journal(config: Config, clock: Clock) -> Iterator[Journal]:
    """Give the journal that sinks read their state from; before the first run, an empty one."""
    from tempfile import TemporaryDirectory

    from meter.journal import open_journal

    with TemporaryDirectory(prefix="meter-check-") as folder:
        there = Path(config.journal).exists()
        location = config.journal if there else str(Path(folder) / "empty.db")
        journal = open_journal(location, clock)
        try:
            yield journal
        finally:
            journal.close()
