"""What `meter check --connect` finds: a line for each thing, and what to do where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from meter.commands.tables import one_line, table

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Finding", "findings_of", "show"]

WARNING: Final = "warning: "


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: such as `journal`, `collectors.jobs` or `sinks.billing`.
        state: `wrong` makes the command exit 1; a `warning` does not.
        found: in words, on one line.
        look_at: where in the pipelines file what is named stands, and its variables.
    """

    what: str
    state: Literal["ok", "warning", "wrong"]
    found: str
    look_at: Sequence[str] = field(default=())


def findings_of(
    what: str,
    lines: Iterable[str],
    error: str | None,
    *,
    file: Path,
    options: Any = None,
) -> list[Finding]:
    """Return what a collector or a sink said, a finding for each line.

    Args:
        what: such as `sinks.billing`.
        lines: what it found in order, or warns of.
        error: what is wrong; None when nothing is.
        file: the pipelines file.
        options: its options: one that the words name is looked up in the file.
    """
    found = [_of_line(what, line) for line in lines]
    found += [
        Finding(what, "wrong", one_line(line), _places(what, line, file, options))
        for line in ([] if error is None else error.splitlines() or ["it does not say why"])
    ]
    return found or [Finding(what, "ok", "nothing to try")]


def _of_line(what: str, line: str) -> Finding:
    if line.startswith(WARNING):
        return Finding(what, "warning", one_line(line.removeprefix(WARNING)))
    return Finding(what, "ok", one_line(line))


def _places(what: str, line: str, file: Path, options: Any) -> tuple[str, ...]:
    """Return where the options stand that a line names; those that the file leaves out, nowhere."""
    from meter.config import whence

    section, _, name = what.partition(".")
    every = [option for option, _ in options or ()]
    named = [option for option in every if re.search(rf"\b{re.escape(option)}\b", line)]
    places = [(option, whence(file, (section, name, option))) for option in named]
    return tuple(f"{option}: {one_line(place)}" for option, place in places if place)


def show(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print them as a table, what is wrong with where to look below it; or as JSON lines."""
    if as_json:
        import json

        document = {
            "well": all(finding.state != "wrong" for finding in findings),
            "findings": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    rows: list[tuple[str, str, str]] = []
    last = None
    for finding in findings:
        state = finding.state.upper() if finding.state == "wrong" else finding.state
        rows.append((finding.what if finding.what != last else "", state, finding.found))
        rows += [("", "", f"look at {place}") for place in finding.look_at]
        last = finding.what
    click.echo(table(("what", "state", "found"), rows))
    wrong = sum(finding.state == "wrong" for finding in findings)
    warned = sum(finding.state == "warning" for finding in findings)
    click.echo(
        f"\n{wrong} wrong, {warned} to think about, {len(findings) - wrong - warned} in order"
    )
