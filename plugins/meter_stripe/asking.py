"""Having asked for something: it is done here, or a running `meter run` does it; wait for that."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from meter.commands import SinkDesk

__all__ = ["carried_out", "why_not"]

POLL_SECONDS: Final = 0.25
TRY_AGAIN: Final = 2.0
"""How often it is tried here after all: the process that was running may have ended."""


def carried_out(
    desk: SinkDesk, done: Callable[[], bool], *, seconds: float, waiting_for: str
) -> bool:
    """Have done what was asked for, and tell whether it is.

    Args:
        desk: of the sink; may deliver.
        done: looks.
        seconds: how long to wait for another process at most.
        waiting_for: shown while waiting, on a terminal.
    """
    deadline = time.monotonic() + seconds
    shows = sys.stderr.isatty()
    try_here = time.monotonic()
    while not done():
        now = time.monotonic()
        if now >= deadline:
            return False
        if now >= try_here:
            try_here = now + TRY_AGAIN
            if desk.deliver_now():
                return done()
        if shows:
            left = max(0, int(deadline - now))
            click.echo(f"\r  {waiting_for}; {left:3} s more at most ", err=True, nl=False)
        time.sleep(POLL_SECONDS)
    if shows:
        click.echo(err=True)
    return True


def why_not(desk: SinkDesk) -> str:
    """Say why nothing moves, as far as the journal tells."""
    row = desk.row()
    if row is not None and row.parked:
        return f"the sink is parked: {row.parked}; put it right, then restart `meter run`"
    return "it is asked for and stays so: a running `meter run` goes on with it by itself"
