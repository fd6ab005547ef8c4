"""A thread of a plugin's own, beside the main path: whatever hangs there hangs alone."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from meter.errors import PluginError

if TYPE_CHECKING:
    from meter.plugins.records import Plugin

__all__ = ["Answer", "Aside", "within"]

T = TypeVar("T")


class Answer(Generic[T]):
    """What a call comes to, once it is there."""

    def __init__(self, call: Callable[[], T]) -> None:
        """Keep the call; `work` makes it."""
        self._call = call
        self._done = threading.Event()
        self._value: list[T] = []
        self._error: BaseException | None = None

    def work(self) -> None:
        """Make the call, in the thread that this is called from."""
        try:
            self._value.append(self._call())
        except BaseException as error:  # noqa: BLE001  because it is raised where it is waited for
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float) -> bool:
        """Wait until it is there; tell whether it is."""
        return self._done.wait(seconds)

    def get(self) -> T:
        """Return what the call returned, or raise what it raised; `wait` said that it is there."""
        if self._error is not None:
            raise self._error
        return self._value[0]


class Aside:
    """Calls one plugin in a thread of its own, in order; the thread starts when it is needed.

    The thread is a daemon: no process waits for it at its end.

    Attributes:
        plugin: whose thread it is.
        lost: how many calls there was no room for.
    """

    def __init__(self, plugin: Plugin, *, room: int) -> None:
        """Take calls as long as those that are not done yet weigh no more than `room`."""
        self.plugin = plugin
        self.lost = 0
        self._room = room
        self._weight = 0
        self._waiting: deque[tuple[Answer[object], int]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def call(self, call: Callable[[], T], *, seconds: float, weight: int = 1) -> Answer[T] | None:
        """Put a call, and wait a little for it, unless others are before it.

        Returns:
            The answer, which may be there or not; None when there was no room.
        """
        answer = Answer(call)
        with self._changed:
            behind = self._weight > 0
            if behind and self._weight + weight > self._room:
                self.lost += 1
                return None
            self._weight += weight
            self._waiting.append((answer, weight))  # type: ignore[arg-type]  # because the queue reads no value
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, name=f"meter-plugin-{self.plugin.name}", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()
        if not behind:
            answer.wait(seconds)
        return answer

    def drained(self, seconds: float) -> bool:
        """Wait until every call is done; tell whether it came to that."""
        with self._changed:
            return self._changed.wait_for(lambda: self._weight == 0, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                answer, weight = self._waiting.popleft()
            answer.work()
            with self._changed:
                self._weight -= weight
                self._changed.notify_all()


def within(seconds: float, call: Callable[[], T], *, plugin: Plugin) -> T:
    """Call a plugin in a thread of its own, and wait for it no longer than a time.

    Raises:
        PluginError: it did not come back; its thread is left to itself.
        BaseException: what the call raises.
    """
    answer = Answer(call)
    started = time.monotonic()
    threading.Thread(target=answer.work, name=f"meter-ask-{plugin.name}", daemon=True).start()
    if not answer.wait(seconds):
        waited = time.monotonic() - started
        raise PluginError(f"plugin {plugin} did not come back within {waited:.0f} s")
    return answer.get()
