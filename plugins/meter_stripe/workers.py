"""Calls on their way: a few threads, so that customers do not wait for each other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["Workers"]

T = TypeVar("T")


class Workers:
    """Runs calls in daemon threads, or, with a concurrency of 1, at once in the caller's.

    No `ThreadPoolExecutor`, because the interpreter waits for its threads at exit: a call that
    hangs for its whole timeout would keep meter from ending within its 20 s (DESIGN §7).
    """

    def __init__(self, concurrency: int) -> None:
        """Start no thread yet."""
        self.concurrency = concurrency
        self._queue: queue.SimpleQueue[tuple[Future[object], Callable[[], object]] | None] = (
            queue.SimpleQueue()
        )
        self._threads = 0

    def submit(self, call: Callable[[], T], under_way: int) -> Future[T]:
        """Have a call made; `under_way` others are, so that as many threads suffice."""
        future: Future[T] = Future()
        if self.concurrency == 1:
            _run(future, call)
            return future
        if self._threads <= under_way and self._threads < self.concurrency:
            self._threads += 1
            threading.Thread(target=self._work, name="meter-stripe", daemon=True).start()
        self._queue.put((future, call))  # type: ignore[arg-type]  # because a future of T is one of object here
        return future

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        for _ in range(self._threads):
            self._queue.put(None)
        self._threads = 0

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            _run(*item)


def _run(future: Future[T], call: Callable[[], T]) -> None:
    try:
        result = call()
    except Exception as error:  # noqa: BLE001  because whoever waits for the future must hear of it
        future.set_exception(error)
    else:
        future.set_result(result)
