"""`meter usage` by customer and month, against the bare GROUP BY; and what the rollup costs.

First a journal of a year of events, by direct inserts, in the order of time. Then, in one run:

- the floor: `SELECT customer, month, sum(seconds) … GROUP BY 1, 2` over the table of events, by
  json_extract, on a connection with the journal's pragmas; its sums are floats;
- meter: the same question to `meter.reports.usage`, exact, with the rollup as it is kept; then
  the command as a process, in UTC and in a zone whose months begin at no UTC day; and the scan
  that answers where the rollup cannot.

The sums of both are compared with those of the generator. Filling the rollup of a journal that
has none is timed once. Last, ingest: 64 asyncio producers that each wait for their commit, and
one that appends 500 events at a time, on fresh journals by turns, with the rollup following
(as in `meter run`) and without.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import uvloop

from meter.clock import SystemClock
from meter.events import AsyncCompleted
from meter.journal import Journal, open_journal
from meter.reports.usage import Question, usage

TARGET: Final = 10
INGEST_TARGET: Final = 0.9
# As in meter/journal/sqlite_journal.py, where they are private.
PRAGMAS: Final = ("journal_mode = WAL", "cache_size = -32768")
YEAR: Final = 365 * 86_400
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
MODELS: Final = ("universal-2", "universal-3-pro", "slam-1")
BARE: Final = (
    "SELECT json_extract(body, '$.customer_id'), substr(json_extract(body, '$.occurred_at'), 1, 7),"
    " sum(json_extract(body, '$.seconds')) FROM events GROUP BY 1, 2"
)
FILE: Final = (
    "journal: usage.db\ncollectors: {apps: {type: ingest, secret: benchmark}}\n"
    "sinks: {ledger: {type: sqlite, path: ledger.db}}\n"
    "pipelines: {usage: {from: apps, to: ledger}}\n"
)
Truth = dict[tuple[str, str], int]
"""Milliseconds by customer and month in UTC."""


def bodies(count: int, customers: int, truth: Truth) -> Iterator[tuple[str, str]]:
    """Yield ids and events, as meter writes them; and add them up."""
    chance = random.Random(1)
    for number in range(count):
        at = f"{START + timedelta(seconds=number * YEAR // count):%Y-%m-%dT%H:%M:%S}Z"
        customer = f"customer-{chance.randrange(customers)}"
        millis = chance.randrange(10_000, 3_600_000)
        truth[customer, at[:7]] += millis
        event_id = f"assemblyai:transcript:{number:032x}"
        body = (
            f'{{"kind":"async_completed","event_id":"{event_id}","provider":"assemblyai",'
            f'"provider_id":"{number:032x}","customer_id":"{customer}",'
            f'"dimensions":{{"project_id":"project-{number % 20}"}},"collector":"transcripts",'
            f'"occurred_at":"{at}","recorded_at":"{at}","seconds":{millis // 1000}.'
            f'{millis % 1000:03},"model":"{chance.choice(MODELS)}","language":"en",'
            f'"features":["speaker_labels"],"channels":null}}'
        )
        yield event_id, body


def build(path: Path, count: int, customers: int) -> Truth:
    """Make the journal, and put events into it behind its back; return what is true of them."""
    open_journal(str(path), SystemClock()).close()
    truth: Truth = defaultdict(int)
    rows = bodies(count, customers, truth)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        while some := list(itertools.islice(rows, 50_000)):
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO events (event_id, body) VALUES (?, ?)", some)
            connection.execute("COMMIT")
        connection.execute("INSERT INTO event_counts VALUES ('async_completed', ?)", (count,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return truth


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bare(path: Path, truth: Truth) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        found = {(c, m): round(seconds * 1000) for c, m, seconds in connection.execute(BARE)}
    assert found == truth


def meters(journal: Journal, truth: Truth) -> None:
    rows = usage(journal, Question(by=("customer", "month"), zone=ZoneInfo("UTC")))
    assert {row.group: row.nanos for row in rows} == {k: n * 10**6 for k, n in truth.items()}


def command(folder: Path, *options: str) -> None:
    meter = Path(sys.executable).with_name("meter")
    ran = subprocess.run(
        [meter, "usage", "--format", "csv", *options], cwd=folder, capture_output=True, check=True
    )
    assert ran.stdout.count(b"\n") > 1


def make_events(count: int) -> list[AsyncCompleted]:
    chance = random.Random(2)
    return [
        AsyncCompleted(
            provider_id=f"{number:032x}",
            customer_id=f"customer-{chance.randrange(500)}",
            dimensions={"project_id": f"project-{number % 20}"},
            collector="transcripts",
            occurred_at=START + timedelta(seconds=number),
            recorded_at=START + timedelta(seconds=number + 5),
            seconds=Decimal(chance.randrange(10_000, 3_600_000)) / 1000,
            model=chance.choice(MODELS),
            language="en",
        )
        for number in range(count)
    ]


def ingest(events: list[AsyncCompleted], producers: int, size: int, *, follow: bool) -> float:
    """Append events on a fresh journal, each producer `size` at once; return events a second."""
    with (
        tempfile.TemporaryDirectory(prefix="meter-benchmark-") as folder,
        contextlib.closing(
            open_journal(str(Path(folder, "journal.db")), SystemClock(), run=follow)
        ) as journal,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        began = time.perf_counter()
        runner.run(produce(journal, events, producers, size))
        seconds = time.perf_counter() - began
        assert journal.head() == len(events)
    return len(events) / seconds


async def produce(
    journal: Journal, events: list[AsyncCompleted], producers: int, size: int
) -> None:
    batches = iter([events[start : start + size] for start in range(0, len(events), size)])

    async def producer() -> None:
        for batch in batches:
            await journal.append(batch)

    async with asyncio.TaskGroup() as group:
        for _ in range(producers):
            group.create_task(producer())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ingest", type=int, default=60_000, help="events of an ingest round")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="meter-benchmark-") as place:
        folder = Path(place)
        path = folder / "usage.db"
        (folder / "pipelines.yaml").write_text(FILE)
        truth = build(path, options.events, options.customers)
        size = path.stat().st_size
        with contextlib.closing(open_journal(str(path), SystemClock())) as journal:
            filled = timed(lambda: meters(journal, truth))
            contestants: dict[str, Callable[[], object]] = {
                "bare GROUP BY": lambda: bare(path, truth),
                "meter's sums": lambda: meters(journal, truth),
                "meter usage": lambda: command(folder, "--by", "customer,month"),
                "  Pacific/Auckland": lambda: command(
                    folder, "--by", "customer,month", "--tz", "Pacific/Auckland"
                ),
                "  by day, New York": lambda: command(
                    folder, "--by", "day", "--tz", "America/New_York"
                ),
            }
            times: dict[str, list[float]] = {name: [] for name in contestants}
            for _ in range(options.rounds):
                for name, work in contestants.items():
                    times[name].append(timed(work))
            scan = timed(lambda: command(folder, "--by", "dimension.project_id"))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        growth = path.stat().st_size / size - 1
    medians = {name: statistics.median(found) for name, found in times.items()}
    floor = medians["bare GROUP BY"]
    print(f"{options.events:,} events, {options.customers:,} customers, a year; medians of "
          f"{options.rounds} rounds")  # fmt: skip
    print(f"{'':>20}{'seconds':>10}{'times faster':>14}")
    for name, seconds in medians.items():
        print(f"{name:<20}{seconds:10.3f}{floor / seconds:14.1f}")
    print(f"{'a dimension (scan)':<20}{scan:10.3f}{floor / scan:14.1f}")
    print(f"filling an empty rollup: {filled:.1f} s; the file grows by {growth:.0%}")
    met = floor / medians["meter usage"] >= TARGET
    print(f"target: at least {TARGET} times faster, as a command: {'met' if met else 'MISSED'}")

    events = make_events(options.ingest)
    print(f"\ningest of {options.ingest:,} events a round, events/s")
    print(f"{'':>20}{'without':>12}{'following':>12}{'ratio':>8}")
    for title, producers, size in (("64 producers", 64, 1), ("500 at once", 1, 500)):
        rates: dict[bool, list[float]] = {False: [], True: []}
        for number in range(options.rounds):
            for follow in (False, True) if number % 2 else (True, False):
                rates[follow].append(ingest(events, producers, size, follow=follow))
        without, following = (statistics.median(rates[follow]) for follow in (False, True))
        met = following / without >= INGEST_TARGET
        print(f"{title:>20}{without:12,.0f}{following:12,.0f}{following / without:8.2f}"
              f"  target: at least {INGEST_TARGET}: {'met' if met else 'MISSED'}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
