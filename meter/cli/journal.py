"""`meter journal`: look after the journal itself."""

from __future__ import annotations

import click

from meter.cli.journal_check import check
from meter.cli.journal_copy import copy
from meter.cli.journal_export import export
from meter.cli.journal_prune import prune

__all__ = ["journal"]


@click.group()
def journal() -> None:
    """Look after the journal: check it, export it, copy it, prune it.

    All of it works beside a running `meter run`. Only `prune --apply` and `check --repair` change
    anything in the journal, and both are kept in `meter acts`.
    """


for _command in (check, export, copy, prune):
    journal.add_command(_command)
