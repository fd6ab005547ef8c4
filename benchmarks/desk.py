"""What the operator asks, on a small journal and on a large one: it should cost about the same.

Two journals, made by direct inserts: a settled receipt for each event, a sink that has delivered
all but the last thousand and keeps some aside, and a new one that has been given nothing yet.
Then, in one run and by turns: `meter status`, one event's history, and the page's first view by
HTTP from a running meter. A `meter --version` beside them shows what a process costs by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from usage import bodies, timed

from meter.clock import SystemClock
from meter.journal import open_journal

TARGET: Final = 2
METER: Final = Path(sys.executable).with_name("meter")
FILE: Final = """
journal: journal.db
server: {port: 0}
collectors: {apps: {type: ingest, secret: a-secret-of-the-benchmark}}
sinks:
  report: {type: sqlite, path: report.db, start: now}
pipelines: {usage: {from: apps, to: report}}
"""
BEHIND: Final = 1000
MICROS: Final = 1_767_225_600_000_000


def build(folder: Path, count: int) -> None:
    """Make a journal of so many events, and add them up, as a running meter does."""
    path = folder / "journal.db"
    folder.mkdir()
    (folder / "pipelines.yaml").write_text(FILE)
    open_journal(str(path), SystemClock()).close()
    rows = bodies(count, 500, defaultdict(int))
    fields = '{"transcript_id": "%s", "status": "completed"}'
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        while some := list(itertools.islice(rows, 50_000)):
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO events (event_id, body) VALUES (?, ?)", some)
            connection.executemany(
                "INSERT INTO receipts (collector, received_at, query, fields, state, outcome,"
                " event_id) VALUES ('apps', ?, 'customer_id=customer-1&project_id=project-1', ?,"
                " 'settled', 'recorded', ?)",
                [(MICROS, fields % event_id[-32:], event_id) for event_id, _ in some],
            )
            connection.execute("COMMIT")
        connection.execute("INSERT INTO event_counts VALUES ('async_completed', ?)", (count,))
        connection.executemany(
            "INSERT INTO exceptions (sink, offset, state, reason, attempts, first_at, changed_at)"
            " VALUES ('ledger', ?, ?, 'no such meter', 1, 0, 0)",
            [(n, "dead" if n % 2 else "held") for n in range(1, 201)],
        )
        head = count - BEHIND
        connection.execute(
            "INSERT INTO sinks (name, type, checkpoint, delivered)"
            " VALUES ('ledger', 'sqlite', ?, ?)",
            (head, head - 200),
        )
        connection.executemany(
            "INSERT INTO deliveries (sink, purpose, first_offset, last_offset, delivered, at)"
            " VALUES ('ledger', 'new', ?, ?, ?, 0)",
            [(n + 1, min(n + 500, head), min(500, head - n)) for n in range(0, head, 500)],
        )
        connection.execute("INSERT INTO sinks (name, type, checkpoint) VALUES ('new', 'sqlite', 0)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with contextlib.closing(open_journal(str(path), SystemClock())) as journal:
        while journal.rollup.catch_up(10_000):
            pass


def command(folder: Path, *arguments: str) -> None:
    ran = subprocess.run([METER, *arguments], cwd=folder, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """A `meter run` that has delivered everything; yields its address."""
    with subprocess.Popen(
        [METER, "run"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found[0]
                    break
        finally:
            process.terminate()
            process.communicate()


def page(address: str) -> None:
    with urllib.request.urlopen(f"{address}/", timeout=60) as answer:
        assert b"</html>" in answer.read()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with (
        tempfile.TemporaryDirectory(prefix="meter-benchmark-") as place,
        contextlib.ExitStack() as on,
    ):
        works: list[tuple[str, str, Callable[[], object]]] = []
        for size, count in (("small", options.small), ("large", options.large)):
            folder = Path(place, size)
            build(folder, count)
            event = f"assemblyai:transcript:{count // 2:032x}"
            address = on.enter_context(running(folder))
            works += [
                ("meter --version", size, partial(command, folder, "--version")),
                ("meter status", size, partial(command, folder, "status")),
                ("meter events EVENT", size, partial(command, folder, "events", event)),
                ("the page", size, partial(page, address)),
            ]
        for _ in range(options.rounds):
            for name, size, work in works:
                times[name][size].append(timed(work))
    print(f"{options.small:,} and {options.large:,} events; medians of {options.rounds} rounds, ms")
    print(f"{'':>20}{'small':>10}{'large':>10}{'ratio':>8}   target: at most {TARGET}")
    for name, found in times.items():
        small, large = (statistics.median(found[size]) for size in ("small", "large"))
        met = "met" if large / small <= TARGET else "MISSED"
        print(f"{name:<20}{small * 1000:10.0f}{large * 1000:10.0f}{large / small:8.2f}   {met}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
