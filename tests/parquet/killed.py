"""Delivers in processes that are killed at every call that changes something, one after another.

    python killed.py FOLDER EVERY FIRST STEP

FIRST is the number of the first call that kills, and every STEPth after it does. Prints a JSON
line for each moment: what readers saw after the kill, after the next opening, and
at the end. It forks from a process that has everything imported, so that a kill costs little.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from meter.clock import SystemClock
from meter.journal import open_journal
from parquet import reading
from parquet.conftest import drain, of_month, worker_of
from support.clocks import FakeClock
from support.plugging import plugins_with

OLD: Final = 6
NEW: Final = 6
"""Events of three months each: delivered whole before, and killed while they are delivered."""
CHANGES: Final = {"open", "mkdir", "rename", "fsync", "unlink", "execute"}
"""Names of what is called to change something."""
KILLED: Final = -signal.SIGKILL


def deliver(folder: Path, every: str, until: int = 0) -> None:
    """Deliver all there is, or die right before the call of that number."""
    clock = FakeClock()
    clock.advance(hours=1)
    journal = open_journal(str(folder / "m.db"), SystemClock())
    worker = worker_of(journal, clock, folder / "usage", every)
    left, begun = until, False

    def count(frame: Any, event: str, called: Any) -> None:
        nonlocal left, begun
        code = frame.f_code
        begun = begun or (code.co_name == "deliver" and "meter_parquet" in code.co_filename)
        if begun and event == "c_call" and called.__name__ in CHANGES:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if until:
        sys.setprofile(count)
    drain(worker)
    clock.advance(hours=1)  # what waited is due
    drain(worker)
    sys.setprofile(None)
    worker._close()
    journal.close()


def deliver_and_look(folder: Path, every: str) -> None:
    """Deliver all there is; write down what readers see before, once it is open, and then."""
    seen = [reading.ids(folder / "usage")]
    journal = open_journal(str(folder / "m.db"), SystemClock())
    worker = worker_of(journal, FakeClock(), folder / "usage", every)
    worker._open()
    seen.append(reading.ids(folder / "usage"))
    worker._close()
    journal.close()
    deliver(folder, every)
    seen.append(reading.ids(folder / "usage"))
    (folder / "seen.json").write_text(json.dumps(seen))


def forked(work: Callable[[], None]) -> int:
    """Do something in a process of its own, and return how that ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  because whatever it is, the parent hears of it
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def record(folder: Path, first: int, count: int) -> None:
    journal = open_journal(str(folder / "m.db"), SystemClock())
    journal.append([of_month(first + n) for n in range(count)]).wait()
    journal.close()


def main(folder: Path, every: str, first: int, step: int) -> None:
    plugins_with()  # imported once, for all
    before, there = folder / "before", folder / "there"
    before.mkdir()
    assert forked(partial(record, before, 0, OLD)) == 0
    assert forked(partial(deliver, before, every)) == 0
    assert forked(partial(record, before, OLD, NEW)) == 0
    ended, until = KILLED, first - step
    while ended == KILLED:
        # Who reads Parquet starts threads, and could not fork any more: that is for the children.
        assert threading.active_count() == 1
        until += step
        shutil.copytree(before, there)
        ended = forked(partial(deliver, there, every, until))
        went_on = forked(partial(deliver_and_look, there, every))
        seen = json.loads((there / "seen.json").read_text())
        left = sorted(path.name for path in (there / "usage" / "_meter").glob("*.part"))
        line = {"ended": ended, "went_on": went_on, "seen": seen, "left": left}
        sys.stdout.write(json.dumps(line) + "\n")
        shutil.rmtree(there)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
