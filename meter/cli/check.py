"""`meter check`: validate a pipelines file, or print its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meter.commands.arguments import pipelines_file, read_config

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = ["check"]


@click.command()
@pipelines_file
@click.option(
    "--schema", is_flag=True, help="Print the JSON Schema of pipelines files, for editors."
)
@click.pass_obj
def check(plugins: Plugins, pipelines: Path, *, schema: bool) -> None:
    """Say what is wrong with PIPELINES, all of it at once, or what it will do.

    Exit 2 when the file cannot be used; nothing is opened or sent.
    """
    if schema:
        from meter.config import json_schema

        click.echo(json.dumps(json_schema(plugins), indent=2))
        return
    config = read_config(pipelines, plugins)
    click.echo(f"{pipelines}: correct")
    click.echo(f"  journal    {config.journal}")
    for collector in config.collectors.values():
        click.echo(f"  collector  {collector.name} ({collector.type})")
    for sink in config.sinks.values():
        cls = sink.extension.cls
        start = sink.start or cls.default_start
        click.echo(f"  sink       {sink.name} ({sink.type}), from {start}: {cls.guarantee.value}")
        if cls.guarantee_note:
            click.echo(f"             {cls.guarantee_note}")
    for name, pipeline in config.pipelines.items():
        click.echo(
            f"  pipeline   {name}: {', '.join(pipeline.from_)} → {', '.join(pipeline.to)}"
            f" ({', '.join(pipeline.kinds)})"
        )
