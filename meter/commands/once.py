"""An option that holds one value is given once: of two, the first would be lost unseen."""

from __future__ import annotations

from collections import Counter

import click

__all__ = ["each_once"]


def each_once(command: click.Command) -> click.Command:
    """Have a command, and those below it, refuse an option that is given twice in vain."""
    if "parse_args" in vars(command):  # it does already
        return command
    if isinstance(command, click.Group):
        for below in command.commands.values():
            each_once(below)
    parse = command.parse_args

    def parse_args(ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _, _, given = command.make_parser(ctx).parse_args(args=list(args))
            for param, times in Counter(given).items():
                if times > 1 and isinstance(param, click.Option) and _holds_one(param):
                    raise click.UsageError(
                        f"{param.opts[0]} is given {times} times, and takes one value: all but the "
                        "last would be left out",
                        ctx,
                    )
        return parse(ctx, args)

    command.parse_args = parse_args  # type: ignore[method-assign]  # because plugins bring their own classes
    return command


def _holds_one(option: click.Option) -> bool:
    return not (option.multiple or option.count or option.is_flag)
