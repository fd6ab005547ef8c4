"""`meter status`: what came in, and where all of it stands for every sink."""

from __future__ import annotations

import json
import shlex
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.arguments import as_json, naming, pipelines_file, read_config
from meter.commands.moments import age
from meter.commands.tables import one_line, table

if TYPE_CHECKING:
    from meter.delivery.asking import Answer
    from meter.journal import JournalTotals, Reason
    from meter.plugins import Plugins

__all__ = ["status"]

_PLACES: Final = ("delivered", "filtered", "dead_lettered", "held", "retrying", "pending")
_WORDS: Final = ("dead", "held", "retrying", "waiting")
"""What is the matter, the worst first; `waiting` is counted as retrying, and is no trouble."""
REASONS: Final = 10
"""How many reasons are shown for a sink."""
LOOKED: Final = 1000
"""How many reasons are counted of each sink and state."""


@click.command()
@pipelines_file
@as_json
@click.pass_obj
def status(plugins: Plugins, pipelines: Path, *, as_json: bool) -> None:
    """Show the balance of every sink of PIPELINES; works beside a running `meter run`.

    Below it: why events are dead letters, held or retrying, what each sink says of itself, and
    what to do. Exit 1 only when a sum does not balance.
    """
    from meter.clock import SystemClock
    from meter.commands.asking import ask
    from meter.journal import open_journal

    config = read_config(pipelines, plugins, looking=True)
    clock = SystemClock()
    journal = open_journal(config.journal, clock, create=False)
    try:
        totals = journal.totals()
        running = journal.running()
        reasons = journal.exceptions.reasons(LOOKED)
        answers = {
            name: ask(
                entry,
                lambda sink: sink.status(),
                journal=journal,
                clock=clock,
                seconds=plugins.patience,
            )
            for name, entry in config.sinks.items()
        }
        strange = sorted(journal.sessions.collectors() - config.collectors.keys())
    finally:
        journal.close()
    if as_json:
        document = _document(totals, reasons, answers) | {"running": running}
        click.echo(json.dumps(document, indent=2, default=str, ensure_ascii=False))
    else:
        _print(totals, clock.now(), config.sinks, running=running)
        _print_sinks(totals, reasons, answers, naming(pipelines))
    for name in strange:
        click.echo(
            f"warning: there are sessions of a collector {name!r}, and the file has none of that "
            "name: no pipeline takes them",
            err=True,
        )
    if not all(balance.balances for balance in totals.balances):
        raise SystemExit(1)


def _document(
    totals: JournalTotals, reasons: Sequence[Reason], answers: Mapping[str, Answer]
) -> dict[str, Any]:
    document = asdict(totals)
    document["balances"] = [{**asdict(b), "balances": b.balances} for b in totals.balances]
    document["reasons"] = [asdict(reason) for reason in reasons]
    document["sinks"] = {name: list(answer.lines) for name, answer in answers.items()}
    document["faults"] = {name: a.error for name, a in answers.items() if a.error is not None}
    return document


