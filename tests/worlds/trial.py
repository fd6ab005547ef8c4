"""One world from its number to the verdict."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from meter.clock import SystemClock
from meter.journal import open_journal
from meter.sinks import Sink
from meter_stripe.sink import StripeSink
from worlds.draws import World, draw_world
from worlds.running import Run, Unsettled
from worlds.verdict import Verdict, count, judge_books, judge_slots

MEMORY: Final = Path("/dev/shm")
"""A file system without a disk, where there is one: a world commits hundreds of times."""


@dataclass(frozen=True)
class Trial:
    """What became of one world: `seen` counts what happened, `log` tells it in words."""

    number: int
    verdict: Verdict
    seen: Counter[str]
    log: list[str]

    def __str__(self) -> str:
        faults = "".join(f"\n    {fault}" for fault in self.verdict.faults)
        return (
            f"world {self.number} (METER_WORLD={self.number} shows it):{faults or ' all is well'}"
        )


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """Give a folder for worlds, with an empty journal to copy."""
    place = Path(mkdtemp(dir=MEMORY if MEMORY.is_dir() else folder))
    try:
        open_journal(str(place / "empty.db"), SystemClock()).close()
        yield place
    finally:
        shutil.rmtree(place)


def trial(world: int | World, place: Path, sink: type[Sink] = StripeSink) -> Trial:
    """Run a world, and judge it. The ledger is judged too where the sink keeps one."""
    drawn = draw_world(world) if isinstance(world, int) else world
    folder = place / f"world-{drawn.number}"
    folder.mkdir()
    shutil.copy(place / "empty.db", folder / "m.db")
    with closing(sqlite3.connect(folder / "m.db")) as journal, journal:
        # Identifiers and their jitter derive from it: it must be the world's own.
        journal.execute("UPDATE meta SET value = ? WHERE key = 'journal_id'", (f"w{drawn.number}",))
    run = Run(drawn, folder, sink)
    try:
        try:
            run.run()
            verdict = judge_books(run)
            if issubclass(sink, StripeSink):
                judge_slots(run, verdict)
        except Unsettled as error:
            verdict = judge_books(run)
            verdict.fault(str(error))
        return Trial(drawn.number, verdict, count(run), run.log)
    finally:
        run.close()
        shutil.rmtree(folder)


def plainer(world: World) -> World:
    """Return a world in which a sender that rounds nothing and never holds has no excuse."""
    meters = tuple(replace(meter, unit="second") for meter in world.meters)
    return replace(
        world,
        meters=meters,
        late=None,
        report_lag_seconds=None,
        options={"period_day": "none"},
        shares={name: share for name, share in world.shares.items() if name != "rejected_later"},
    )
