"""The commands that plugins add; what somebody had first stays with whom it belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from meter.errors import PluginError
from meter.plugins.guard import described, guarded

if TYPE_CHECKING:
    import click

    from meter.plugins.records import Plugin

__all__ = ["add_each"]


def add_each(
    cli: click.Group, calls: Iterable[tuple[Plugin, Callable[[], Any]]], seconds: float
) -> None:
    """Let each plugin add its commands; a fault is kept with the plugin.

    Args:
        cli: the command line, with meter's own commands.
        calls: one for each plugin.
        seconds: how long each may take.
    """
    owners: dict[str, Plugin] = {}
    for plugin, call in calls:
        before = dict(cli.commands)
        try:
            guarded(call, seconds=seconds)
            _check(cli, before)
        except PluginError as error:
            plugin.error = plugin.error or described(error.__cause__ or error)
            cli.commands.clear()
            cli.commands.update(before)
            continue
        taken = [name for name in before if cli.commands.get(name) is not before[name]]
        for name in taken:
            holder = owners.get(name)
            whose = f"plugin {holder}" if holder is not None else "meter itself"
            plugin.error = plugin.error or (
                f"the command {name!r} that it adds is taken by {whose}; uninstall one of them"
            )
            cli.commands[name] = before[name]
        owners |= {name: plugin for name in cli.commands if name not in before}


def _check(cli: click.Group, before: dict[str, click.Command]) -> None:
    import click

    for name, command in cli.commands.items():
        if name not in before and not isinstance(command, click.Command):
            raise PluginError(f"{name!r} is no command, but {type(command).__name__}")
