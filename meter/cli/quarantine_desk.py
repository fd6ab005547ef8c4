"""What the commands of `meter quarantine` share: choosing entries, and acting on them.

Each act is one short transaction beside whatever `meter run` is at work (DESIGN §5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal, NoReturn, Self

import click

from meter.clock import SystemClock
from meter.collectors.cases import Case, Lacking, Naming, case_of, receipt_of
from meter.collectors.clearing import Clearing
from meter.collectors.intake import Intake
from meter.commands.tables import one_line
from meter.errors import InvalidEvent
from meter.journal import NewAct, NotDone, open_journal

if TYPE_CHECKING:
    from types import TracebackType

    from meter.config import Config
    from meter.journal import Entry
    from meter.plugins import Plugins

__all__ = ["Desk"]

PAGE: Final = 10_000
"""The most that `--all` takes at a time."""


class Desk:
    """The quarantine of one journal, with what is needed to act on it.

    Attributes:
        journal: open.
        clock: tells the time.
    """

    def __init__(self, config: Config, plugins: Plugins) -> None:
        """Open the journal beside a running `meter run`."""
        self.clock = SystemClock()
        self.journal = open_journal(config.journal, self.clock, create=False)
        self._config = config
        self._plugins = plugins

    def __enter__(self) -> Self:
        """Give the desk."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the journal."""
        self.journal.close()

    def case(self, entry: Entry) -> Case:
        """Tell what an entry is."""
        return case_of(entry, self.journal.find)

    # -- choosing --------------------------------------------------------------------------

    def entry(self, reference: str, states: Collection[str] = ("open",)) -> Entry:
        """Return the entry that somebody named; exit 1 with the nearest when there is none."""
        aside = self.journal.aside
        found = aside.find(int(reference)) if reference.isdecimal() else None
        named = [found] if found else aside.entries(states=(), provider_id=reference, limit=20)
        fit = [entry for entry in named if not states or entry.state in states]
        if len(fit) == 1:
            return fit[0]
        if fit:
            several = ", ".join(str(entry.id) for entry in fit)
            _refuse([f"{reference}: there are several; say which by its ID: {several}"])
        if named:
            _refuse([f"{named[0].id}: it is {named[0].state} already"])
        return _refuse([f"{reference}: nothing of this ID in quarantine{self._near(reference)}"])

    def chosen(
        self,
        references: Sequence[str],
        act: Literal["assignable", "retryable"] | None,
        *,
        every: bool,
        why: str | None,
    ) -> list[Entry]:
        """Return the open entries that an act is for; all that were named can have it done.

        Raises:
            UsageError: neither IDs nor `--all`, or both.
        """
        if every == bool(references):
            raise click.UsageError("give one or more IDs, or --all")
        if why is not None and not every:
            raise click.UsageError("--why goes with --all")
        if every:
            found = self.journal.aside.entries(why=why, limit=PAGE)
            return [e for e in found if act is None or getattr(self.case(e), act) is None]
        named = {entry.id: entry for entry in map(self.entry, references)}
        refused = []
        for entry in named.values():
            case = self.case(entry)
            obstacle = None if act is None else getattr(case, act)
            if obstacle is not None:
                refused.append(f"{entry.id} ({case.noun}): {obstacle}")
                refused.append(f"  what to do: {case.advice}")
        if refused:
            _refuse(refused)
        return list(named.values())

    def _near(self, reference: str) -> str:
        aside = self.journal.aside
        if reference.isdecimal():
            near = [f"{e.id} ({e.state}: {e.reason})" for e in aside.nearest(int(reference))]
        else:
            ids = {e.provider_id for e in aside.entries(states=(), limit=PAGE) if e.provider_id}
            near = get_close_matches(reference, sorted(ids), n=2)
        return f"; the nearest: {', '.join(near)}" if near else "; see meter quarantine list"

    # -- acting ----------------------------------------------------------------------------

    def ask_again(self, entries: Sequence[Entry], who: str) -> None:
        """Have jobs fetched again."""
        self._must_be_webhooks(entries)
        for entry in entries:
            now = self.clock.now()
            try:
                receipt = receipt_of(entry)
                self.journal.aside.ask_again(entry.id, receipt, now, NewAct(who)).wait()
            except (NotDone, Lacking) as error:
                _stop(entries, entry, error)

    def discard(self, entries: Sequence[Entry], who: str, reason: str) -> None:
        """Close entries that are nobody's usage."""
        for entry in entries:
            act = NewAct(who, reason)
            try:
                self.journal.aside.discard(entry.id, self.clock.now(), act).wait()
            except NotDone as error:
                _stop(entries, entry, error)

    def assign(self, entries: Sequence[Entry], naming: Naming, who: str, reason: str) -> list[str]:
        """Make entries their events; answer what became of each.

        Nothing is done when one of them lacks more than its customer.
        """
        known = frozenset(self._config.collectors)
        facts, refused = [], []
        intake = Intake(self.journal, self._plugins)
        clearing = Clearing(self.journal, intake, collectors=known, clock=self.clock)
        for entry in entries:
            try:
                facts.append(clearing.fact_of(entry, naming))
            except (Lacking, InvalidEvent) as error:
                refused.append(f"{entry.id}: {error}")
        if refused:
            _refuse(refused)
        for name in sorted({entry.collector for entry in entries} - known):
            click.echo(
                f"warning: the file has no collector {name!r} any more: no pipeline takes its "
                "events",
                err=True,
            )
        act = NewAct(who, reason)
        became = []
        for entry, fact in zip(entries, facts, strict=True):
            try:
                became.append(asyncio.run(clearing.assign(entry, fact, act)))
            except NotDone as error:
                _stop(entries, entry, error)
        self._plugins.catch_up(self._plugins.patience)
        return became

    def _must_be_webhooks(self, entries: Sequence[Entry]) -> None:
        """Refuse to ask for what no collector of the file would ask for."""
        from meter.collectors.webhook import WebhookCollector

        able = {
            name
            for name, entry in self._config.collectors.items()
            if issubclass(entry.extension.cls, WebhookCollector)
        }
        lines = [
            f"{entry.id}: the file has no webhook collector {entry.collector!r} that could ask"
            for entry in entries
            if entry.collector not in able
        ]
        if lines:
            _refuse(lines)


def _refuse(lines: Sequence[str]) -> NoReturn:
    click.echo("meter: nothing was done, because of", err=True)
    for line in lines:
        click.echo(f"  {one_line(line)}", err=True)
    raise SystemExit(1)


def _stop(entries: Sequence[Entry], at: Entry, error: Exception) -> NoReturn:
    """Say at which entry an act ended, and what was done before it."""
    done = [str(entry.id) for entry in entries[: list(entries).index(at)]]
    if not done:
        _refuse([f"{at.id}: {error}"])
    click.echo(f"meter: ended at {at.id}: {one_line(error)}", err=True)
    click.echo(f"  done before it: {', '.join(done)}", err=True)
    raise SystemExit(1)
