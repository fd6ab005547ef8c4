"""One streaming session, from Begin to whatever ends it. Read it first.

Something ends a session once: `SessionBooks.end` says whether it was the first, and only the
first one closes the socket. The reader goes on until the socket is gone.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Coroutine
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from meter.sandbox.stream_books import Ending, SessionBooks
from meter.sandbox.stream_clock import StreamClock
from meter.sandbox.stream_errors import (
    BAD_AUDIO,
    BAD_MESSAGE,
    EXPIRED,
    EXPIRED_TEXT,
    NORMAL,
    SERVER_ERROR,
    SERVER_ERROR_TEXT,
    close_reason,
    error_message,
)
from meter.sandbox.stream_params import StreamParams
from meter.sandbox.stream_plans import StreamPlan, merged
from meter.sandbox.stream_turns import Turns

FRAGMENT_BYTES = 7

# Exact decimals: a fractional duration arrives digit by digit as it was planned.
encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamRules:
    """What holds for every session; the settings of `StreamingSandbox`."""

    max_session_seconds: float
    heartbeat_seconds: float
    turn_seconds: float
    ahead_seconds: float


class StreamSession:
    """One client's session; `live` carries it to its end, the other methods end it from outside.

    Use it inside one event loop. `limit_seconds` is how long it may be open, in the provider's
    seconds.
    """

    def __init__(
        self,
        *,
        socket: ServerConnection,
        books: SessionBooks,
        params: StreamParams,
        plan: StreamPlan,
        rules: StreamRules,
        limit_seconds: float,
        clock: StreamClock,
    ) -> None:
        self.books = books
        self._socket = socket
        self._params = params
        self._plan = plan
        self._rules = rules
        self._limit_seconds = limit_seconds
        self._clock = clock
        self._turns = Turns(params, turn_seconds=rules.turn_seconds)
        self._timers: list[asyncio.TimerHandle] = []
        self._beside: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._heartbeat: asyncio.Task[None] | None = None
        self._flood: asyncio.Task[None] | None = None
        self._last_heard = clock.seconds()
        self._leaving = False

    async def live(self) -> None:
        """Begin, read until the socket is gone, and leave nothing running behind.

        Raises:
            ExceptionGroup: Faults of this double, not of its client.
        """
        self._set_timers()
        ending: Ending = "client_gone"
        try:
            await self._begin()
            await self._read()
        except ConnectionClosed as closed:
            # What is no WebSocket message (text that is no UTF-8, a frame of megabytes) is closed
            # by the library.
            if closed.sent is not None and not closed.rcvd_then_sent:
                ending = "error"
        finally:
            self.books.end(ending)
            for timer in self._timers:
                timer.cancel()
            for task in self._beside:
                task.cancel()
            # Endings are never cancelled: all that they wait for is over once the socket is gone.
            ends = await asyncio.gather(*self._beside, *self._endings, return_exceptions=True)
        failures = [
            end
            for end in ends
            if isinstance(end, Exception) and not isinstance(end, ConnectionClosed)
        ]
        if failures:
            raise ExceptionGroup("the streaming sandbox failed in a session", failures)

    def cut(self) -> None:
        """Abort the TCP connection, without a close frame."""
        if self.books.end("cut"):
            self._socket.transport.abort()

    def expire(self) -> None:
        """End the session as if its time were up."""
        self.fail(EXPIRED, EXPIRED_TEXT, ending="expired")

    def fail(self, code: int, text: str, *, ending: Ending = "error") -> None:
        """Send an Error and close with its code; no Termination follows."""
        if self.books.end(ending):
            self._endings.add(asyncio.create_task(self._close(code, text)))

    async def _close(self, code: int, text: str) -> None:
        await self._send(error_message(code, text))
        await self._socket.close(code, close_reason(text))

    def _set_timers(self) -> None:
        """Arm what will end the session by itself, and start what runs beside it."""
        loop, plan = asyncio.get_running_loop(), self._plan
        lasts = self._clock.wall_seconds(self._limit_seconds)
        self._timers.append(loop.call_later(lasts, self.expire))
        if plan.cut_after_seconds is not None:
            self._timers.append(loop.call_later(plan.cut_after_seconds, self.cut))
        if plan.expire_after_seconds is not None:
            self._timers.append(loop.call_later(plan.expire_after_seconds, self.expire))
        if plan.error_after is not None:
            self._timers.append(
                loop.call_later(plan.error_after[0], self.fail, *plan.error_after[1:])
            )
        if plan.ping_every_seconds is not None:
            self._start(self._ping(plan.ping_every_seconds))
        if self._params.inactivity_seconds is not None:
            self._start(self._watch(self._params.inactivity_seconds))

    async def _begin(self) -> None:
        await self._pause(self._plan.begin_delay_seconds)
        opening = self.books.opening
        begin = {
            "type": "Begin",
            "id": opening.session_id,
            "expires_at": int(opening.expires_at.timestamp()),
            "configuration": {"model": self._params.speech_model},
        }
        if self._plan.begin:
            for _ in range(2 if self._plan.begin_twice else 1):
                await self._say(merged(begin, self._plan.begin_fields))
        self._set_heartbeat(on=self._params.session_heartbeat)
        if self._plan.turns_flood:
            self._flood = self._start(self._send_flood(self._plan.turns_flood))

    async def _read(self) -> None:
        """Take messages in until the socket is gone; after the end they are only drained."""
        while True:
            message = await self._socket.recv()
            self._last_heard = self._clock.seconds()
            if self._leaving or not self.books.is_open:
                continue
            if isinstance(message, bytes):
                await self._hear(message)
            else:
                await self._obey(message)

    async def _hear(self, chunk: bytes) -> None:
        self.books.hear(chunk)
        violation = self._params.audio.violation(len(chunk))
        if violation is not None:
            self.fail(BAD_AUDIO, violation)
            return
        audio_ms, open_seconds = self.books.audio_ms, self.books.open_seconds
        if audio_ms / 1000 - open_seconds > self._rules.ahead_seconds:
            self.fail(
                BAD_AUDIO,
                f"Audio Transmission Rate Exceeded: Received {audio_ms / 1000:.1f} sec. audio "
                f"in {open_seconds:.1f} sec",
            )
            return
        for message in self._turns.hear(audio_ms):
            await self._say(message)

    async def _obey(self, text: str) -> None:
        try:
            message = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            self.books.read("")
            self.fail(BAD_MESSAGE, f"Invalid JSON: {error}")
            return
        kind = message.get("type") if isinstance(message, dict) else None
        self.books.read(kind if isinstance(kind, str) else "")
        match kind:
            case "Terminate":
                if not self._plan.ignore_terminate:
                    self._leave()
            case "KeepAlive":
                pass
            case "ForceEndpoint":
                for turn in self._turns.end_turn():
                    await self._say(turn)
            case "UpdateConfiguration":
                self._configure(message)
            case _ if isinstance(message, dict):
                self.fail(BAD_MESSAGE, f"Invalid Message Type: {kind}")
            case _:
                self.fail(BAD_MESSAGE, "Invalid Message: expected a JSON object")

    def _configure(self, message: dict[str, Any]) -> None:
        """Take what may change within a session; other settings change nothing here."""
        if isinstance(message.get("session_heartbeat"), bool):
            self._set_heartbeat(on=message["session_heartbeat"])
        if isinstance(message.get("format_turns"), bool):
            self._turns.format_turns = message["format_turns"]

    def _leave(self) -> None:
        """Begin a graceful end, once."""
        self._leaving = True
        self._endings.add(asyncio.create_task(self._terminate()))

    async def _terminate(self) -> None:
        """Say what is left to say, then the Termination, then close."""
        plan = self._plan
        await self._pause(plan.termination_delay_seconds)
        if self._flood is not None:
            await asyncio.wait([self._flood])
        for message in self._turns.end_turn():
            await self._say(message)
        if plan.error_before_termination:
            await self._say(error_message(SERVER_ERROR, SERVER_ERROR_TEXT))
        if not self.books.end("terminated"):
            return
        if not plan.no_termination:
            await self._send_termination()
        await self._socket.close(NORMAL)

    async def _send_termination(self) -> None:
        books, plan = self.books, self._plan
        termination = {
            "type": "Termination",
            "audio_duration_seconds": int(books.audio_seconds),
            "session_duration_seconds": (
                books.fractional_seconds if plan.fractional_duration else int(books.session_seconds)
            ),
        }
        termination = merged(termination, plan.termination_fields)
        books.bill(termination)
        try:
            for _ in range(2 if plan.termination_twice else 1):
                await self._send(termination)
                books.termination_written()
        except ConnectionClosed:
            books.termination_lost()
            raise

    def _set_heartbeat(self, *, on: bool) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            self._heartbeat = None
        if on:
            self._heartbeat = self._start(self._beat())

    async def _beat(self) -> None:
        while self.books.is_open:
            await asyncio.sleep(self._rules.heartbeat_seconds)
            # Rounded down, and the bill is rounded up: a heartbeat never says more than the bill.
            open_ms, audio_ms = int(self.books.open_seconds * 1000), self.books.audio_ms
            await self._say(
                {
                    "type": "Heartbeat",
                    "total_audio_received_ms": audio_ms,
                    "total_duration_ms": open_ms,
                    "realtime_factor": round(audio_ms / max(open_ms, 1), 3),
                    "max_speech_probability": 0.98 if audio_ms else 0.0,
                }
            )

    async def _ping(self, every_seconds: float) -> None:
        while self.books.is_open:
            await asyncio.sleep(every_seconds)
            await self._socket.ping()

    async def _watch(self, inactivity_seconds: float) -> None:
        """End the session gracefully once nothing was received for so long."""
        while not self._leaving:
            idle = self._clock.seconds() - self._last_heard
            if idle >= inactivity_seconds:
                self._leave()
                return
            await asyncio.sleep(self._clock.wall_seconds(inactivity_seconds - idle))

    async def _send_flood(self, size: int) -> None:
        chatter = self._turns.chatter()
        length = len(encode(chatter))
        for _ in range(-(-size // length)):
            await self._say(chatter)
            # A client that reads as fast as this writes must not keep the loop to itself.
            await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        """Let time pass, or return as soon as the socket is gone."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._socket.wait_closed()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._beside.add(task)
        return task

    async def _say(self, message: dict[str, Any]) -> None:
        """Send a message of an open session; nothing follows what ended one."""
        if self.books.is_open:
            await self._send(message)

    async def _send(self, message: dict[str, Any]) -> None:
        body = encode(message)
        if self._plan.fragmented:
            starts = range(0, len(body), FRAGMENT_BYTES)
            pieces = [body[start : start + FRAGMENT_BYTES] for start in starts]
            await self._socket.send(pieces, text=True)
        else:
            await self._socket.send(body, text=True)
