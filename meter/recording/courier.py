"""The way of an item out of the user's process: *take in, make durable, deliver, remove*.

One daemon thread with an event loop of its own does all of it, so that a meter which hangs holds up
neither the user's session nor what is to be made durable, and any wait ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from meter.backoff import Backoff
from meter.recording.destinations import Unacceptable, Undelivered
from meter.recording.log import say
from meter.recording.private_loop import PrivateLoop
from meter.recording.spool import MOST_IN_MEMORY, named
from meter.recording.spool_file import Kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meter.clock import Clock
    from meter.recording.destinations import Destination, Outlet, Verdict
    from meter.recording.spool import Spool
    from meter.recording.unread import Unread

__all__ = ["Courier"]

MOST_ITEMS: Final = 200
MOST_BATCH_BYTES: Final = 256 * 1024
MOST_BEATS: Final = 1_000
DELIVERY_SECONDS: Final = 30.0
"""An answer that takes longer will not come."""
MOST_ASKED_SECONDS: Final = 600.0
"""A `Retry-After` beyond this is not believed."""
ADOPT_SECONDS: Final = 60.0
"""How often a long-lived process looks for what others left that died beside it."""
UNREAD_SECONDS: Final = 0.05
_DELIVERED: Final = frozenset({"recorded", "duplicate", "ignored", "conflict", "quarantined"})
_LOUD: Final = frozenset({"conflict", "quarantined"})


class Courier:
    """Carries the items of one recorder to one destination.

    `hand`, `hand_beat`, `hand_unread`, `flush` and `stop` may be called from any thread, and
    `faults` counted up; everything else happens in the courier's own.
    """

    def __init__(self, destination: Destination, spool: Spool, clock: Clock) -> None:
        """Prepare; nothing is touched before `start`."""
        self.spool = spool
        self.faults = 0
        self._destination = destination
        self._clock = clock
        self._inbox: deque[bytes | threading.Event] = deque()
        self._dropped = 0
        self._told = (0, 0)
        self._beats: dict[str, bytes] = {}
        self._unread: deque[Unread] = deque()
        self._waiting: deque[Kept | threading.Event] = deque()
        self._asked: list[threading.Event] = []
        self._singly = 0
        self._trouble: str | None = None
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stirred = asyncio.Event()
        self._ready = asyncio.Event()
        self._hurry = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="meter-recorder", daemon=True)

    # -- from any thread, never waiting ----------------------------------------------------------

    def start(self) -> bool:
        """Start the thread, which first adopts what others left; false when there can be none."""
        try:
            self._thread.start()
        except RuntimeError:  # too many threads, or the interpreter is ending
            return False
        return True

    def hand(self, item: bytes) -> None:
        """Take an item."""
        if self._stopping or len(self._inbox) >= MOST_IN_MEMORY:
            self._dropped += 1
            if self._stopping and self._dropped == self._told[0] + 1:
                say(logging.ERROR, "recording.fed_after_close")
            return
        self._inbox.append(item)
        self._stir()

    def hand_beat(self, session_id: str, item: bytes) -> None:
        """Take a Heartbeat: best effort, only the last of a session, never on disk."""
        if len(self._beats) < MOST_BEATS:
            self._beats[session_id] = item
            self._stir()

    def hand_unread(self, unread: Unread) -> None:
        """Watch a connection for what the SDK leaves in it."""
        self._unread.append(unread)
        self._stir()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until everything handed before is at the destination; tell whether it is."""
        done = threading.Event()
        self._inbox.append(done)
        self._stir()
        return done.wait(timeout_seconds) if self._thread.is_alive() else False

    def stop(self, timeout_seconds: float) -> None:
        """End the thread; what is not delivered stays in the spool."""
        self._stopping = True
        self._stir()
        self._thread.join(timeout_seconds)

    def _stir(self) -> None:
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # closed: the courier has ended
                loop.call_soon_threadsafe(self._stirred.set)

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=PrivateLoop) as runner:
                runner.run(self._work())
        except Exception:
            logging.getLogger("meter.recording").exception("recording.stopped")
        finally:
            self._loop = None
            self.spool.close()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        delivering = asyncio.create_task(self._deliver_all())
        self.spool.warn_of_strangers()
        adopt_at = self._clock.monotonic()
        try:
            while True:
                if (now := self._clock.monotonic()) >= adopt_at:
                    self._wait(self.spool.adopt())
                    adopt_at = now + ADOPT_SECONDS
                self._look_at_unread(now)
                self._take_in()
                if self._stopping:
                    return
                pause = UNREAD_SECONDS if self._unread else ADOPT_SECONDS
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stirred.wait(), pause)
                self._stirred.clear()
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
            self._take_in()

    def _take_in(self) -> None:
        """Make durable what was handed over, all with one write."""
        items: list[bytes] = []
        while self._inbox:
            given = self._inbox.popleft()
            if isinstance(given, bytes):
                items.append(given)
            else:
                self._asked.append(given)
        if items:
            kept = self.spool.keep(items)
            self._dropped += len(items) - len(kept)
            self._wait(kept)
        if self._asked and not any(u.is_soon(self._clock.monotonic()) for u in self._unread):
            self._waiting.extend(self._asked)
            self._asked.clear()
            self._hurry.set()
        if (lost := (self._dropped, self.faults)) != self._told:
            self._told = lost
            say(logging.ERROR, "recording.lost", dropped=lost[0], faults=lost[1])
        self._ready.set()

    def _wait(self, kept: Sequence[Kept]) -> None:
        self._waiting.extend(kept)
        self._ready.set()

    def _look_at_unread(self, now: float) -> None:
        for _ in range(len(self._unread)):
            unread = self._unread.popleft()
            if not unread.look(now):
                self._unread.append(unread)

    # -- delivering --------------------------------------------------------------------------------

    async def _deliver_all(self) -> None:
        outlet = self._destination.open()
        backoff = Backoff(random.Random())  # noqa: S311  spreads retries, guards nothing
        try:
            while True:
                self._ready.clear()
                self._hurry.clear()
                try:
                    await self._deliver_what_waits(outlet)
                    await self._deliver_beats(outlet)
                except Undelivered as error:
                    self._is_in_trouble(str(error))
                    asked = min(error.retry_after or 0.0, MOST_ASKED_SECONDS)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._hurry.wait(), backoff.fail(asked))
                else:
                    backoff.succeed()
                    await self._ready.wait()
        finally:
            await outlet.close()

    async def _deliver_what_waits(self, outlet: Outlet) -> None:
        while self._waiting:
            batch = self._next_batch()
            if not batch:
                self._answer_flush()
                continue
            items, texts = self._read(batch)
            if not items:
                continue
            try:
                verdicts = await self._hand_over(outlet, texts)
            except Unacceptable as error:
                self._unacceptable(items, texts, str(error))
                continue
            self._is_well()
            for text, verdict in zip(texts, verdicts, strict=True):
                self._judge(text, verdict)
            self._remove(items)

    async def _hand_over(self, outlet: Outlet, texts: Sequence[bytes]) -> Sequence[Verdict]:
        """Deliver; anything that goes wrong, expected or not, means that nothing is known."""
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                return await outlet.deliver(texts)
        except (Undelivered, Unacceptable):
            raise
        except TimeoutError:
            raise Undelivered(f"{self._destination.to} did not answer in time") from None
        except Exception as error:
            raise Undelivered(f"{self._destination.to}: {error!r}") from error

    def _next_batch(self) -> list[Kept]:
        """Return what goes out next; nothing when a flush is to be answered first."""
        batch: list[Kept] = []
        size = 0
        most = 1 if self._singly else MOST_ITEMS
        for waiting in self._waiting:
            if not isinstance(waiting, Kept) or len(batch) >= most:
                break
            size += waiting.size + 1
            if batch and size > MOST_BATCH_BYTES:
                break
            batch.append(waiting)
        return batch

    def _read(self, batch: Sequence[Kept]) -> tuple[list[Kept], list[bytes]]:
        """Return items with their texts; one that cannot be read any more is given up."""
        try:
            return list(batch), [item.read() for item in batch]
        except OSError as error:
            item = batch[0]
            if len(batch) > 1:
                self._singly = len(batch)
            else:
                say(logging.ERROR, "recording.lost", error=str(error), start=item.start)
                self._remove([item])
            return [], []

    def _unacceptable(self, items: Sequence[Kept], texts: Sequence[bytes], reason: str) -> None:
        """Try each alone, and refuse the one that is refused alone."""
        if len(items) > 1:
            self._singly = len(items)
            return
        self.spool.refuse(texts[0], reason)
        self._remove(items)

    def _judge(self, text: bytes, verdict: Verdict) -> None:
        if verdict.status not in _DELIVERED:
            self.spool.refuse(text, f"{verdict.status}: {verdict.reason}")
        elif verdict.status in _LOUD:
            say(
                logging.ERROR,
                f"recording.{verdict.status}",
                reason=verdict.reason,
                **named(text),
            )

    def _remove(self, items: Sequence[Kept]) -> None:
        for _ in items:
            self._waiting.popleft()
        self._singly = max(0, self._singly - len(items))
        self.spool.done(items)

    def _answer_flush(self) -> None:
        asked = self._waiting.popleft()
        if isinstance(asked, threading.Event):
            asked.set()

    async def _deliver_beats(self, outlet: Outlet) -> None:
        """Send the latest Heartbeats once everything else is through; a failure costs nothing."""
        while self._beats and not self._waiting:
            texts = [self._beats.pop(name) for name in list(self._beats)[:MOST_ITEMS]]
            with contextlib.suppress(Undelivered, Unacceptable):
                await self._hand_over(outlet, texts)

    def _is_in_trouble(self, reason: str) -> None:
        if reason != self._trouble:
            waiting = sum(isinstance(w, Kept) for w in self._waiting)
            kept = str(self.spool.folder or "memory")
            say(logging.ERROR, "recording.waiting", error=reason, items=waiting, kept_in=kept)
        self._trouble = reason

    def _is_well(self) -> None:
        if self._trouble is not None:
            say(logging.WARNING, "recording.delivering_again")
        self._trouble = None
