"""`meter stripe flush`: everything leaves now, whatever pace is kept otherwise."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from meter.commands.arguments import naming
from meter.commands.tables import one_line
from meter_stripe.asking import POLL_SECONDS, why_not
from meter_stripe.flushing import ask_to_flush
from meter_stripe.printing import counted

if TYPE_CHECKING:
    from pathlib import Path

    from meter.commands import SinkDesk

__all__ = ["flush"]

SHARE: Final = 4
"""Looking takes at most one part in so many of the time."""
SHOWN: Final = 20


def flush(desk: SinkDesk, *, seconds: float, pipelines: Path) -> int:
    """Send all that can be sent; return the exit code: 1 when something is left.

    Args:
        desk: of a sink `stripe`; may deliver.
        seconds: how long to wait for a running `meter run`.
        pipelines: the file, for the commands that are printed.
    """
    state = desk.context.state
    before = _delivered(desk)
    ran = desk.deliver_now()
    if not ran:
        state.commit([ask_to_flush(state, desk.clock.now())])
        click.echo("the running `meter run` is asked to send everything now")
        _wait(desk, seconds)
    row = desk.row()
    parked = None if row is None else row.parked
    if row is not None and (parked or row.trouble):
        said = f"is parked: {one_line(parked)}" if parked else f"fails: {one_line(row.trouble)}"
        then = "ask again" if ran else "restart `meter run`"
        way_out = f"; put it right, then {then}" if parked else ""
        click.echo(f"meter: the sink {desk.name} {said}{way_out}", err=True)
    click.echo(f"{counted(_delivered(desk) - before, 'event')} delivered")
    left = Counter((standing.where, standing.reason) for standing in desk.standings(unsettled=True))
    if not left:
        click.echo("nothing is left")
        return 1 if parked else 0
    click.echo(f"left: {counted(left.total(), 'event')}")
    for (where, reason), count in left.most_common(SHOWN):
        click.echo(f"  {count:,} {where}: {one_line(reason) or why_not(desk)}")
    if len(left) > SHOWN:
        click.echo(f"  and for {len(left) - SHOWN:,} more reasons")
    click.echo(f"`meter stripe plan{naming(pipelines)}` says what would be sent")
    return 1


def _delivered(desk: SinkDesk) -> int:
    row = desk.row()
    return 0 if row is None else row.delivered


def _wait(desk: SinkDesk, seconds: float) -> None:
    """Return once nothing is pending or on its way, or when it takes too long."""
    deadline = time.monotonic() + seconds
    shows = sys.stderr.isatty()
    before = _delivered(desk)
    while True:
        began = time.monotonic()
        moving = any(s.where in ("pending", "retrying") for s in desk.standings(unsettled=True))
        row = desk.row()
        if not moving or (row is not None and row.parked):
            break
        now = time.monotonic()
        if now >= deadline:
            break
        if shows:
            words = f"{_delivered(desk) - before:,} events delivered"
            click.echo(f"\r  {words}; {int(deadline - now):3} s more at most ", err=True, nl=False)
        time.sleep(max(POLL_SECONDS, SHARE * (now - began)))
    if shows:
        click.echo(err=True)
