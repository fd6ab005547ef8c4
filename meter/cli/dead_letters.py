"""`meter dead-letters`: what sinks refused for good, why, and what is to become of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.arguments import as_json, naming, pipelines_file, read_config
from meter.commands.moments import moment
from meter.commands.nearest import named
from meter.commands.people import confirmed, given_reason, who
from meter.commands.tables import one_line, table

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import Config
    from meter.journal import ExceptionRow, Journal
    from meter.plugins import Plugins

__all__ = ["dead_letters"]

PAGE: Final = 1_000
"""How many dead letters are freed in one transaction."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which dead letters are meant."""

    sinks: Collection[str]
    customer: str | None
    why: str | None

    def rows(self, journal: Journal, states: Collection[str]) -> Iterator[ExceptionRow]:
        """Yield them, sink by sink, in order."""
        for sink in sorted(self.sinks):
            at = 0
            while rows := journal.exceptions.rows(
                sinks=[sink], states=states, after=(sink, at), limit=PAGE
            ):
                yield from (row for row in rows if self._takes(row))
                at = rows[-1].offset

    def _takes(self, row: ExceptionRow) -> bool:
        other = self.customer is not None and row.event.customer_id != self.customer
        return not other and (self.why is None or self.why.lower() in row.reason.lower())


@click.command(name="dead-letters")
@pipelines_file
@click.option("--sink", help="Only this sink's.")
@click.option("--customer", help="Only this customer's.")
@click.option("--why", metavar="TEXT", help="Only those whose reason has this in it.")
@click.option("--discarded", is_flag=True, help="List those that were given up.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The most rows."
)
@click.option("--show", metavar="EVENT", help="Show this one in full, with its history.")
@click.option(
    "--retry",
    metavar="EVENT",
    multiple=True,
    help="Offer this event again to every sink that refused it; repeatable.",
)
@click.option("--retry-all", is_flag=True, help="Offer all of them again.")
@click.option(
    "--discard",
    metavar="EVENT",
    multiple=True,
    help="Give this event up for every sink that refused it; repeatable; needs --reason.",
)
@click.option("--discard-all", is_flag=True, help="Give all of them up; needs --reason.")
@click.option("--reason", help="Why, with --discard or --retry; kept with who and when.")
@click.option("--yes", is_flag=True, help="With --discard-all: do not ask.")
@as_json
@click.pass_obj
def dead_letters(  # noqa: PLR0913  because each option is a parameter
    plugins: Plugins,
    pipelines: Path,
    *,
    sink: str | None,
    customer: str | None,
    why: str | None,
    discarded: bool,
    limit: int,
    show: str | None,
    retry: tuple[str, ...],
    retry_all: bool,
    discard: tuple[str, ...],
    discard_all: bool,
    reason: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """List the dead letters of PIPELINES: events that a sink refused for good, and why.

    Put the cause right, then --retry: a running `meter run` offers them again within a second.
    Whatever a sink refuses again is a dead letter again. What shall never be delivered, --discard:
    it stays in the sum as a dead letter, and is no trouble any more; --retry takes that back. Exit
    1 when an EVENT is none; then nothing is done.
    """
    from meter.clock import SystemClock
    from meter.journal import open_journal

    acts = {"--show": show, "--retry": retry, "--retry-all": retry_all}
    acts |= {"--discard": discard, "--discard-all": discard_all}
    given = [name for name, value in acts.items() if value]
    if len(given) > 1:
        raise click.UsageError(f"{given[0]} and {given[1]} exclude each other")
    discards = bool(discard or discard_all)
    words = given_reason(reason, given[0]) if discards else (reason or "").strip()
    config = read_config(pipelines, plugins, looking=True)
    sinks = config.sinks if sink is None else [named(sink, config.sinks, "sink", config.path)]
    chosen = _Chosen(list(sinks), customer, why)
    clock = SystemClock()
    journal = open_journal(config.journal, clock, create=False)
    desk = _Desk(journal, clock, chosen, who(), words)
    file = naming(pipelines)
    try:
        if show is not None:
            _show(show, desk, config, plugins, file, as_json=as_json)
        elif discards:
            settled = desk.discard_all(yes=yes) if discard_all else desk.discard(discard)
            _say_discarded(settled, as_json=as_json)
        elif retry or retry_all:
            freed = desk.retry_all() if retry_all else desk.retry(retry)
            _say(freed, running=journal.running(), file=file, as_json=as_json)
        else:
            found = list(_first(chosen.rows(journal, [_state(discarded=discarded)]), limit + 1))
            _list(found, limit, file, discarded=discarded, as_json=as_json)
    finally:
        journal.close()


def _state(*, discarded: bool) -> str:
    return "discarded" if discarded else "dead"


def _first(rows: Iterator[ExceptionRow], limit: int) -> Iterator[ExceptionRow]:
    for _, row in zip(range(limit), rows, strict=False):
        yield row


class _Desk:
    """Carries out what was asked for, and has it recorded."""

    def __init__(
        self, journal: Journal, clock: Clock, chosen: _Chosen, who: str, reason: str
    ) -> None:
        from meter.journal import NewAct

        self.journal = journal
        self._clock = clock
        self._chosen = chosen
        self._act = NewAct(who, reason)

    def retry(self, wanted: Collection[str]) -> dict[str, int]:
        """Offer what was named again; all of it, or nothing when one is no dead letter."""
        return self._do(self._named(wanted, ("dead", "discarded"), "offered again"), self._redrive)

    def retry_all(self) -> dict[str, int]:
        """Offer all again."""
        return self._do(self._all(), self._redrive)

    def discard(self, wanted: Collection[str]) -> dict[str, int]:
        """Give up what was named; all of it, or nothing when one is no dead letter."""
        return self._do(self._named(wanted, ("dead",), "given up"), self._give_up)

    def discard_all(self, *, yes: bool) -> dict[str, int]:
        """Give all up, if the person there says so."""
        found = self._all()
        count = sum(map(len, found.values()))
        if count and not confirmed(f"give up {count} dead letters?", yes=yes):
            raise SystemExit(1)
        return self._do(found, self._give_up)

    def dead(self, event_id: str) -> None:
        """Refuse what is no dead letter."""
        self._named([event_id], ("dead", "discarded"), "shown")

    def _all(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {sink: [] for sink in self._chosen.sinks}
        for row in self._chosen.rows(self.journal, ["dead"]):
            found[row.sink].append(row.offset)
        return found

    def _named(
        self, wanted: Collection[str], states: Collection[str], done: str
    ) -> dict[str, list[int]]:
        from meter.commands.references import unknown

        offsets: dict[str, list[int]] = {sink: [] for sink in self._chosen.sinks}
        refused = []
        for event_id in dict.fromkeys(wanted):
            places = [p for p in self.journal.exceptions.places(event_id) if p.sink in offsets]
            dead = [p for p in places if p.state in states and p.row is not None]
            for place in dead:
                if place.row is not None:
                    offsets[place.sink].append(place.row.offset)
            if not dead and self.journal.find(event_id) is None:
                refused.append(unknown(event_id, self.journal))
            elif not dead:
                stands = ", ".join(f"{p.state} for {p.sink}" for p in places)
                refused.append(f"{event_id}: no dead letter, but {stands or 'not offered yet'}")
        if refused:
            click.echo(f"meter: nothing was {done}, because of", err=True)
            for line in refused:
                click.echo(f"  {one_line(line)}", err=True)
            raise SystemExit(1)
        return offsets

    def _do(
        self, offsets: dict[str, list[int]], act: Callable[[str, list[int]], int]
    ) -> dict[str, int]:
        return {
            sink: sum(act(sink, those[at : at + PAGE]) for at in range(0, len(those), PAGE))
            for sink, those in offsets.items()
        }

    def _redrive(self, sink: str, those: list[int]) -> int:
        now = self._clock.now()
        return self.journal.exceptions.redrive(sink, those, now, self._act).wait()

    def _give_up(self, sink: str, those: list[int]) -> int:
        now = self._clock.now()
        return self.journal.exceptions.discard(sink, those, now, self._act).wait()


def _show(
    event_id: str, desk: _Desk, config: Config, plugins: Plugins, file: str, *, as_json: bool
) -> None:
    from meter.cli import event_told
    from meter.clock import SystemClock

    desk.dead(event_id)
    event_told.show(
        event_id,
        config,
        desk.journal,
        SystemClock(),
        seconds=plugins.patience,
        file=file,
        as_json=as_json,
    )


def _say(freed: dict[str, int], *, running: bool, file: str, as_json: bool) -> None:
    total = sum(freed.values())
    if as_json:
        click.echo(json.dumps({"freed": total, "sinks": freed, "running": running}, indent=2))
        return
    if not total:
        click.echo("no dead letters")
        return
    click.echo(f"{_counted(total)} will be offered again: {_shares(freed)}")
    if running:
        click.echo(f"the running `meter run` does it within a second; `meter status{file}` tells")
    else:
        click.echo(f"no `meter run` works on this journal; deliver now: meter run --once{file}")


def _say_discarded(settled: dict[str, int], *, as_json: bool) -> None:
    total = sum(settled.values())
    if as_json:
        click.echo(json.dumps({"discarded": total, "sinks": settled}, indent=2))
    elif not total:
        click.echo("no dead letters")
    else:
        click.echo(f"{_counted(total)} given up: {_shares(settled)}")


def _counted(total: int) -> str:
    return f"{total} dead letter{'s' if total > 1 else ''}"


def _shares(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} of {sink}" for sink, n in counts.items() if n)


def _list(
    found: list[ExceptionRow], limit: int, file: str, *, discarded: bool, as_json: bool
) -> None:
    rows = [_row(row) for row in found[:limit]]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo("none was given up" if discarded else "no dead letters")
        return
    shown = ("sink", "event_id", "customer_id", "seconds", "since", "reason")
    header = ("sink", "event", "customer", "seconds", "since", "reason")
    click.echo(table(header, [[row[name] for name in shown] for row in rows], right=(3,)))
    if len(found) > limit:
        click.echo(f"\nthe first {limit}; --limit shows more")
    if discarded:
        click.echo(f"\nby whom, and why: meter dead-letters{file} --show EVENT")
        return
    click.echo(
        "\nput the cause right, then offer them again: "
        f"meter dead-letters{file} --retry EVENT, or --retry-all"
        f"\nwhat shall never be delivered: meter dead-letters{file} --discard EVENT --reason TEXT"
    )


def _row(row: ExceptionRow) -> dict[str, Any]:
    from meter.events import format_seconds

    seconds = row.event.billed_seconds
    return {
        "sink": row.sink,
        "event_id": row.event.event_id,
        "customer_id": row.event.customer_id,
        "seconds": None if seconds is None else format_seconds(seconds),
        "attempts": row.attempts,
        "since": moment(row.changed_at),
        "reason": row.reason,
    }
