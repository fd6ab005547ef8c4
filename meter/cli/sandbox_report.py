"""What a sandbox run ends with: who used what, whether it is exact, and where it all lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meter.commands.tables import table
from meter.events import format_seconds

if TYPE_CHECKING:
    from meter.journal import Journal
    from meter.sinks import Sink, Total

__all__ = ["report"]

_HIDDEN = (".lock", ".db-wal", ".db-shm")


def report(journal: Journal, folder: Path, expected: Decimal, sinks: Mapping[str, Sink]) -> bool:
    """Print the usage and where it stands; tell whether everything is as the doubles say.

    Args:
        journal: of the run.
        folder: where everything lies.
        expected: what the doubles would bill, seconds.
        sinks: by name, unopened; asked what their destinations count.
    """
    from meter.reports.usage import usage_by_customer

    usage = usage_by_customer(journal)
    counted = sum((u.seconds for u in usage), Decimal(0))
    most = max((u.seconds for u in usage), default=Decimal(0)) or Decimal(1)
    rows = [
        (
            u.customer_id,
            u.jobs,
            u.sessions,
            format_seconds(u.seconds),
            f"{u.seconds / 3600:.2f}",
            u.unbilled or "",
            "█" * max(1, int(u.seconds / most * 24)) if u.seconds else "",
        )
        for u in usage
    ]
    header = ("customer", "jobs", "sessions", "seconds", "hours", "not billed", "")
    click.echo()
    click.echo(table(header, rows, right=(1, 2, 3, 4, 5)))
    click.echo()
    agrees = counted == expected
    click.echo(
        f"{format_seconds(counted)} seconds recorded; AssemblyAI's doubles count "
        f"{format_seconds(expected)}: {'the same' if agrees else 'NOT the same'}."
    )
    balances = journal.totals().balances
    for balance in balances:
        state = "balances" if balance.balances else "DOES NOT BALANCE"
        other = balance.accounted - balance.delivered - balance.filtered
        click.echo(
            f"  {balance.sink}: {balance.recorded} recorded = {balance.delivered} delivered + "
            f"{balance.filtered} filtered + {other} other: {state}"
        )
    for name, sink in sinks.items():
        agrees = _totals(name, sink.totals()) and agrees
    click.echo(f"\nEverything lies in {folder}")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in _HIDDEN:
            click.echo(f"  {path.relative_to(folder)}")
    return agrees and all(b.balances and not b.pending for b in balances)


def _totals(name: str, totals: Sequence[Total]) -> bool:
    """Print what a destination counts, beside what was delivered to it; tell if it is the same."""
    if not totals:
        return True
    rows = [
        (
            total.whose,
            total.what,
            format_seconds(total.delivered),
            format_seconds(total.counted),
            total.unit,
            "yes" if total.delivered == total.counted else "NO",
        )
        for total in totals
    ]
    click.echo(f"\n{name}: what was delivered, and what the double of its destination counts")
    header = ("customer", "counted as", "delivered", "counted", "unit", "the same")
    click.echo(table(header, rows, right=(2, 3)))
    return all(total.delivered == total.counted for total in totals)
