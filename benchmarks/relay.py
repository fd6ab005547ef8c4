"""CPU time, delay and memory of meter's WebSocket relay, against a raw TCP relay on uvloop.

Subjects take turns, in rounds, each in a process of its own, with fresh ends around it: N
sessions (`relay_load.py`) that each send 20 frames of 3,200 bytes a second, evenly spread, and
hear a Turn of about 400 bytes a second from a provider (`relay_upstream.py`). `relay_run.py`
is one run.

- direct: no relay; what the two ends and the machine take by themselves;
- raw: the floor, `relay_raw.py`: two protocols that write what they read to each other, with
  back-pressure. It reads no token, opens no session, parses no frame, and its upstream sends no
  heartbeats;
- meter: `meter run` with a streaming collector, and a token of its own for every session.

Measured once all N are connected and warm, over a steady window: the relay's CPU time (all
threads) for each second of a session; the time from a frame's writing to its whole arrival
upstream (p50, p99), less the direct p99: what the relay adds; resident memory at the window's
end, less that with no session (after a first one that came and went), for each session; and
what it grew by within the window.

At the end of each run, each session must have had its Termination and close 1000, and each
frame must have arrived; and meter's journal must hold each session's `stream_terminated`, once,
with its customer and its seconds, and nothing else. If not, that is said, and the exit code is 1.

`--soak SECONDS` keeps 100 sessions on the last of `--subjects` for so long, and prints its
memory, CPU time and delay at intervals.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SUBJECTS: Final = ("direct", "raw", "meter")
RATIO_TARGET: Final = 0.6
ADDED_TARGET_MS: Final = 10.0
ADDED_TARGET_SESSIONS: Final = 300
MEMORY_TARGET_KB: Final = 100.0
SOAK_SESSIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Window:
    """What one window of one run showed."""

    subject: str
    sessions: int
    frames_share: float
    """How many of the frames that were due in the window came in it."""
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """CPU time of the relay for a second of one session, in milliseconds."""
    resident_kb: float
    session_kb: float
    growth_kb: float
    load_cpu: float
    upstream_cpu: float
    """What the ends themselves took, in cores."""


FIGURES: Final[tuple[Callable[[Window], float], ...]] = (
    lambda w: w.cpu_ms,
    lambda w: w.p50_ms,
    lambda w: w.p99_ms,
    lambda w: w.session_kb,
    lambda w: w.growth_kb,
)


def run(subject: str, sessions: int, seconds: float, windows: int = 1) -> Iterator[Window]:
    """Run one subject; yield each window. Exits with 1 when something was lost."""
    arguments = [subject, str(sessions), str(seconds), str(windows)]
    command = [sys.executable, str(Path(__file__).with_name("relay_run.py")), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                yield Window(**json.loads(line))
            if process.wait():
                sys.exit(1)  # it said why
        finally:
            process.terminate()


# -- rounds ----------------------------------------------------------------------------------


def print_table(windows: list[Window], subjects: Sequence[str]) -> None:
    """Print medians over the rounds, and whether what was aimed at was reached."""

    def middle(subject: str, sessions: int, figure: Callable[[Window], float]) -> float:
        some = [figure(w) for w in windows if (w.subject, w.sessions) == (subject, sessions)]
        return statistics.median(some) if some else math.nan

    titles = ("CPU ms/s", "raw/it", "p50 ms", "p99 ms", "added p99", "kB/session", "grew kB")
    print(f"{'':16}" + "".join(f"{title:>12}" for title in titles))
    targets: dict[str, bool] = {}
    for sessions in sorted({w.sessions for w in windows}):
        floor = middle("raw", sessions, lambda w: w.cpu_ms)
        direct = middle("direct", sessions, lambda w: w.p99_ms)
        for subject in subjects:
            row = [middle(subject, sessions, figure) for figure in FIGURES]
            cpu, p50, p99, kilobytes, grew = row
            ratio, added = floor / cpu if cpu else math.nan, p99 - direct
            print(f"{f'{sessions}, {subject}':16}", end="")
            relayed = (cpu, ratio, p50, p99, added, kilobytes, grew)
            plain = (math.nan, math.nan, p50, p99, math.nan, math.nan, math.nan)
            for shown in plain if subject == "direct" else relayed:
                print(f"{'' if math.isnan(shown) else f'{shown:.2f}':>12}", end="")
            print()
            if subject != "meter":
                continue
            targets[f"raw/meter at least {RATIO_TARGET} at {sessions}"] = ratio >= RATIO_TARGET
            targets[f"under {MEMORY_TARGET_KB:g} kB at {sessions}"] = kilobytes < MEMORY_TARGET_KB
            if sessions == ADDED_TARGET_SESSIONS:
                targets[f"adds under {ADDED_TARGET_MS:g} ms at {sessions}"] = (
                    added < ADDED_TARGET_MS
                )
    for target, met in targets.items():
        print(f"target: {target}: {'met' if met else 'MISSED'}")


def rounds(options: argparse.Namespace) -> None:
    windows: list[Window] = []
    for sessions in options.sessions:
        for number in range(options.rounds):
            for subject in options.subjects[:: -1 if number % 2 else 1]:
                windows += run(subject, sessions, options.seconds)
    if options.json:
        print(json.dumps([asdict(window) for window in windows]))
    print(f"medians of {options.rounds} round(s), windows of {options.seconds:g} s")
    print_table(windows, options.subjects)
    for w in windows:
        if not 0.97 < w.frames_share < 1.03:
            print(
                f"note: {w.sessions}, {w.subject}: {w.frames_share:.0%} of the frames were in time"
            )
    print("every frame arrived, and every session had its Termination", end="")
    print("; the journal holds each of meter's once" if "meter" in options.subjects else "")


def soak(options: argparse.Namespace) -> None:
    subject = options.subjects[-1]
    count = max(2, round(options.soak / max(options.seconds, options.soak / 60)))
    seconds = options.soak / count
    print(f"{SOAK_SESSIONS} sessions on {subject} for {options.soak:g} s")
    print("".join(f"{title:>12}" for title in ("s", "resident kB", "CPU ms/s", "p50 ms", "p99 ms")))
    resident = []
    for number, w in enumerate(run(subject, SOAK_SESSIONS, seconds, windows=count), start=1):
        resident.append(w.resident_kb)
        row = (number * seconds, w.resident_kb, w.cpu_ms, w.p50_ms, w.p99_ms)
        print("".join(f"{figure:12,.2f}" for figure in row), flush=True)
        if options.json:
            print(json.dumps(asdict(w)), flush=True)
    half = resident[len(resident) // 2 :]
    print(
        f"grew by {resident[-1] - resident[0]:,.0f} kB, "
        f"in the second half by {half[-1] - half[0]:,.0f}"
    )
    print("every frame arrived, and every session had its Termination")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=numbers, default=[100, 300, 700], metavar="N,…")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a window")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subjects", type=names, default=list(SUBJECTS), metavar="NAME,…")
    parser.add_argument("--json", action="store_true", help="print every window as JSON")
    parser.add_argument(
        "--soak", type=float, metavar="SECONDS", help="keep 100 sessions on the last subject"
    )
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # so that processes are ended
    (soak if options.soak else rounds)(options)
    return 0


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def names(text: str) -> list[str]:
    """Return subjects, in their own order."""
    if unknown := set(text.split(",")) - set(SUBJECTS):
        raise argparse.ArgumentTypeError(f"no such subject: {', '.join(sorted(unknown))}")
    return [name for name in SUBJECTS if name in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
