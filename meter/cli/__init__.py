"""The command line: one topic a file, one place where an error becomes an exit code.

Exit codes: 0 done; 1 something is wrong with the data; 2 configuration or usage; 3 plugin;
4 journal; 130 interrupted. Heavy imports happen inside the commands, so that `meter --help`
costs little more than importing click.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.lazy import LazyCommand
from meter.errors import MeterError
from meter.plugins import load_plugins

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["cli", "main"]


class _Cli(click.Group):
    """Turns meter's own errors into a message and an exit code, here and nowhere else."""

    _listing = False

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now unless it is only listed."""
        command = super().get_command(ctx, cmd_name)
        if isinstance(command, LazyCommand) and not self._listing:
            return command.load()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, without importing them."""
        self._listing = True
        try:
            super().format_commands(ctx, formatter)
        finally:
            self._listing = False

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands, without importing them."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except MeterError as error:
            click.echo(f"meter: {error}", err=True)
            ctx.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):  # click makes the second of the first at a prompt
            ctx.exit(130)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="usage-meter", prog_name="meter")
def cli() -> None:
    """Meter what each of your customers used of AssemblyAI, exactly once.

    Start here: meter init, then meter run --sandbox
    """


_COMMANDS: Final = {
    "init:init": (
        "Make a pipelines file in FOLDER, with its variables and the code that submits jobs."
    ),
    "run:run": "Collect usage and deliver it, as PIPELINES says.",
    "check:check": "Say what is wrong with PIPELINES, all of it at once, or what it will do.",
    "status:status": (
        "Show the balance of every sink of PIPELINES; works beside a running `meter run`."
    ),
    "usage:usage": (
        "Show how much was used, by customer or as --by says; works beside a running `meter run`."
    ),
    "events:events": (
        "List the events of PIPELINES, the newest first, or show one in full with its history."
    ),
    "dead_letters:dead_letters": (
        "List the dead letters of PIPELINES: events that a sink refused for good, and why."
    ),
    "quarantine:quarantine": "See what cannot become an event yet, and clear it.",
    "replay:replay": (
        "Offer events that a sink took once to it again, as when its destination lost them."
    ),
    "acts:acts": (
        "List what people did to the events of PIPELINES, the newest first: who, when, what and"
        " why."
    ),
    "backfill:backfill": (
        "Collect the jobs of a time from AssemblyAI's list, which goes back 90 days."
    ),
    "reconcile:reconcile": (
        "Compare AssemblyAI, the journal and every sink of PIPELINES, event by event."
    ),
    "journal:journal": "Look after the journal: check it, export it, copy it, prune it.",
    "sessions:sessions": "List the streaming sessions of PIPELINES, the newest first.",
    "token:token": "Print a token for the relay of PIPELINES, and nothing else.",
    "plugins:plugins": (
        "List the sink and collector types of every plugin, with each sink's guarantee."
    ),
    "new_sink:new_sink": (
        "Make a package for a sink of type NAME, with the conformance kit as its test."
    ),
    "completion:completion": (
        "Print the script that has SHELL complete commands, options and names. Default: $SHELL."
    ),
    "sandbox:sandbox": (
        "Serve doubles of AssemblyAI's REST and streaming APIs and of Stripe's until interrupted."
    ),
}
"""Where each command is, and the first sentence of its help."""

_TELL_THEMSELVES: Final = ("plugins", "run")
"""Commands that say by themselves what is wrong with plugins: in a table, and in the log."""

for _place, _summary in _COMMANDS.items():
    _name = _place.partition(":")[2].replace("_", "-")
    cli.add_command(LazyCommand(_name, f"meter.cli.{_place}", _summary))


def main() -> None:
    """Run the command line; plugins may add commands to it."""
    try:
        found = load_plugins()
        found.add_commands(cli)
    except KeyboardInterrupt:
        sys.exit(130)
    if len(sys.argv) > 1 and sys.argv[1] not in _TELL_THEMSELVES:
        for plugin in found.plugins:
            for warning in plugin.warnings:
                click.echo(f"meter: plugin {plugin}: {warning}", err=True)
            if plugin.error:
                click.echo(f"meter: plugin {plugin} did not load: {plugin.error}", err=True)
        for warning in found.warnings:
            click.echo(f"meter: {warning}", err=True)
    if "_METER_COMPLETE" in os.environ:  # a shell asks what Tab may offer
        from meter.cli.completing import register

        register()
    cli(obj=found)
