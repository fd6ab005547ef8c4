"""`meter check`: validate a pipelines file, try what it names, or print its JSON Schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meter.commands.arguments import as_json, pipelines_file, read_config
from meter.commands.tables import one_line

if TYPE_CHECKING:
    from meter.collectors import Collector
    from meter.config import Config
    from meter.plugins import Plugins
    from meter.sinks import Sink

__all__ = ["check"]


@click.command()
@pipelines_file
@click.option(
    "--schema", is_flag=True, help="Print the JSON Schema of pipelines files, for editors."
)
@click.option(
    "--connect",
    is_flag=True,
    help="Also try every key, address and path that the file names; changes and sends nothing.",
)
@as_json
@click.pass_obj
def check(plugins: Plugins, pipelines: Path, *, schema: bool, connect: bool, as_json: bool) -> None:
    """Say what is wrong with PIPELINES, all of it at once, or what it will do.

    Exit 2 when the file cannot be used; nothing is opened or sent. With --connect, exit 1 when
    something is wrong with a key, an address, a path, the port or the disk; nothing is changed.
    """
    if schema and connect:
        raise click.UsageError("--schema and --connect exclude each other")
    if schema:
        from meter.config import json_schema

        click.echo(json.dumps(json_schema(plugins), indent=2))
        return
    config = _read(pipelines, plugins, as_json=as_json)
    if not connect:
        if as_json:
            click.echo(json.dumps(_document(config), indent=2, ensure_ascii=False))
        else:
            _describe(config)
        return
    from meter.cli.check_connect import connect as tried
    from meter.cli.check_findings import show

    if not as_json:
        _describe(config)
        click.echo()
    with _asking() as asking:
        findings = list(tried(config, plugins, asking))
    show(findings, as_json=as_json)
    if any(finding.state == "wrong" for finding in findings):
        raise SystemExit(1)


def _read(path: Path, plugins: Plugins, *, as_json: bool) -> Config:
    """Read the file; with --json, its faults are data too.

    Raises:
        ConfigurationError: it has faults, and they are wanted as text.
    """
    from dataclasses import asdict

    from meter.config import ConfigFaults

    try:
        return read_config(path, plugins)
    except ConfigFaults as error:
        if not as_json:
            raise
        faults = [asdict(fault) for fault in error.faults]
        click.echo(json.dumps({"faults": faults}, indent=2, ensure_ascii=False))
        raise SystemExit(error.exit_code) from None


@contextmanager
def _asking() -> Iterator[Callable[[str], None]]:
    """Show on a terminal who is being asked, and nothing when piped."""
    if not sys.stderr.isatty():
        yield lambda _what: None
        return
    from rich.console import Console

    with Console(stderr=True).status("looking at this machine") as status:
        yield lambda what: status.update(f"asking {what}")


def _document(config: Config) -> dict[str, object]:
    """Return what the file will do, for --json."""
    return {
        "journal": config.journal,
        "collectors": {name: {"type": each.type} for name, each in config.collectors.items()},
        "sinks": {
            name: {
                "type": each.type,
                "start": str(each.start or each.extension.cls.default_start),
                "guarantee": each.extension.cls.guarantee.value,
            }
            for name, each in config.sinks.items()
        },
        "pipelines": {
            name: {"from": each.from_, "to": each.to, "kinds": each.kinds}
            for name, each in config.pipelines.items()
        },
        "warnings": config.warnings,
    }


def _describe(config: Config) -> None:
    """Say what the file will do."""
    click.echo(f"{config.path}: correct")
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


def _exempted(cls: type[Sink | Collector]) -> None:
    """Say which cases of the conformance kit a type does not pass, and why."""
    for case, why in getattr(cls, "exemptions", {}).items():
        click.echo(f"             exempt from {one_line(case)}: {one_line(why)}")
