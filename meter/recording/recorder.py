"""The recorder: what any code that holds a streaming WebSocket uses to have it metered."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from meter.clock import SystemClock
from meter.recording.courier import Courier
from meter.recording.destinations import destination_of
from meter.recording.session import RecordedSession, whose
from meter.recording.spool import Spool, default_folder

if TYPE_CHECKING:
    from meter.clock import Clock

__all__ = ["Recorder"]

EXIT_SECONDS: Final = 2.0
"""What the end of the interpreter is delayed by at most."""


class Recorder:
    """Records streaming sessions to a running meter, or straight into a journal file.

    Whatever meter does, the sessions go on: nothing here raises into them, waits, or changes a
    message. Begin and Termination are written to a spool on disk by a thread of the recorder's
    own, and stay there until meter has answered that it has them; after a crash, the next
    recorder for the same destination delivers them. At the end of the interpreter up to 2 s are
    spent on delivering the rest; what is left by then stays in the spool.

    Not promised: an item that was fed within the last milliseconds before a `kill -9` may not
    have reached the disk.

    Args:
        to: the base URL of a running meter with a collector of `type: ingest` (mounted at its
            default path), or the path of a journal file. A file is made if there is none.
        secret: for a URL: the ingest collector's secret; by default the environment variable
            METER_INGEST_SECRET.
        collector: for a file: the collector in pipelines.yaml that this usage counts as.
        spool: a folder for what waits; by default one in $XDG_STATE_HOME/meter/spool, or in
            ~/.local/state. Several processes and destinations may share it.
        clock: tells when a message came.

    Raises:
        ValueError: an argument cannot be used; the text says which, and why.
    """

    def __init__(
        self,
        to: str | os.PathLike[str],
        *,
        secret: str | None = None,
        collector: str | None = None,
        spool: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start the recorder's thread, which first delivers what dead processes left."""
        self._destination = destination_of(to, secret=secret, collector=collector)
        if spool is not None and not os.fspath(spool):
            raise ValueError("spool: expected the path of a folder")
        key = self._destination.key
        self._folder = default_folder(key) if spool is None else Path(spool).expanduser().absolute()
        self._clock = SystemClock() if clock is None else clock
        self._closed = self._flushed = False
        self._after_fork: list[Courier] = []
        self._starting = threading.Lock()
        self._courier = self._new_courier()
        self._is_started = False
        self.courier()
        atexit.register(self._at_exit)
        os.register_at_fork(after_in_child=_Forked(self))

    def __repr__(self) -> str:
        return f"Recorder({self._destination.to!r})"

    def session(
        self, *, customer_id: str, dimensions: Mapping[str, str] | None = None
    ) -> RecordedSession:
        """Return what takes the messages of one streaming session.

        Args:
            customer_id: whose session it is; opaque text, taken exactly as given.
            dimensions: further text by name, such as `project_id`.

        Raises:
            ValueError: an argument cannot be used.
        """
        customer, given = whose(customer_id, dimensions)
        return RecordedSession(customer, given, courier=self.courier, clock=self._clock)

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until everything fed before is recorded; tell whether it is.

        It blocks: within asyncio, call it with `asyncio.to_thread`. What is not recorded in time
        is tried again later.

        Args:
            timeout_seconds: the longest wait.
        """
        return not self._closed and self.courier().flush(timeout_seconds)

    def close(self, timeout_seconds: float = 10.0) -> bool:
        """Flush, and end the thread; tell whether everything was recorded.

        What was not stays in the spool for the next recorder. What is fed from now on is lost,
        and logged.

        Args:
            timeout_seconds: the longest wait for meter; ending itself takes a little longer.
        """
        if self._closed:
            return self._flushed
        courier = self.courier()
        self._closed = True
        atexit.unregister(self._at_exit)
        until = time.monotonic() + timeout_seconds
        self._flushed = courier.flush(timeout_seconds)
        courier.stop(max(0.5, until - time.monotonic()))
        return self._flushed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def courier(self) -> Courier:
        """Return who carries items away in this process; a forked child gets its own."""
        if not self._is_started:
            with self._starting:
                if not self._is_started:
                    self._is_started = self._courier.start()
        return self._courier

    def _new_courier(self) -> Courier:
        spool = Spool(self._folder, self._destination.key)
        return Courier(self._destination, spool, self._clock)

    def _at_exit(self) -> None:
        if self._is_started:  # a forked child that recorded nothing has nothing to end
            self.close(EXIT_SECONDS)

    def forked(self) -> None:
        """Leave the parent's thread, files and locks to the parent."""
        # The old courier's loop must never be closed or collected here: its poll set is shared.
        self._after_fork.append(self._courier)
        with contextlib.suppress(OSError):
            self._courier.spool.forsake()
        self._starting = threading.Lock()
        self._courier = self._new_courier()
        self._is_started = False


class _Forked:
    """What the interpreter calls in a forked child; it can never be taken back, so it is small."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = weakref.ref(recorder)

    def __call__(self) -> None:
        if (recorder := self._recorder()) is not None:
            recorder.forked()
