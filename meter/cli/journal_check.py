"""`meter journal check`: is everything in the journal, and all of it as it must be?"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meter.cli.journal_place import other_file, place_of
from meter.commands.arguments import as_json, pipelines_file
from meter.commands.tables import one_line

if TYPE_CHECKING:
    from meter.journal.checked import Checked, Finding
    from meter.plugins import Plugins

__all__ = ["check"]

_THINGS: Final = {"quarantine": "in quarantine"}
_NAMES: Final = {"rollup": "sums of usage", "counts": "counts"}


@click.command()
@pipelines_file
@other_file
@click.option("--quick", is_flag=True, help="Leave out SQLite's own look at every page.")
@click.option(
    "--repair", is_flag=True, help="Make wrong sums and counts again from the events; kept in acts."
)
@as_json
@click.pass_obj
def check(
    plugins: Plugins,
    pipelines: Path,
    *,
    other: Path | None,
    quick: bool,
    repair: bool,
    as_json: bool,
) -> None:
    """Read the whole journal, and say what is not as it must be, what that means and what to do.

    The file, every event and its id, the sums of usage, the balance of every sink counted anew,
    receipts and sessions whose events are gone, gaps. Nothing is changed without --repair, and a
    running `meter run` goes on meanwhile.

    Exit 1 when something is wrong; 4 when the journal cannot be read at all.
    """
    from meter.commands.progress import Bar
    from meter.journal.sqlite_check import check_journal

    place = place_of(plugins, pipelines, other)
    began = time.monotonic()
    with Bar() as bar:
        checked = check_journal(place, bar.show, thorough=not quick)
        repaired: list[str] = []
        if repair and not checked.sound:
            repaired = _repaired(place, checked)
            if repaired:
                checked = check_journal(place, bar.show, thorough=False)
    took = round(time.monotonic() - began, 1)
    if as_json:
        document = {
            "journal": place,
            "sound": checked.sound,
            "repaired": repaired,
            "took_seconds": took,
        }
        click.echo(json.dumps(document | asdict(checked), indent=2, ensure_ascii=False))
    else:
        if repaired:
            click.echo(
                f"made again from the events: {', '.join(_NAMES[kind] for kind in repaired)}"
            )
        _print(place, checked)
    if not checked.sound:
        raise SystemExit(1)


def _repaired(place: str, checked: Checked) -> list[str]:
    from meter.clock import SystemClock
    from meter.commands.people import who
    from meter.journal import NewAct
    from meter.journal.sqlite_repair import repair_journal

    return repair_journal(place, checked, SystemClock().now(), NewAct(who(), "meter journal check"))


def _print(place: str, checked: Checked) -> None:
    looked = ", ".join(
        f"{n} {_THINGS.get(what, what.removesuffix('s') if n == 1 else what)}"
        for what, n in checked.looked.items()
    )
    click.echo(one_line(f"{place}: {looked or 'nothing could be looked at'}"))
    for finding in sorted(checked.findings, key=lambda f: not f.grave):
        click.echo()
        for line in _told(finding):
            click.echo(one_line(line))
    wrong = sum(finding.grave for finding in checked.findings)
    things = "thing is" if wrong == 1 else "things are"
    click.echo(f"\n{wrong} {things} not as it must be" if wrong else "\nall is well")


def _told(finding: Finding) -> list[str]:
    told = str(finding.count) in finding.words  # where the words are about that number
    count = f"{finding.count}: " if finding.count > 1 and not told else ""
    return [
        f"{finding.check if finding.grave else 'to know'}: {count}{finding.words}",
        *(f"  {example}" for example in finding.examples),
        f"  means: {finding.means}",
        f"  what to do: {finding.todo}",
    ]
