"""Arguments that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from meter.config import Config
    from meter.plugins import Plugins

__all__ = ["as_json", "pipelines_file", "read_config"]

pipelines_file = click.argument(
    "pipelines", default="pipelines.yaml", type=click.Path(path_type=Path, dir_okay=False)
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def read_config(path: Path, plugins: Plugins) -> Config:
    """Read a pipelines file, and print what it warns of.

    Raises:
        ConfigurationError: with every fault.
    """
    from meter.config import load_config

    config = load_config(path, plugins, environ=os.environ)
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    return config
