"""`meter status`: what came in, and where all of it stands for every sink."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meter.commands.arguments import as_json, pipelines_file, read_config
from meter.commands.tables import table

if TYPE_CHECKING:
    from meter.journal import JournalTotals
    from meter.plugins import Plugins

__all__ = ["status"]

_PLACES = ("delivered", "filtered", "dead_lettered", "held", "retrying", "pending")


@click.command()
@pipelines_file
@as_json
@click.pass_obj
def status(plugins: Plugins, pipelines: Path, *, as_json: bool) -> None:
    """Show the balance of every sink of PIPELINES; works beside a running `meter run`.

    Exit 1 only when a sum does not balance.
    """
    from meter.clock import SystemClock
    from meter.journal import open_journal

    config = read_config(pipelines, plugins, looking=True)
    clock = SystemClock()
    journal = open_journal(config.journal, clock, create=False)
    try:
        totals = journal.totals()
        strange = sorted(journal.sessions.collectors() - config.collectors.keys())
    finally:
        journal.close()
    if as_json:
        click.echo(json.dumps(_document(totals), indent=2, default=str))
    else:
        _print(totals, clock.now(), config.sinks)
    for name in strange:
        click.echo(
            f"warning: there are sessions of a collector {name!r}, and the file has none of that "
            "name: no pipeline takes them",
            err=True,
        )
    if not all(balance.balances for balance in totals.balances):
        raise SystemExit(1)


def _document(totals: JournalTotals) -> dict[str, Any]:
    document = asdict(totals)
    document["balances"] = [{**asdict(b), "balances": b.balances} for b in totals.balances]
    return document


def _print(totals: JournalTotals, now: datetime, sinks: Container[str]) -> None:
    recorded = sum(totals.events.values())
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(totals.events.items()))
    click.echo(f"recorded     {recorded} events" + (f": {kinds}" if kinds else ""))
    receipts = ", ".join(f"{n} {state}" for state, n in sorted(totals.receipts.items()))
    click.echo(f"receipts     {receipts or 'none'}")
    if totals.oldest_open_receipt is not None:
        click.echo(
            f"             the oldest open one is {_age(now, totals.oldest_open_receipt)} old"
        )
    sessions = ", ".join(f"{n} {state}" for state, n in sorted(totals.sessions.items()))
    if sessions or any(kind.startswith("stream_") for kind in totals.events):
        click.echo(f"sessions     {sessions or 'none open'}")
    quarantined = ", ".join(f"{n} from {name}" for name, n in sorted(totals.quarantined.items()))
    click.echo(f"quarantine   {quarantined or 'empty'}")
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
            f"{_age(now, balance.oldest_pending)} old" if balance.oldest_pending else "",
        )
        for balance in totals.balances
    ]
    header = (
        "sink",
        "recorded",
        *(p.replace("_", "-") for p in _PLACES),
        "balances",
        "oldest pending",
    )
    click.echo(table(header, rows, right=range(1, 8)))
    for balance in totals.balances:
        if balance.parked:
            click.echo(
                f"\n{balance.sink} is parked: {balance.parked}\n"
                "  put it right, then restart `meter run`"
            )


def _age(now: datetime, then: datetime) -> str:
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
