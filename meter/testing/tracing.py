"""Follow a sink's own code line by line: to count the places in it, or to die at one."""

from __future__ import annotations

import inspect
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

__all__ = ["LineTracer"]

EFFECTS: Final = frozenset(
    [
        "write",
        "writelines",
        "pwrite",
        "writev",
        "flush",
        "fsync",
        "fdatasync",
        "truncate",
        "ftruncate",
        "close",
        "rename",
        "replace",
        "link",
        "symlink",
        "unlink",
        "remove",
        "rmdir",
        "mkdir",
        "open",
        "execute",
        "executemany",
        "executescript",
        "commit",
        "send",
        "sendall",
        "sendto",
        "sendmsg",
        "connect",
        "write_table",
        "write_batch",
        "append",
        "put",
        "post",
    ]
)
"""Names of functions written in C after which the world may have changed."""


class LineTracer:
    """Tells each line of a package that a thread is about to run.

    Args:
        package: the top-level package that is followed.
        visit: called with the place before its line runs.
        effects: also note before which places something was written, sent or committed.
        here: follow the thread that installs it too.

    Attributes:
        places: how often each place was visited, in order of the first visit.
        after_effect: places that were visited right after something was written or sent.
    """

    def __init__(
        self,
        package: str,
        visit: Callable[[str], None],
        *,
        effects: bool = False,
        here: bool = False,
    ) -> None:
        self.places: Counter[str] = Counter()
        self.after_effect: set[str] = set()
        self._package = package
        self._visit = visit
        self._effects = effects
        self._here = here
        self._changed = threading.local()

    def install(self) -> None:
        """Follow every thread that starts from now on; with `here`, this one too."""
        threading.settrace(self._call)
        if self._here:
            sys.settrace(self._call)
        if self._effects:
            threading.setprofile(self._profile)

    def _call(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package != self._package or not frame.f_code.co_flags & inspect.CO_NEWLOCALS:
            return None  # another's code, or a module or class that is being imported
        return self._line

    def _line(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line":
            code = frame.f_code
            place = f"{frame.f_globals['__name__']}:{frame.f_lineno} in {code.co_name}"
            self.places[place] += 1
            if getattr(self._changed, "since", False):
                self._changed.since = False
                self.after_effect.add(place)
            self._visit(place)
        return self._line

    def _profile(self, _frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_return" and getattr(arg, "__name__", "") in EFFECTS:
            self._changed.since = True

    def told(self) -> list[tuple[str, int, bool]]:
        """Return each place, how often it was visited, and whether something was done before."""
        return [(place, n, place in self.after_effect) for place, n in self.places.items()]
