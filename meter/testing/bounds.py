"""A bound on the time of a case: a sink that waits for ever is named, and does not hang the run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["bounded"]


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise in the main thread when the time is over; where the alarm is taken, do nothing.

    Raises:
        TimeoutError: with a traceback that leads to where it waits.
    """
    free = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    )
    if not free:
        yield
        return

    def over(_number: int, frame: FrameType | None) -> None:
        where = "" if frame is None else f", at {frame.f_code.co_filename}:{frame.f_lineno}"
        raise TimeoutError(f"the case has not ended within {seconds:g} s{where}")

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
