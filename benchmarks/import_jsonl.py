"""Importing a file of events, as whole processes: bare scripts, and `meter run --once`.

One file is made once, from a seed, with random transcript ids; then contestants take turns.
Each runs as a process of its own, so that wall time and peak memory (`ru_maxrss`) are the
whole cost, the interpreter's start included. Afterwards rows are counted and seconds summed.

- The bare SQLite script reads lines, decodes them with msgspec, and inserts 10,000 rows a commit
  (`executemany`, ON CONFLICT DO NOTHING on the event id, WAL, `synchronous=FULL`) into one
  table with the columns of meter's `usage`. It checks nothing and derives only the id.
- The bare CSV script decodes alike, drops ids that it saw (a set in memory), and writes with
  csv.writer, with an fsync every 10,000 rows.
- meter checks every event, makes it durable in its journal under an id that is unique for
  ever, filters it, and delivers it from there with a checkpoint: it writes everything twice,
  and its SQLite table carries an index for the questions that people ask.

meter runs at a tenth of the size, too: the two peaks tell whether memory grows with the file.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

TARGET: Final = 0.35
MEMORY_TARGET_MB: Final = 200
BATCH: Final = 10_000
COLUMNS: Final = (
    "event_id",
    "kind",
    "customer_id",
    "seconds",
    "microseconds",
    "provider_id",
    "collector",
    "occurred_at",
    "recorded_at",
    "model",
    "audio_seconds",
    "dimensions",
)
METER: Final = "import sys; from meter.cli import main; sys.argv[0] = 'meter'; main()"
PIPELINES: Final = {
    "sqlite": "{type: sqlite, path: usage.db}",
    "csv": "{type: csv, path: usage.csv}",
}


def write_events(path: Path, count: int, seed: int) -> int:
    """Write events, one a line; return the sum of their seconds in microseconds."""
    chance = random.Random(seed)
    start = datetime(2026, 10, 1, tzinfo=UTC)
    total = 0
    with path.open("w") as file:
        for number in range(count):
            millis = chance.randrange(10_000, 3_600_000)
            total += millis * 1000
            occurred = start + timedelta(seconds=number % 2_500_000)
            event = {
                "kind": "async_completed",
                "provider_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                "customer_id": f"customer-{chance.randrange(500)}",
                "dimensions": {
                    "project_id": f"project-{chance.randrange(20)}",
                    "order_id": f"order-{chance.randrange(10**9)}",
                },
                "collector": "import",
                "occurred_at": f"{occurred:%Y-%m-%dT%H:%M:%S}Z",
                "recorded_at": f"{occurred + timedelta(seconds=5):%Y-%m-%dT%H:%M:%S}Z",
                "seconds": millis / 1000,
                "model": "universal",
                "language": "en",
                "features": ["speaker_labels"],
                "channels": 1,
            }
            file.write(json.dumps(event, separators=(",", ":")) + "\n")
    return total


# -- the bare scripts ------------------------------------------------------------------------


def rows_of(source: Path) -> Iterator[tuple[Any, ...]]:
    """Yield the row of each line, in the columns' order."""
    decode = msgspec.json.Decoder().decode
    encode = msgspec.json.Encoder().encode
    with source.open("rb") as file:
        for line in file:
            event = decode(line)
            seconds = event["seconds"]
            yield (
                f"assemblyai:transcript:{event['provider_id']}",
                event["kind"],
                event["customer_id"],
                str(seconds),
                round(seconds * 1_000_000),
                event["provider_id"],
                event["collector"],
                event["occurred_at"],
                event["recorded_at"],
                event["model"],
                None,
                encode(event["dimensions"]).decode(),
            )


def bare_sqlite(source: Path, folder: Path) -> None:
    connection = sqlite3.connect(folder / "usage.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    columns = ", ".join(
        f"{name} {'INTEGER' if name == 'microseconds' else 'TEXT'}" for name in COLUMNS
    )
    connection.execute(f"CREATE TABLE usage ({columns}, PRIMARY KEY (event_id))")
    insert = f"INSERT INTO usage VALUES ({', '.join('?' * len(COLUMNS))}) ON CONFLICT DO NOTHING"
    rows = rows_of(source)
    while some := list(islice(rows, BATCH)):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, some)
        connection.execute("COMMIT")
    connection.close()


