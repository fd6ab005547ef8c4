"""What a command costs before it does anything: wall time of whole processes.

Contestants take turns, in rounds, and each figure is the median over the rounds:

- the floor: the same interpreter importing click, pluggy and PyYAML and nothing else;
- `meter --help`, which has to stay within 1.8 times the floor;
- `meter check FILE`, for information: it reads a file with the bundled collectors and sinks,
  so it pays for pydantic, too;
- a bare interpreter, for information: nobody can be faster.

With `--imports` it also prints the modules that `meter --help` imports beyond the floor's, the
dearest first (microseconds, from `-X importtime`, one run: read them as an order).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

TARGET: Final = 1.8
FLOOR: Final = "import click, pluggy, yaml"
METER: Final = "import sys; from meter.cli import main; sys.argv[0] = 'meter'; main()"

PIPELINES: Final = """\
journal: meter.db
collectors:
  transcripts: {type: webhook, api_key: a-key, secret: a-secret}
  import: {type: jsonl, path: events.jsonl}
sinks:
  ledger: {type: sqlite, path: usage.db}
  export: {type: csv, path: "exports/usage-{month}.csv"}
pipelines:
  usage: {from: [transcripts, import], to: [ledger, export]}
"""


def seconds_of(command: list[str]) -> float:
    """Run a command to its end and return its wall time in seconds."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def imported(command: list[str]) -> dict[str, int]:
    """Return what each module that a command imports costs by itself, in microseconds."""
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    costs = {}
    for line in told.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        if own.strip().isdigit():
            costs[rest.partition("|")[2].strip()] = int(own)
    return costs


def print_imports() -> None:
    tracing = [sys.executable, "-X", "importtime", "-c"]
    floor = imported([*tracing, FLOOR])
    ours = imported([*tracing, METER, "--help"])
    extra = {name: cost for name, cost in ours.items() if name not in floor}
    print(f"\n{len(extra)} modules beyond the floor's, {sum(extra.values()) / 1000:.1f} ms traced:")
    for name, cost in sorted(extra.items(), key=lambda item: -item[1])[:25]:
        print(f"  {cost:8,} µs  {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--imports", action="store_true", help="also list what is imported")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="meter-benchmark-") as folder:
        pipelines = Path(folder, "pipelines.yaml")
        pipelines.write_text(PIPELINES)
        contestants = {
            "click, pluggy, yaml (floor)": [sys.executable, "-c", FLOOR],
            "meter --help": [sys.executable, "-c", METER, "--help"],
            "meter check": [sys.executable, "-c", METER, "check", str(pipelines)],
            "bare interpreter": [sys.executable, "-c", "pass"],
        }
        taken: dict[str, list[float]] = {name: [] for name in contestants}
        for command in contestants.values():  # the first run compiles and warms the disk's cache
            seconds_of(command)
        for _ in range(options.rounds):
            for name, command in contestants.items():
                taken[name].append(seconds_of(command))

    floor, helped, *_ = (statistics.median(times) for times in taken.values())
    print(f"{'':30}{'ms (median)':>12}{'least':>8}{'ratio':>8}")
    for name, times in taken.items():
        middle = statistics.median(times)
        print(f"{name:30}{middle * 1000:12.1f}{min(times) * 1000:8.1f}{middle / floor:8.2f}")
    verdict = "met" if helped / floor <= TARGET else "MISSED"
    print(f"target: meter --help at most {TARGET} of the floor: {verdict}")
    if options.imports:
        print_imports()
    return 0


if __name__ == "__main__":
    sys.exit(main())
