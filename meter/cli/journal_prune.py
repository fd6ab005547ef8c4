"""`meter journal prune`: let go of rows that only tell how something came about, long ago."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.arguments import as_json, naming, pipelines_file, read_config
from meter.commands.moments import moment

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = ["prune"]

_DAYS: Final = re.compile(r"(\d{1,5})d")


class _Age(click.ParamType[timedelta]):
    """Days, as `90d`."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read an age.

        Raises:
            BadParameter: it is none, or shorter than a day.
        """
        if isinstance(value, timedelta):
            return value
        found = _DAYS.fullmatch(value)
        if found is None or not int(found[1]):
            self.fail(f"{value!r}: expected days, 1 at least, such as 90d", param, ctx)
        return timedelta(days=int(found[1]))


@click.command()
@pipelines_file
@click.option(
    "--older-than",
    type=_Age(),
    default="90d",
    show_default=True,
    metavar="DAYS",
    help="Only rows that nothing has changed for so long.",
)
@click.option("--apply", is_flag=True, help="Do it; without this it only counts.")
@click.option("--reason", default="", help="Why; kept with who and when.")
@as_json
@click.pass_obj
def prune(
    plugins: Plugins,
    pipelines: Path,
    *,
    older_than: timedelta,
    apply: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Let go of rows that only tell how an event came in or was delivered, long ago.

    Receipts that are settled, and what a sink put off or retried and then took. Never an event:
    each is recorded once, for ever. No balance and no total changes. Only counts without --apply.

    A destination that is restored from a backup older than this is no longer told what it took
    late: move it away then, and it is filled anew. The file does not shrink; what is free in it is
    used again.
    """
    from meter.clock import SystemClock
    from meter.commands.people import who
    from meter.commands.progress import Bar
    from meter.journal import NewAct, open_journal
    from meter.journal.sqlite_prune import prunable
    from meter.journal.sqlite_prune import prune as let_go

    config = read_config(pipelines, plugins, looking=True)
    clock = SystemClock()
    # Brings an older file's tables up to date first.
    open_journal(config.journal, clock, create=False).close()
    before = clock.now() - older_than
    found = prunable(config.journal, before)
    if apply and found.rows:
        words = f"rows of before {moment(before)}" + (f": {reason}" if reason else "")
        with Bar() as bar:
            found = let_go(
                config.journal,
                before,
                clock.now(),
                NewAct(who(), words),
                lambda done: bar.show("Letting go", done, found.rows),
            )
    if as_json:
        document = {"before": moment(before), "applied": apply, **found._asdict()}
        click.echo(json.dumps(document, indent=2))
        return
    days = older_than.days
    receipts = f"{found.receipts} settled receipts"
    exceptions = f"{found.exceptions} late deliveries"
    if not found.rows:
        click.echo(f"nothing is older than {days} days that could go")
    elif apply:
        click.echo(f"gone: {receipts} and {exceptions}, older than {days} days")
    else:
        click.echo(f"could go: {receipts} and {exceptions}, older than {days} days")
        age = "" if days == 90 else f" --older-than {days}d"  # noqa: PLR2004  because that is the default
        click.echo(f"to let them go: meter journal prune{naming(pipelines)}{age} --apply")
