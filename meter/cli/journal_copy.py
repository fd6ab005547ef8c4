"""`meter journal copy`: a backup of the journal, taken while it is in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meter.commands.arguments import DEFAULT_FILE, as_json, read_config

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = ["copy"]


@click.command()
@click.argument("destination", type=click.Path(path_type=Path, dir_okay=False), metavar="DEST")
@click.argument("pipelines", default=DEFAULT_FILE, type=click.Path(path_type=Path, dir_okay=False))
@as_json
@click.pass_obj
def copy(plugins: Plugins, destination: Path, pipelines: Path, *, as_json: bool) -> None:
    """Copy the journal to DEST as it stands at one moment, also while `meter run` writes to it.

    The copy is checked, and is there whole or not at all. It refuses to overwrite. A copy of the
    journal's file by other means, while it is in use, may be no journal at all.

    Exit 4 when the copy is not sound: then there is none.
    """
    import json

    from meter.commands.progress import Bar
    from meter.commands.whole_file import new_file
    from meter.journal.copying import copy_journal

    config = read_config(pipelines, plugins, looking=True)
    with Bar() as bar, new_file(destination, replace=False) as (working, place):
        copied = copy_journal(config.journal, working, lambda d, t: bar.show("Copying", d, t))
        place()
    if as_json:
        click.echo(json.dumps({"path": str(destination), **copied._asdict()}, indent=2))
        return
    click.echo(
        f"{destination}: {copied.events} events up to offset {copied.head}, {copied.bytes} bytes, "
        "checked"
    )
