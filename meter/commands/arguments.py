"""Arguments that several commands share."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from meter.config import Config, SinkConfig
    from meter.plugins import Plugins

__all__ = [
    "UNSET",
    "as_json",
    "file_apart",
    "naming",
    "pipelines_file",
    "read_config",
    "sink_named",
]

DEFAULT_FILE: Final = "pipelines.yaml"


def _offered(
    _context: click.Context, _argument: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer a shell the YAML files here; where there is none, any file."""
    from click.shell_completion import CompletionItem

    folder = Path(incomplete).parent if incomplete else Path()
    with suppress(OSError):
        files = sorted(str(path) for path in folder.glob("*.y*ml") if path.is_file())
        if found := [file for file in files if file.startswith(incomplete)]:
            return [CompletionItem(file) for file in found]
    return [CompletionItem(incomplete, type="file")]


pipelines_file = click.argument(
    "pipelines",
    default=DEFAULT_FILE,
    type=click.Path(path_type=Path, dir_okay=False),
    shell_complete=_offered,
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


UNSET: Final = "(not set: "
"""How what stands in for a variable begins, where nothing is done with it."""


def read_config(path: Path, plugins: Plugins, *, looking: bool = False) -> Config:
    """Read a pipelines file, and print what it warns of.

    Args:
        path: the file.
        plugins: for its types.
        looking: the command only looks at the journal, so that secrets may be missing.

    Raises:
        ConfigurationError: with every fault.
    """
    from meter.config import load_config, required_variables

    given = {name: value for name, value in os.environ.items() if value}
    if looking:
        # As long as any secret must be.
        given = {n: f"{UNSET}{n})".ljust(40) for n in required_variables(path)} | given
    config = load_config(path, plugins, environ=given)
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    return config


def naming(path: Path) -> str:
    """Return what a command line needs to name the same file: nothing for the default one."""
    return "" if str(path) == DEFAULT_FILE else f" {shlex.quote(str(path))}"


def file_apart(arguments: Sequence[str]) -> tuple[list[str], Path]:
    """Tell the pipelines file from what stands before it: the last one, if it names a YAML file."""
    if arguments and arguments[-1].endswith((".yaml", ".yml")):
        return list(arguments[:-1]), Path(arguments[-1])
    return list(arguments), Path(DEFAULT_FILE)


def sink_named(config: Config, name: str) -> SinkConfig:
    """Return the sink that `--sink` names.

    Raises:
        ConfigurationError: the file has none of that name; the text lists those that it has.
    """
    from meter.errors import ConfigurationError

    if name not in config.sinks:
        known = ", ".join(sorted(config.sinks)) or "none"
        raise ConfigurationError(f"{config.path}: no sink {name!r} there; known: {known}")
    return config.sinks[name]
