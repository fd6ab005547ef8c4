"""The command line: one topic a file, one place where an error becomes an exit code.

Exit codes: 0 done; 1 something is wrong with the data; 2 configuration or usage; 3 plugin;
4 journal; 130 interrupted. Heavy imports happen inside the commands, so that `meter --help`
costs little more than importing click.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from meter.cli.check import check
from meter.cli.dead_letters import dead_letters
from meter.cli.events import events
from meter.cli.plugins import plugins
from meter.cli.run import run
from meter.cli.sandbox import sandbox
from meter.cli.sessions import sessions
from meter.cli.status import status
from meter.cli.token import token
from meter.errors import MeterError
from meter.plugins import load_plugins

__all__ = ["cli", "main"]


class _Cli(click.Group):
    """Turns meter's own errors into a message and an exit code, here and nowhere else."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except MeterError as error:
            click.echo(f"meter: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(130)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="usage-meter", prog_name="meter")
def cli() -> None:
    """Meter what each of your customers used of AssemblyAI, exactly once.

    Start here: meter run pipelines.yaml --sandbox
    """


for _command in (
    run,
    check,
    status,
    events,
    dead_letters,
    sessions,
    token,
    plugins,
    sandbox,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; plugins may add commands to it."""
    found = load_plugins()
    found.add_commands(cli)
    for plugin in found.plugins:
        if plugin.error and len(sys.argv) > 1 and sys.argv[1] != "plugins":
            click.echo(f"meter: plugin {plugin} did not load: {plugin.error}", err=True)
    cli(obj=found)