def bare_csv(source: Path, folder: Path) -> None:
    seen: set[str] = set()
    micros = COLUMNS.index("microseconds")
    with (folder / "usage.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([name for name in COLUMNS if name != "microseconds"])
        rows = rows_of(source)
        while some := list(islice(rows, BATCH)):
            for row in some:
                if row[0] not in seen:
                    seen.add(row[0])
                    writer.writerow(row[:micros] + row[micros + 1 :])
            file.flush()
            os.fsync(file.fileno())


BARE: Final[dict[str, Callable[[Path, Path], None]]] = {"sqlite": bare_sqlite, "csv": bare_csv}


# -- running and checking --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """What one process took: wall seconds, and its peak memory in megabytes (10^6 bytes)."""

    seconds: float
    peak_mb: float


def run(contestant: str, sink: str, source: Path, count: int, total: int) -> Result:
    """Run one contestant in a fresh folder beside the source, and check what it wrote."""
    with tempfile.TemporaryDirectory(dir=source.parent) as name:
        folder = Path(name)
        if contestant == "bare":
            command = [sys.executable, __file__, "--bare", sink, str(source), str(folder)]
        else:
            pipelines = folder / "pipelines.yaml"
            pipelines.write_text(
                "journal: meter.db\n"
                f"collectors:\n  import: {{type: jsonl, path: '{source}'}}\n"
                f"sinks:\n  out: {PIPELINES[sink]}\n"
                "pipelines:\n  usage: {from: [import], to: [out]}\n"
            )
            command = [sys.executable, "-c", METER, "run", str(pipelines)]
            command += ["--once", "--log-level", "error"]
        began = time.perf_counter()
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{contestant} {sink} ended with {process.returncode}"
        found = counted(sink, folder)
        assert found == (count, total), f"{contestant} {sink}: {found}, not {(count, total)}"
    return Result(seconds, usage.ru_maxrss * 1024 / 1e6)


def counted(sink: str, folder: Path) -> tuple[int, int]:
    """Return how many distinct events were written, and the sum of their microseconds."""
    if sink == "sqlite":
        with contextlib.closing(sqlite3.connect(folder / "usage.db")) as connection:
            ((rows, total),) = connection.execute("SELECT count(*), sum(microseconds) FROM usage")
            return rows, total
    ids: set[str] = set()
    total = 0
    with (folder / "usage.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert row["event_id"] not in ids, f"{row['event_id']} stands there twice"
            ids.add(row["event_id"])
            total += round(float(row["seconds"]) * 1_000_000)
    return len(ids), total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sinks", nargs="+", choices=sorted(BARE), default=["sqlite", "csv"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bare", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        sink, source, folder = options.bare
        BARE[sink](Path(source), Path(folder))
        return 0

    results: dict[tuple[str, str], list[Result]] = {}
    small: dict[str, Result] = {}
    with tempfile.TemporaryDirectory(prefix="meter-benchmark-") as folder:
        source, tenth = Path(folder, "events.jsonl"), Path(folder, "tenth.jsonl")
        total = write_events(source, options.events, options.seed)
        tenth_total = write_events(tenth, options.events // 10, options.seed)
        megabytes = source.stat().st_size / 1e6
        for sink in options.sinks:
            small[sink] = run("meter", sink, tenth, options.events // 10, tenth_total)
            for _ in range(options.rounds):
                for contestant in ("bare", "meter"):
                    result = run(contestant, sink, source, options.events, total)
                    results.setdefault((sink, contestant), []).append(result)

    print(f"{options.events:,} events, {megabytes:.0f} MB; medians of {options.rounds} round(s)")
    print(f"{'':16}{'seconds':>10}{'events/s':>12}{'peak MB':>10}{'ratio':>8}")
    for sink in options.sinks:
        bare = statistics.median(r.seconds for r in results[sink, "bare"])
        for contestant in ("bare", "meter"):
            some = results[sink, contestant]
            seconds = statistics.median(r.seconds for r in some)
            print(
                f"{sink + ', ' + contestant:16}{seconds:10.2f}{options.events / seconds:12,.0f}"
                f"{max(r.peak_mb for r in some):10.0f}{bare / seconds:8.2f}"
            )
        print(
            f"{'  a tenth of it':16}{small[sink].seconds:10.2f}{'':12}{small[sink].peak_mb:10.0f}"
        )
        ratio = bare / statistics.median(r.seconds for r in results[sink, "meter"])
        peak = max(r.peak_mb for r in results[sink, "meter"])
        verdict = "" if sink != "sqlite" else "met; " if ratio >= TARGET else "MISSED; "
        print(
            f"  {f'target at least {TARGET}: ' if verdict else ''}{verdict}"
            f"peak under {MEMORY_TARGET_MB} MB: {'met' if peak < MEMORY_TARGET_MB else 'MISSED'}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
