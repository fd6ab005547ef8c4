"""A command that is imported when somebody runs it, so that `meter --help` stays quick."""

from __future__ import annotations

from importlib import import_module

import click

from meter.commands.once import each_once

__all__ = ["LazyCommand"]


class LazyCommand(click.Command):
    """Stands for a command in the list of commands, until it is asked for.

    Args:
        name: on the command line.
        place: where the command is, such as `meter_stripe.commands:stripe`.
        summary: the first sentence of its help, which the list shows; a test holds them equal.
    """

    def __init__(self, name: str, place: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self.place = place

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return each_once(command)
