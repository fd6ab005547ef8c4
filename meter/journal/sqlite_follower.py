"""A thread of the one running process that keeps the rollup near the events.

Nothing depends on it: whoever asks adds up what it has not reached. So it works only when a
good number of events waits, and gives way while more are coming in.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Final

from meter.errors import MeterError

if TYPE_CHECKING:
    from meter.journal.rollup import Rollup

__all__ = ["Follower"]

_log = logging.getLogger("meter.journal")

CHUNK: Final = 1000
"""Events added up at once, and how many must wait before it is worth a transaction."""
LOOK_SECONDS: Final = 0.25
"""The least time from events that were recorded to a look at how many wait."""
REST: Final = 40
"""While events come in, it rests so many times as long as it worked."""
TROUBLE_SECONDS: Final = 60.0


class Follower:
    """Catches up in the background, from the first event that this process records."""

    def __init__(self, rollup: Rollup) -> None:
        """Do nothing yet; the thread starts with the first `notice`."""
        self._rollup = rollup
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def notice(self) -> None:
        """Hear that events were recorded; costs next to nothing, and is called by one thread."""
        if self._thread is None:
            with self._guard:
                if self._ending.is_set():
                    return
                self._thread = threading.Thread(target=self._run, name="meter-rollup", daemon=True)
                self._thread.start()
        if not self._wake.is_set():
            self._wake.set()

    def stop(self) -> None:
        """End after the transaction in hand."""
        with self._guard:
            self._ending.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        # `stop` sets the ending first, so that clearing the other cannot lose it.
        while not self._ending.is_set():
            self._wake.wait()
            self._ending.wait(LOOK_SECONDS)
            self._wake.clear()
            try:
                self._follow()
            except (MeterError, sqlite3.Error) as error:
                # The events are safe, and whoever asks adds up the rest.
                _log.warning("rollup.behind", extra={"error": str(error)})
                self._ending.wait(TROUBLE_SECONDS)

    def _follow(self) -> None:
        while not self._ending.is_set() and self._rollup.behind() >= CHUNK:
            began = time.monotonic()
            self._rollup.catch_up(CHUNK)
            worked = time.monotonic() - began
            busy = self._wake.is_set()
            self._wake.clear()
            self._ending.wait(worked * (REST if busy else 1))
