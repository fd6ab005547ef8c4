"""Questions to the journal, beside the collectors: in threads of their own, few at a time.

Whoever asks what is being asked already waits for the same answer, and an answer stands for a
moment, longer the longer it took: however many look, and however often, most of the time is the
collectors'.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from meter.clock import Clock

__all__ = ["Busy", "Reader"]

T = TypeVar("T")

THREADS: Final = 2
"""Each has a connection of its own to the journal."""
MOST_WAITING: Final = 16
PATIENCE_SECONDS: Final = 20.0
STANDS_SECONDS: Final = 1.0
STANDS_TIMES: Final = 10.0
"""An answer stands for so many times as long as it took, so that asking again costs little."""
MOST_KEPT: Final = 64


class Busy(Exception):
    """Too much is being asked at once, or the journal is too slow; ask again."""


class Reader:
    """Asks, and remembers answers for a moment."""

    def __init__(self, clock: Clock) -> None:
        """Start no thread yet."""
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="meter-desk")
        self._waiting = 0
        self._asked: dict[Hashable, asyncio.Future[Any]] = {}
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    async def ask(self, key: Hashable, question: Callable[[], T]) -> T:
        """Return the answer to a question, which may be a moment old.

        Args:
            key: equal for equal questions.
            question: called in a thread.

        Raises:
            Busy: too much is being asked.
            Exception: what the question raises.
        """
        kept = self._kept.get(key)
        if kept is not None and self._clock.monotonic() < kept[0]:
            known: T = kept[1]
            return known
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.ensure_future(self._asking(key, question))
            asked.add_done_callback(lambda _: self._asked.pop(key, None))
        answer: T = await asyncio.shield(asked)
        return answer

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work in a thread, and keep nothing of it.

        Raises:
            Busy: too much is being asked.
            Exception: what the work raises.
        """
        if self._waiting >= MOST_WAITING:
            raise Busy
        self._waiting += 1
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        future = loop.run_in_executor(self._threads, context.run, work)
        future.add_done_callback(self._done)
        done, _ = await asyncio.wait([future], timeout=PATIENCE_SECONDS)
        if not done:
            raise Busy
        return future.result()

    def forget(self) -> None:
        """Have everything asked again: something was changed."""
        self._kept.clear()

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # seen here, should nobody wait for it any more

    async def _asking(self, key: Hashable, question: Callable[[], T]) -> T:
        started = self._clock.monotonic()
        answer = await self.run(question)
        now = self._clock.monotonic()
        until = now + max(STANDS_SECONDS, STANDS_TIMES * (now - started))
        self._kept[key] = until, answer
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return answer
