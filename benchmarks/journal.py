"""Durable appends per second: meter's journal with waiting producers, against a bare loop.

Contestants take turns, in rounds, with the same events (encoding them is part of the work),
each on a fresh file, with the same table and pragmas (WAL, `synchronous=FULL`):

- the floor: one thread that encodes N events, and commits them with one `executemany` under
  `BEGIN IMMEDIATE`, again and again; nobody waits for it, nobody is told;
- meter: N asyncio producers on uvloop, each of which appends one event and awaits its commit
  before the next, as N requests at once would.

Both refuse a repeated event id (UNIQUE, ON CONFLICT DO NOTHING). After each round every event
is counted in the file. The target stands for 64 producers; the other sizes show the shape.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Final

import uvloop

from meter.clock import SystemClock
from meter.events import AsyncCompleted, encode_event
from meter.journal import Journal, Recorded, open_journal

TARGET: Final = 0.8
TARGET_PRODUCERS: Final = 64
PRODUCERS: Final = (1, 16, 64, 256)
# As in meter/journal/sqlite_journal.py, where they are private.
PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "cache_size = -32768",
    "wal_autocheckpoint = 32000",
)
TABLE: Final = (
    "CREATE TABLE events (offset INTEGER PRIMARY KEY AUTOINCREMENT,"
    " event_id TEXT NOT NULL UNIQUE, body TEXT NOT NULL)"
)
INSERT: Final = "INSERT INTO events (event_id, body) VALUES (?, ?) ON CONFLICT DO NOTHING"


def make_events(count: int, seed: int) -> list[AsyncCompleted]:
    """Return events of random transcripts; the same seed gives the same ones."""
    chance = random.Random(seed)
    start = datetime(2026, 10, 1, tzinfo=UTC)
    return [
        AsyncCompleted(
            provider_id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            customer_id=f"customer-{chance.randrange(500)}",
            dimensions={"project_id": f"project-{chance.randrange(20)}"},
            collector="transcripts",
            occurred_at=start + timedelta(seconds=number),
            recorded_at=start + timedelta(seconds=number + 5),
            seconds=Decimal(chance.randrange(10_000, 3_600_000)) / 1000,
            model="universal",
            language="en",
        )
        for number in range(count)
    ]


def bare(path: Path, events: list[AsyncCompleted], size: int) -> float:
    """Commit events `size` at a time; return the seconds."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(TABLE)
        began = time.perf_counter()
        for start in range(0, len(events), size):
            rows = [(e.event_id, encode_event(e).decode()) for e in events[start : start + size]]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, rows)
            connection.execute("COMMIT")
        return time.perf_counter() - began


def meter(path: Path, events: list[AsyncCompleted], size: int) -> float:
    """Append events from `size` producers that each wait; return the seconds."""
    with (
        contextlib.closing(open_journal(str(path), SystemClock(), run=True)) as journal,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(produce(journal, events, size))


async def produce(journal: Journal, events: list[AsyncCompleted], size: int) -> float:
    queue = iter(events)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(size):
            group.create_task(producer(journal, queue))
    return time.perf_counter() - began


async def producer(journal: Journal, queue: Iterator[AsyncCompleted]) -> None:
    for event in queue:
        assert await journal.append([event]) == [Recorded.RECORDED]


def per_second(
    contestant: Callable[[Path, list[AsyncCompleted], int], float],
    events: list[AsyncCompleted],
    size: int,
) -> float:
    with tempfile.TemporaryDirectory(prefix="meter-benchmark-") as folder:
        path = Path(folder, "journal.db")
        seconds = contestant(path, events, size)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            ((stored,),) = connection.execute("SELECT count(*) FROM events")
        assert stored == len(events), f"{len(events)} appended, {stored} stored"
    return len(events) / seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=40_000, help="appended in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    events = make_events(options.events, options.seed)
    rates: dict[int, tuple[list[float], list[float]]] = {size: ([], []) for size in PRODUCERS}
    for _ in range(options.rounds):
        for size, (floor, ours) in rates.items():
            # A commit each is slow: one producer gets a tenth of the events.
            some = list(islice(events, len(events) if size > 1 else max(1, len(events) // 10)))
            floor.append(per_second(bare, some, size))
            ours.append(per_second(meter, some, size))

    print(f"events/s, medians of {options.rounds} rounds of {options.events:,} events")
    print(f"{'producers':>12}{'bare loop':>12}{'meter':>12}{'ratio':>8}")
    for size, (floor, ours) in rates.items():
        a, b = statistics.median(floor), statistics.median(ours)
        print(f"{size:12}{a:12,.0f}{b:12,.0f}{b / a:8.2f}")
    floor, ours = rates[TARGET_PRODUCERS]
    ratio = statistics.median(ours) / statistics.median(floor)
    print(
        f"target: at least {TARGET} with {TARGET_PRODUCERS} producers: "
        f"{'met' if ratio >= TARGET else 'MISSED'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
