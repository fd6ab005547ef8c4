"""How `meter backfill` tells what it does, and what it found."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import click

from meter.collectors.assemblyai_client import Refused
from meter.commands.moments import moment
from meter.commands.tables import one_line, table

if TYPE_CHECKING:
    from pathlib import Path

    from meter.collectors.assemblyai_client import ApiError
    from meter.collectors.window import Found, Told, Window

__all__ = ["Screen", "Walk", "report"]

LONG_SECONDS: Final = 10.0
"""A wait that is told also where nobody watches: a log should say why nothing happens."""
_COLUMNS: Final = (
    ("walked", "walked"),
    ("known", "known already"),
    ("recorded", "recorded"),
    ("failed_jobs", "failed jobs"),
    ("quarantined", "quarantined"),
    ("conflict", "conflicts"),
    ("foreign", "not ours"),
    ("unfinished", "unfinished"),
    ("unanswered", "unanswered"),
)


@dataclass(slots=True)
class Walk:
    """One collector's walk, as far as it came.

    Attributes:
        told: what it said last; None before its first page.
        error: why it did not come to its end.
    """

    name: str
    told: Told | None = None
    error: ApiError | None = None


class Screen:
    """A bar on a terminal; nothing where nobody watches."""

    def __init__(self, window: Window) -> None:
        """Stand ready; the bar comes with the first page."""
        self._window = window
        self._bar: Any = None
        self._task: Any = None
        self._name = ""

    def __enter__(self) -> Self:
        """Give the screen."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line to standard error, above the bar."""
        if self._bar is not None:
            self._bar.console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(f"meter: {one_line(line)}", err=True)

    def show(self, name: str, told: Told) -> None:
        """Show how far a walk is."""
        if name != self._name:
            self._name = name
            if told.resumed:
                self.say(
                    f"{name}: goes on before {moment(told.reached)}, where an earlier run stopped "
                    f"after {told.found.walked} jobs; --restart begins anew"
                )
            self._begin(name)
        if self._bar is None:
            return
        whole = (told.until - self._window.since).total_seconds()
        done = (told.until - told.reached).total_seconds()
        found = told.found
        words = (
            f"{name}: {found.walked} jobs, {found.recorded or found.wanted} new, "
            f"back to {moment(told.reached)}"
        )
        self._bar.update(self._task, total=max(whole, 1.0), completed=done, description=words)

    def waits(self, seconds: float, why: str) -> None:
        """Say that it waits, and why."""
        words = f"{self._name}: {why}; it asked to wait {seconds:.0f} s"
        if self._bar is not None:
            self._bar.update(self._task, description=one_line(words))
        elif seconds >= LONG_SECONDS:
            self.say(words)

    def _begin(self, name: str) -> None:
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        if self._bar is None:
            self._bar = Progress(
                BarColumn(20),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        else:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(name, total=1.0)


def report(
    walks: Sequence[Walk],
    window: Window,
    *,
    file: str,
    path: Path,
    running: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Print what was found, and what to do; exit 1 or 2 when something is to be done.

    Args:
        walks: one a collector.
        window: of which time.
        file: what a command line needs to name the same pipelines file.
        path: that file.
        running: a `meter run` works on the journal.
        dry_run: nothing was fetched.
        as_json: print JSON.
    """
    if as_json:
        click.echo(json.dumps(_document(walks, window, dry_run=dry_run), indent=2))
    else:
        _print(walks, file, running=running, dry_run=dry_run)
    refused = False
    for walk in (w for w in walks if w.error is not None):
        click.echo(f"meter: {one_line(_fault(walk, path))}", err=True)
        refused |= isinstance(walk.error, Refused)
    if refused:
        raise SystemExit(2)
    if any(walk.error or (walk.told and _wrong(walk.told.found)) for walk in walks):
        raise SystemExit(1)


def _wrong(found: Found) -> int:
    return found.quarantined + found.conflict + found.unanswered


def _fault(walk: Walk, path: Path) -> str:
    if isinstance(walk.error, Refused):
        return f"{path}, collectors.{walk.name}.api_key: {walk.error}"
    return (
        f"{walk.name}: {walk.error}; what was found is kept, and the same command goes on where "
        "it stopped"
    )


def _document(walks: Sequence[Walk], window: Window, *, dry_run: bool) -> dict[str, Any]:
    import msgspec

    return {
        "from": moment(window.since),
        "to": window.until and moment(window.until),
        "dry_run": dry_run,
        "collectors": {
            walk.name: {
                "complete": walk.error is None,
                "error": walk.error and str(walk.error),
                "reached": walk.told and moment(walk.told.reached),
                "resumed": bool(walk.told and walk.told.resumed),
                **(msgspec.to_builtins(walk.told.found) if walk.told else {}),
            }
            for walk in walks
        },
    }


def _print(walks: Sequence[Walk], file: str, *, running: bool, dry_run: bool) -> None:
    told = [(walk.name, walk.told.found) for walk in walks if walk.told is not None]
    names = ("walked", "known", "foreign", "unfinished", "wanted") if dry_run else ()
    columns = [c for c in _COLUMNS if not names or c[0] in names]
    if dry_run:
        columns.append(("wanted", "to be fetched"))
    rows = [[name, *(getattr(found, c) for c, _ in columns)] for name, found in told]
    header = ("collector", *(words for _, words in columns))
    click.echo(table(header, rows, right=range(1, len(header))))
    for line in _ways([found for _, found in told], file, running=running, dry_run=dry_run):
        click.echo(line)


def _ways(founds: Sequence[Found], file: str, *, running: bool, dry_run: bool) -> list[str]:
    """Say what becomes of what was found, and what to do, a line each."""

    def total(name: str) -> int:
        return sum(getattr(found, name) for found in founds)

    lines = []
    if dry_run:
        if total("wanted"):
            lines.append("nothing was fetched: what it fetches is recorded, set aside, or not ours")
        return lines
    if total("recorded"):
        lines.append(
            "the running `meter run` delivers what is new"
            if running
            else "no `meter run` works on this journal; deliver what is new now: "
            f"meter run --once{file}"
        )
    if total("failed_jobs"):
        lines.append("failed jobs are recorded too, and never billed")
    if total("unfinished"):
        lines.append("AssemblyAI still works on what is unfinished; `meter run` comes back to it")
    if total("unanswered"):
        lines.append("what was unanswered, `meter run` comes back to; or run this again")
    if total("quarantined") + total("conflict"):
        lines.append(f"what is in quarantine: meter quarantine list{file}")
    return ["", *lines] if lines else []
