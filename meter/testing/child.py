"""A child of the kit: the real `meter` command, with the kit's plugin beside the installed ones.

It runs in a process that `meter.testing.nursery` forked.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from meter.plugins import load_plugins
from meter.testing.strike import plugin

__all__ = ["main"]


def main(door: str, *arguments: str) -> None:
    """Run `meter` with these arguments, as its console script does.

    Args:
        door: a folder with the entry point of the kit's plugin.
        arguments: of the command.
    """
    sys.path.insert(0, door)
    if plugin.plan.type:
        _prepare_sink()
    else:
        plugin.follow(plugin.plan.package)
    command = next(iter(entry_points(group="console_scripts", name="meter"))).load()
    sys.argv = ["meter", *arguments]
    try:
        command()
    finally:
        plugin.end()


def _prepare_sink() -> None:
    """Give the sink small batches, and follow its code."""
    sink_class = load_plugins().sinks.resolve(plugin.plan.type).cls
    sink_class.batch_size = plugin.plan.batch_size  # so that a kill falls into a middle batch
    if plugin.plan.kill == "close":
        plugin.die_at_close(sink_class)
    plugin.follow(sink_class.__module__.partition(".")[0])
