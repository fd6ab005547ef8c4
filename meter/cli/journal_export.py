"""`meter journal export`: everything that a journal received, as lines of JSON."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click

from meter.cli.journal_place import other_file, place_of
from meter.commands.arguments import pipelines_file
from meter.commands.spans import since as since_option
from meter.commands.spans import until as until_option
from meter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meter.commands.progress import Bar
    from meter.journal.carried import Reading
    from meter.journal.search import Wanted
    from meter.plugins import Plugins

__all__ = ["export"]

_KINDS: Final = ("async_completed", "stream_terminated", "async_failed", "stream_abandoned")
STDOUT: Final = Path("-")
_BEYOND_ASCII: Final = re.compile(r"[^\n -~]")


@click.command()
@pipelines_file
@other_file
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=STDOUT,
    help="The file; one that ends in .gz is packed. Default: -, standard output.",
)
@since_option
@until_option
@click.option("--customer", help="Only this customer's events.")
@click.option("--kind", type=click.Choice(_KINDS), help="Only events of this kind.")
@click.option(
    "--since-offset",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only what was recorded beyond this offset: what an earlier export named at its end.",
)
@click.option("--events-only", is_flag=True, help="Events and no other lines, for other programs.")
@click.option("--replace", is_flag=True, help="Take the place of a file of that name.")
@click.pass_obj
def export(  # noqa: PLR0913  because each option is a parameter
    plugins: Plugins,
    pipelines: Path,
    *,
    other: Path | None,
    output: Path,
    since: datetime | None,
    until: datetime | None,
    customer: str | None,
    kind: str | None,
    since_offset: int | None,
    events_only: bool,
    replace: bool,
) -> None:
    """Write everything that was received as lines of JSON, one event a line, to be read again.

    A collector of type jsonl reads it, into an empty journal with the same result: events as they
    are, and beside them, unless events were chosen, sessions, quarantine, open receipts, and how
    far each backfill has come. Read twice, it changes nothing. What was done with it, such as
    checkpoints and dead letters, is in no export: for that there is `meter journal copy`.

    A file is there whole or not at all; only its owner may read it.
    """
    from contextlib import ExitStack

    from meter.clock import SystemClock
    from meter.commands.progress import Bar
    from meter.commands.whole_file import whole_file
    from meter.journal import Wanted, open_journal

    place = place_of(plugins, pipelines, other)
    chosen = any(value is not None for value in (since, until, customer, kind, since_offset))
    wanted = Wanted(customer, kind, None, since, until, None, None)
    with ExitStack() as stack:
        if output != STDOUT:
            _refuse_ours([Path(place), pipelines], output)
        journal = open_journal(place, SystemClock(), create=False)
        stack.callback(journal.close)
        reading = stack.enter_context(journal.carried.reading())
        bar = stack.enter_context(Bar())
        target = sys.stdout.buffer
        if output != STDOUT:
            target = stack.enter_context(whole_file(output, replace=replace))
        events = _write(
            reading,
            wanted,
            target,
            bar,
            after=since_offset or 0,
            whole=not chosen,
            events_only=events_only,
        )
        target.flush()
        head = reading.head
    name = "standard output" if output == STDOUT else str(output)
    click.echo(
        f"{events} events to {name}, up to offset {head}; what comes later: --since-offset {head}",
        err=True,
    )


def _write(
    reading: Reading,
    wanted: Wanted,
    target: IO[bytes],
    bar: Bar,
    *,
    after: int,
    whole: bool,
    events_only: bool,
) -> int:
    """Write the lines; answer how many events there are."""
    from meter.journal.carried import Begins, Ends, encode_line

    events = others = 0
    shown = _harmless if target.isatty() else str
    if not events_only:
        begins = Begins(journal_id=reading.journal_id, after=after, head=reading.head, whole=whole)
        target.write(encode_line(begins) + b"\n")
    for rows in reading.bodies(wanted, after):
        events += len(rows)
        target.write(shown("".join(f"{body}\n" for _, body in rows)).encode())
        bar.show("Exporting", rows[-1][0] - after, reading.head - after)
    if not events_only:
        if whole:
            for line in reading.others():
                target.write(shown(encode_line(line).decode() + "\n").encode())
                others += 1
        target.write(encode_line(Ends(events=events, others=others)) + b"\n")
    return events


def _harmless(lines: str) -> str:
    """Escape what could move a terminal's cursor; the JSON stays the same."""

    def escaped(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))

    return _BEYOND_ASCII.sub(escaped, lines)


def _refuse_ours(ours: Sequence[Path], output: Path) -> None:
    """Refuse to write where the journal or the pipelines file is."""
    if output.resolve() in [path.resolve() for path in ours]:
        raise ConfigurationError(f"{output} is what is to be exported; name another file")
