"""The provider of `relay.py`, on uvloop: just enough of RFC 6455 and of AssemblyAI's streaming.

It says Begin, a Turn of about 400 bytes each second (a Heartbeat too, where the query asks for
it), and Termination when told to terminate. The first 8 bytes of each audio frame say when it
was written (CLOCK_MONOTONIC, nanoseconds), whatever its mask; while a window is open, how long
each took until it had wholly arrived is kept.

Commands come on standard input: `start` and `stop` a window, and `report` every session. Each
is answered with one line of JSON; the first line says the port. It ends when its input does.
"""

from __future__ import annotations

import array
import asyncio
import base64
import hashlib
import json
import sys
import time
import uuid
from typing import Any, Final

import uvloop

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
NO_MASK: Final = bytes(4)
FRAME_BYTES: Final = 3_200
BYTES_PER_SECOND: Final = 32_000
SESSION_LIMIT_SECONDS: Final = 3 * 3600
CLOSE_SECONDS: Final = 20.0
TURN: Final = {
    "type": "Turn",
    "turn_order": 1,
    "turn_is_formatted": True,
    "end_of_turn": True,
    "transcript": "The quick brown fox jumps over it.",
    "end_of_turn_confidence": 0.93,
    "words": [
        {"text": word, "start": 1, "end": 2, "confidence": 0.99, "word_is_final": True}
        for word in ("The", "quick", "brown")
    ],
}


def frame(first: int, payload: bytes) -> bytes:
    """Return one whole frame, as servers send them."""
    size = len(payload)
    head = bytes((first, size)) if size < 126 else bytes((first, 126)) + size.to_bytes(2, "big")
    return head + payload


TURN_FRAME: Final = frame(TEXT, json.dumps(TURN, separators=(",", ":")).encode())


def frames(data: bytes) -> tuple[list[tuple[int, bytes, bytes]], bytes]:
    """Return a client's whole frames as (first byte, mask, payload), and what is left over."""
    found = []
    at, end = 0, len(data)
    while end - at >= 2:
        size, mask = data[at + 1] & 127, at + 2
        if size >= 126:
            mask += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : mask], "big")
        body = mask + 4
        if body + size > end:
            break
        found.append((data[at], data[mask:body], data[body : body + size]))
        at = body + size
    return found, data[at:]


def unmasked(mask: bytes, payload: bytes) -> bytes:
    if mask == NO_MASK:
        return payload
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class Window:
    """How long frames took, in nanoseconds, while it is open."""

    def __init__(self) -> None:
        """Begin closed."""
        self.open = False
        self.took = array.array("q")

    def start(self) -> dict[str, bool]:
        """Forget what was, and open."""
        self.took = array.array("q")
        self.open = True
        return {"started": True}

    def stop(self) -> dict[str, float]:
        """Close; return how many frames came, and percentiles in milliseconds."""
        self.open = False
        ordered = sorted(self.took) or [0]
        return {
            "frames": len(self.took),
            "p50": ordered[len(ordered) // 2] / 1e6,
            "p99": ordered[int(len(ordered) * 0.99)] / 1e6,
        }


class Session(asyncio.Protocol):
    """One session at the provider."""

    def __init__(self, window: Window, sessions: list[Session]) -> None:
        """Join the sessions once the handshake is done."""
        self.id = str(uuid.uuid4())
        self.audio = self.odd = 0
        self.seconds: int | None = None  # once it was told to terminate
        self._window = window
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._rest = b""
        self._open = self._heartbeat = False
        self._began = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take the head, then whole frames."""
        if self._rest:
            data = self._rest + data
        if not self._open:
            head, gap, data = data.partition(b"\r\n\r\n")
            if not gap:
                self._rest = head
                return
            self._begin(head)
        whole, self._rest = frames(data)
        for first, mask, payload in whole:
            if first == BINARY and len(payload) == FRAME_BYTES:
                self.audio += 1
                if self._window.open:
                    written = int.from_bytes(unmasked(mask, payload[:8]), "big")
                    self._window.took.append(time.monotonic_ns() - written)
            else:
                self._told(first, unmasked(mask, payload))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # a lost session lacks its seconds
        """Stop speaking."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, head: bytes) -> None:
        request, *lines = head.split(b"\r\n")
        pairs = (line.partition(b":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest())
        self._heartbeat = b"session_heartbeat=true" in request.lower()
        self._open = True
        self._sessions.append(self)
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept
        )
        self._say(type="Begin", id=self.id, expires_at=int(time.time()) + SESSION_LIMIT_SECONDS)
        self._timer = self._loop.call_later(1, self._each_second)

    def _told(self, first: int, payload: bytes) -> None:
        if first == TEXT and json.loads(payload) == {"type": "Terminate"}:
            self.seconds = round(time.monotonic() - self._began)
            self._say(
                type="Termination",
                audio_duration_seconds=self.audio * FRAME_BYTES // BYTES_PER_SECOND,
                session_duration_seconds=self.seconds,
            )
            self._transport.write(frame(CLOSE, (1000).to_bytes(2, "big")))
            self._loop.call_later(CLOSE_SECONDS, self._transport.close)
        elif first == PING:
            self._transport.write(frame(PONG, payload))
        elif first == CLOSE:
            self._transport.close()
        elif first != PONG:
            self.odd += 1

    def _each_second(self) -> None:
        if self.seconds is not None:
            return
        self._transport.write(TURN_FRAME)
        if self._heartbeat:
            self._say(
                type="Heartbeat",
                total_audio_received_ms=self.audio * FRAME_BYTES * 1000 // BYTES_PER_SECOND,
                total_duration_ms=round((time.monotonic() - self._began) * 1000),
                realtime_factor=1.0,
                max_speech_probability=0.5,
            )
        self._timer = self._loop.call_later(1, self._each_second)

    def _say(self, **message: object) -> None:
        self._transport.write(frame(TEXT, json.dumps(message).encode()))


async def provide() -> None:
    window, sessions = Window(), list[Session]()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Session(window, sessions), "127.0.0.1", 0, backlog=1024
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        answer: object
        match line.decode().strip():
            case "start":
                answer = window.start()
            case "stop":
                answer = window.stop()
            case _:
                answer = {
                    s.id: {"frames": s.audio, "odd": s.odd, "seconds": s.seconds} for s in sessions
                }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(provide())
