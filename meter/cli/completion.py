"""`meter completion`: the script that has a shell complete meter's commands."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Final

import click

__all__ = ["completion"]

NAMES: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(NAMES), required=False)
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print the script that has SHELL complete commands, options and names. Default: $SHELL.

    Switch it on for good:

    \b
      bash  meter completion bash > ~/.local/share/bash-completion/completions/meter
            or into ~/.bashrc: eval "$(meter completion bash)"
      zsh   into ~/.zshrc, below compinit: eval "$(meter completion zsh)"
      fish  meter completion fish > ~/.config/fish/completions/meter.fish

    It completes sinks and collectors of the pipelines file too, customers of late, and files that
    end in .yaml.
    """  # noqa: D301  because click wants the character itself
    from meter.cli.completing import ASKED_BY, SHELLS

    name = shell or PurePath(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise click.UsageError(f"which shell? One of {', '.join(NAMES)}")
    root = context.find_root().command
    click.echo(SHELLS[name](root, {}, "meter", ASKED_BY).source())
