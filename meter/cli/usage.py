"""`meter usage`: how much was used, by whom, and what it costs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import click

from meter.commands.arguments import pipelines_file, read_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from meter.plugins import Plugins
    from meter.reports.usage import Question

__all__ = ["usage"]

_DIMENSION: Final = re.compile(r"dimensions?\.(.+)", re.DOTALL)
_COMMA: Final = re.compile(r",\s*(?=(?:customer|day|month|kind|model|dimensions?\..+)\s*(?:,|$))")
_MONTH: Final = re.compile(r"\d{4}-\d{2}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_KINDS: Final = ("async_completed", "stream_terminated", "async_failed", "stream_abandoned")
_WORTH_A_BAR: Final = 50_000
"""Fewer events are read before anybody wonders."""


@click.command()
@pipelines_file
@click.option(
    "--by",
    multiple=True,
    metavar="WHAT",
    help="customer, day, month, kind, model or dimension.NAME; several with commas, the first "
    "leads. Default: customer.",
)
@click.option("--month", metavar="YYYY-MM", help="One month.")
@click.option("--from", "since", metavar="WHEN", help="A date or time: from then on.")
@click.option("--to", "until", metavar="WHEN", help="A date or time: up to then, without it.")
@click.option(
    "--tz",
    default="UTC",
    show_default=True,
    metavar="ZONE",
    help="Whose days and months: an IANA name, such as Pacific/Auckland.",
)
@click.option("--customer", "customers", multiple=True, metavar="ID", help="Only this; repeatable.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(_KINDS),
    metavar="KIND",
    help="Only this; repeatable.",
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this; repeatable.")
@click.option("--no-money", is_flag=True, help="Leave money out, whatever `rates:` says.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@click.pass_obj
def usage(  # noqa: PLR0913, PLR0917  because each option is a parameter
    plugins: Plugins,
    pipelines: Path,
    by: tuple[str, ...],
    month: str | None,
    since: str | None,
    until: str | None,
    tz: str,
    customers: tuple[str, ...],
    kinds: tuple[str, ...],
    models: tuple[str, ...],
    no_money: bool,  # noqa: FBT001  because click passes it by name
    shape: str,
) -> None:
    """Show how much was used, by customer or as --by says; works beside a running `meter run`.

    Most used first, or by time where day or month leads. Seconds are exact; failed jobs and
    abandoned sessions are counted beside them, and never billed. With `rates:` in PIPELINES also
    what it costs, and what your customers pay; a model without a rate is an error, never zero.

    Money is exact until it is printed, then each row is rounded by itself, half to even. The
    total is rounded once, from the exact sum: it is the same however --by divides it. A margin is
    the printed price less the printed cost. JSON has the exact figures too, as text.
    """
    from meter.cli.usage_table import UsageTable
    from meter.clock import SystemClock
    from meter.journal import open_journal
    from meter.reports import usage as sums
    from meter.reports.calendar import zone_named

    zone = zone_named(tz)
    first, beyond = _bounds(zone, month, since, until)
    question = sums.Question(
        by=_keys(by),
        zone=zone,
        since=first,
        until=beyond,
        customers=frozenset(customers),
        kinds=frozenset(kinds),
        models=frozenset(models),
    )
    config = read_config(pipelines, plugins, looking=True)
    journal = open_journal(config.journal, SystemClock(), create=False)
    try:
        with _Progress() as progress:
            rows = sums.usage(journal, question, progress.show)
    finally:
        journal.close()
    table = UsageTable(question.by, rows, None if no_money else config.rates)
    if shape == "csv":
        _print_csv(table)
    elif shape == "json":
        _print_json(table, question, tz)
    else:
        _print_table(table, question, tz)


# -- what is asked ----------------------------------------------------------------------------


def _keys(by: Sequence[str]) -> tuple[str, ...]:
    from meter.config.faults import did_you_mean
    from meter.reports.usage import DIMENSION, KEYS

    keys = []
    for text in by or ("customer",):
        for part in _COMMA.split(text):
            key = part.strip()
            if named := _DIMENSION.fullmatch(key):
                key = DIMENSION + named[1]
            elif key not in KEYS:
                known = did_you_mean(key, (*KEYS, f"{DIMENSION}NAME"))
                raise click.BadParameter(f"no such column{known}", param_hint="--by")
            if key not in keys:
                keys.append(key)
    return tuple(keys)


def _bounds(
    zone: ZoneInfo, month: str | None, since: str | None, until: str | None
) -> tuple[date | datetime | None, date | datetime | None]:
    from datetime import date, timedelta

    if month is None:
        first, beyond = _bound(zone, "--from", since), _bound(zone, "--to", until)
        if first is not None and type(first) is type(beyond) and not first < beyond:
            raise click.BadParameter("expected to be later than --from", param_hint="--to")
        return first, beyond
    if since is not None or until is not None:
        raise click.UsageError("--month stands alone: leave out --from and --to")
    try:
        begin = date.fromisoformat(f"{month}-01") if _MONTH.fullmatch(month) else None
        if begin is None:
            raise ValueError
        return begin, (begin + timedelta(days=31)).replace(day=1)
    except (ValueError, OverflowError):
        raise click.BadParameter("expected a month such as 2026-11", param_hint="--month") from None


def _bound(zone: ZoneInfo, option: str, text: str | None) -> date | datetime | None:
    from datetime import date

    from meter.reports.calendar import moment_in

    if text is None:
        return None
    try:
        return date.fromisoformat(text) if _DATE.fullmatch(text) else moment_in(zone, text)
    except ValueError as error:
        words = "expected a date such as 2026-11-01" if _DATE.fullmatch(text) else str(error)
        raise click.BadParameter(words, param_hint=option) from None


class _Progress:
    """A bar on standard error, when that is a terminal and there is much to do."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    @property
    def show(self) -> Callable[[int, int], None]:
        return self._show

    def _show(self, done: int, events: int) -> None:
        if events < _WORTH_A_BAR or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = click.progressbar(length=events, label="Reading events", file=sys.stderr)
        self._bar.update(done - self._done)
        self._done = done


# -- what is answered -------------------------------------------------------------------------


def _print_table(table: Any, question: Question, tz: str) -> None:
    from shutil import get_terminal_size

    if not table.rows:
        click.echo("no usage")
        return
    width = get_terminal_size().columns if sys.stdout.isatty() else 0
    click.echo(table.text(width))
    for note in table.notes():
        click.echo(note)
    timed = bool({"day", "month"} & set(question.by)) or question.since or question.until
    if timed and tz != "UTC":
        click.echo(f"Days and months are those of {tz}.")


def _print_csv(table: Any) -> None:
    import csv

    from meter.commands.tables import one_line

    terminal = sys.stdout.isatty()
    writer = csv.writer(sys.stdout)
    for row in table.csv():
        writer.writerow([one_line(cell) for cell in row] if terminal else row)


def _print_json(table: Any, question: Question, tz: str) -> None:
    import json

    document = {
        "by": list(question.by),
        "zone": tz,
        "from": question.since and question.since.isoformat(),
        "to": question.until and question.until.isoformat(),
        **table.document(),
    }
    # Beyond ASCII there are characters that move a terminal's cursor.
    click.echo(json.dumps(document, indent=2, ensure_ascii=sys.stdout.isatty()))