def _print(totals: JournalTotals, now: datetime, sinks: Container[str], *, running: bool) -> None:
    recorded = sum(totals.events.values())
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(totals.events.items()))
    click.echo(f"recorded     {recorded} events" + (f": {kinds}" if kinds else ""))
    receipts = ", ".join(f"{n} {state}" for state, n in sorted(totals.receipts.items()))
    click.echo(f"receipts     {receipts or 'none'}")
    if totals.oldest_open_receipt is not None:
        click.echo(
            f"             the oldest open one is {age(now, totals.oldest_open_receipt)} old"
        )
    sessions = ", ".join(f"{n} {state}" for state, n in sorted(totals.sessions.items()))
    if sessions or any(kind.startswith("stream_") for kind in totals.events):
        click.echo(f"sessions     {sessions or 'none open'}")
    quarantined = ", ".join(f"{n} from {name}" for name, n in sorted(totals.quarantined.items()))
    look = "; to look: meter quarantine list" if quarantined else ""
    click.echo(f"quarantine   {quarantined or 'empty'}{look}")
    if not running:
        click.echo("meter run    does not run: nothing is collected or delivered until it does")
    for name, jobs in sorted(totals.foreign.items()):
        click.echo(f"not ours     {jobs} jobs that {name} saw have another webhook, or none")
    for name, trouble in sorted(totals.collectors.items()):
        click.echo(f"collector    {name} cannot work: {trouble}")
    click.echo()
    rows = [
        (
            balance.sink if balance.sink in sinks else f"{balance.sink} (not in the file)",
            balance.recorded,
            *(getattr(balance, place) for place in _PLACES),
            "yes" if balance.balances else f"NO: {balance.accounted} accounted for",
            f"{age(now, balance.oldest_unsettled)} old" if balance.oldest_unsettled else "",
        )
        for balance in totals.balances
    ]
    header = (
        "sink",
        "recorded",
        *(p.replace("_", "-") for p in _PLACES),
        "balances",
        "oldest unsettled",
    )
    click.echo(table(header, rows, right=range(1, 8)))
    for balance in (b for b in totals.balances if b.discarded):
        click.echo(
            f"\nof {balance.sink}'s dead letters, {balance.discarded} "
            f"{'was' if balance.discarded == 1 else 'were'} given up"
        )
    for balance in totals.balances:
        if balance.parked:
            click.echo(
                f"\n{balance.sink} is parked: {one_line(balance.parked)}\n"
                "  put it right, then restart `meter run`"
            )
        elif balance.trouble:
            click.echo(
                f"\n{balance.sink} does not deliver: {one_line(balance.trouble)}\n"
                "  nothing is lost; a running `meter run` tries again what failed, within a minute"
            )


def _print_sinks(
    totals: JournalTotals, reasons: Sequence[Reason], answers: Mapping[str, Answer], file: str
) -> None:
    """Say of each sink why events are not delivered, and what it says of itself."""
    balances = {balance.sink: balance for balance in totals.balances}
    for name in [*answers, *sorted(balances.keys() - answers.keys())]:
        answer = answers.get(name)
        found = sorted((r for r in reasons if r.sink == name), key=lambda r: _WORDS.index(_word(r)))
        told = _told(found)
        lines = [f"{_word(r):<8}  {r.count:>6}  {r.reason}" for r in told]
        if name in balances:
            b = balances[name]
            others = b.dead_lettered - b.discarded + b.held + b.retrying
            others -= sum(r.count for r in told)
            if others > 0 and len(found) > len(told):
                lines.append(_and_more(others, found, told))
        if answer is not None:
            lines += answer.lines
            if answer.error is not None:
                lines.append(f"cannot say how it stands: {answer.error}")
        lines += _next_steps(name, found, file) if answer is not None else []
        if lines:
            click.echo(f"\n{name}" if answer is not None else f"\n{name} (not in the file)")
        for line in lines:
            click.echo(f"  {one_line(line)}")


def _told(found: Sequence[Reason]) -> list[Reason]:
    """Choose the reasons that are shown: the first of each place, then by their order."""
    firsts = {_word(reason): reason for reason in reversed(found)}.values()
    rest = [reason for reason in found if reason not in firsts]
    chosen = [*firsts, *rest[: REASONS - len(firsts)]]
    return [reason for reason in found if reason in chosen]


def _and_more(events: int, found: Sequence[Reason], told: Sequence[Reason]) -> str:
    more = len(found) - len(told)
    states = [reason.state for reason in found]
    least = "at least " if any(states.count(state) >= LOOKED for state in set(states)) else ""
    plural = "" if events == 1 else "s"
    return f"and {events} more event{plural}, for {least}{more} other reason" + (
        "" if more == 1 else "s"
    )


def _word(reason: Reason) -> str:
    return "waiting" if reason.put_off else reason.state


def _next_steps(sink: str, found: Sequence[Reason], file: str) -> list[str]:
    """Say what a person can do; what merely waits, or is tried again anyway, needs nobody."""
    steps = []
    if any(reason.state == "dead" for reason in found):
        steps.append(
            f"to see the dead letters, and offer them again: meter dead-letters{file} --sink {sink}"
        )
    stuck = next((r for r in found if not r.put_off), None)
    if stuck is not None:
        steps.append(f"to see one event in full: meter events {shlex.quote(stuck.first)}{file}")
    return steps
