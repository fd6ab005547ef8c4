"""The call of a sink that is under way: which, since when, and where it stands if it hangs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from meter.clock import Clock

__all__ = ["Call", "Calls", "frames_of", "place"]

SHOWN: Final = 4
"""How many frames say where a call stands."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of a sink's method, from its start until it comes back.

    Attributes:
        method: what was called, such as `deliver`.
        events: how many events it was given.
        since: when it began, UTC.
        started: the same by the monotonic clock, in seconds.
    """

    method: str
    events: int
    since: datetime
    started: float


class Calls:
    """Notes the call that a sink's thread is in; other threads may look.

    Attributes:
        current: the call under way, or None.
    """

    def __init__(self, clock: Clock) -> None:
        """Note none yet."""
        self.current: Call | None = None
        self._clock = clock
        self._heard = float("-inf")

    @contextmanager
    def noted(self, method: str, events: int = 0) -> Iterator[None]:
        """Note a call for as long as the block lasts."""
        self.current = Call(method, events, self._clock.now(), self._clock.monotonic())
        try:
            yield
        finally:
            self.current = None

    def heard(self) -> None:
        """Note a sign of life in the midst of a call."""
        self._heard = self._clock.monotonic()

    def longer_than(self, seconds: float) -> Call | None:
        """Return the call under way if it has given no sign of life for that long."""
        call = self.current
        if call is None:
            return None
        silent = self._clock.monotonic() - max(call.started, self._heard)
        return None if silent < seconds else call


def frames_of(thread: threading.Thread) -> list[FrameType]:
    """Return the frames that a thread is in, outermost first; none when it does not run."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  because CPython documents it for this
    found: list[FrameType] = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found[::-1]


def place(frames: list[FrameType]) -> str:
    """Say where a thread stands: file, line and function, innermost first, with no values."""

    def shown(code: CodeType, line: int) -> str:
        return f"{PurePath(code.co_filename).name}:{line} {code.co_name}"

    return ", ".join(shown(f.f_code, f.f_lineno) for f in frames[: -SHOWN - 1 : -1])
