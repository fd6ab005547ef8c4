"""Which journal is meant: that of the pipelines file, or another file, such as a copy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meter.commands.arguments import read_config

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = ["other_file", "place_of"]

other_file = click.option(
    "--file",
    "other",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another journal's file, such as a copy; then no PIPELINES is read.",
)


def place_of(plugins: Plugins, pipelines: Path, other: Path | None) -> str:
    """Return where the journal is.

    Raises:
        ConfigurationError: the pipelines file has faults.
    """
    return (
        str(other) if other is not None else read_config(pipelines, plugins, looking=True).journal
    )
