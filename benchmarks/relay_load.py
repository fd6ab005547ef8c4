"""All clients of `relay.py`, on uvloop: sessions that each send 20 binary frames a second.

One clock has the sessions send in turn, so that their frames are spread evenly over the 50 ms;
it ticks each millisecond, so with more than 50 sessions some frames come together.
A frame is 3,200 bytes, masked with a zero key, and its first 8 bytes say when it was written
(CLOCK_MONOTONIC, nanoseconds): being late changes when it is sent, not how long it took.

Standard input begins with one line of JSON: `port`, `path`, and the `authorizations`, one a
session, of which the first only warms everything up. Then come commands: `prime` has that first
one come and go, `connect` has all others join bit by bit, and `end` terminates them and tells
of each what it sent and saw. Each is answered with one line of JSON, `error` in it when it
failed. It ends when its input does.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import uvloop

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
KEY: Final = base64.b64encode(bytes(range(16)))
ACCEPT: Final = base64.b64encode(hashlib.sha1(KEY + GUID).digest())
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
FRAME_BYTES: Final = 3_200
FRAMES_PER_SECOND: Final = 20
CONNECTS_PER_SECOND: Final = 200
PATIENCE_SECONDS: Final = 20.0
AUDIO_HEAD: Final = bytes((BINARY, 0x80 | 126)) + FRAME_BYTES.to_bytes(2, "big") + bytes(4)
AUDIO_REST: Final = bytes(FRAME_BYTES - 8)


def short_frame(first: int, payload: bytes) -> bytes:
    """Return one whole frame of at most 125 bytes, masked with a zero key."""
    return bytes((first, 0x80 | len(payload))) + bytes(4) + payload


class Client(asyncio.Protocol):
    """One session of a customer's application."""

    def __init__(self, path: str, authorization: str) -> None:
        """Be about to ask; `begun` resolves to the session's id, `ended` when all is over."""
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[str] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.sent = 0
        self.seconds: int | None = None
        self.close: int | None = None
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY.decode()}\r\n"
            f"Sec-WebSocket-Version: 13\r\nAuthorization: {authorization}\r\n\r\n"
        ).encode()
        self._transport: Any = None
        self._rest = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take the head, then whole frames."""
        self._rest += data
        if not self._open:
            head, gap, rest = self._rest.partition(b"\r\n\r\n")
            if not gap:
                return
            if not head.startswith(b"HTTP/1.1 101 ") or ACCEPT not in head:
                self._fail(ConnectionRefusedError(self._rest.decode(errors="replace")))
                self._transport.close()
                return
            self._open, self._rest = True, rest
        for first, payload in self._frames():
            self._received(first, payload)

    def connection_lost(self, exc: Exception | None) -> None:
        """Be done."""
        self._fail(exc or ConnectionResetError("closed before Begin"))
        if not self.ended.done():
            self.ended.set_result(None)

    def send_audio(self) -> None:
        """Write one frame that says when, if there still is a connection."""
        if not self.ended.done():
            now = time.monotonic_ns().to_bytes(8, "big")
            self._transport.write(b"".join((AUDIO_HEAD, now, AUDIO_REST)))
            self.sent += 1

    def terminate(self) -> None:
        """Ask for the end."""
        self._transport.write(short_frame(TEXT, b'{"type":"Terminate"}'))

    def _fail(self, error: Exception) -> None:
        if not self.begun.done():
            self.begun.set_exception(error)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield the server's whole frames; keep what is left over."""
        while len(self._rest) >= 2:
            size, body = self._rest[1], 2
            if size >= 126:
                body = 4 if size == 126 else 10
                size = int.from_bytes(self._rest[2:body], "big")
            if len(self._rest) < body + size:
                return
            first, payload = self._rest[0], self._rest[body : body + size]
            self._rest = self._rest[body + size :]
            yield first, payload

    def _received(self, first: int, payload: bytes) -> None:
        if first == TEXT:
            message = json.loads(payload)
            if message["type"] == "Begin" and not self.begun.done():
                self.begun.set_result(message["id"])
            elif message["type"] == "Termination":
                self.seconds = message["session_duration_seconds"]
        elif first == PING:
            self._transport.write(short_frame(PONG, payload))
        elif first == CLOSE:
            self.close = int.from_bytes(payload[:2], "big")
            self._transport.write(short_frame(CLOSE, payload[:2]))
            self._transport.close()


class Load:
    """All clients, and the one clock that has them send in turn."""

    def __init__(self, port: int, path: str, authorizations: list[str]) -> None:
        """Know whom to connect."""
        self._port = port
        self._path = path
        self._authorizations = authorizations
        self._clients: dict[int, Client] = {}
        self._turns: list[Client | None] = [None] * (len(authorizations) - 1)
        self._clock: asyncio.Task[None] | None = None

    async def prime(self) -> object:
        """Have the first session come and go."""
        client = await self._connect(0)
        client.send_audio()
        await self._end([client])
        return {"primed": True}

    async def connect(self) -> object:
        """Have all others join bit by bit; each sends once its Begin has come."""
        self._clock = asyncio.create_task(self._send())
        async with asyncio.TaskGroup() as group:
            for number in range(1, len(self._authorizations)):
                group.create_task(self._join(number))
                await asyncio.sleep(1 / CONNECTS_PER_SECOND)
        return {"connected": len(self._turns)}

    async def end(self) -> object:
        """Stop sending, terminate every session, and tell what became of each."""
        if self._clock is not None:
            self._clock.cancel()
        await self._end([client for number, client in self._clients.items() if number])
        return {
            c.begun.result(): {
                "number": number,
                "frames": c.sent,
                "seconds": c.seconds,
                "close": c.close,
            }
            for number, c in self._clients.items()
        }

    async def _connect(self, number: int) -> Client:
        client = Client(self._path, self._authorizations[number])
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.get_running_loop().create_connection(
                lambda: client, "127.0.0.1", self._port
            )
            await client.begun
        self._clients[number] = client
        return client

    async def _join(self, number: int) -> None:
        self._turns[number - 1] = await self._connect(number)

    async def _end(self, clients: list[Client]) -> None:
        for client in clients:
            client.terminate()
        if clients:
            await asyncio.wait([client.ended for client in clients], timeout=PATIENCE_SECONDS)

    async def _send(self) -> None:
        """Send each session's frame when it is due."""
        turns = len(self._turns)
        began, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - began) * FRAMES_PER_SECOND * turns)
            while sent < due:
                client = self._turns[sent % turns]
                sent += 1
                if client is not None:
                    client.send_audio()
            await asyncio.sleep(0.001)


async def attempt(load: Load, command: str) -> object:
    """Do one command; return its answer."""
    try:
        return await {"prime": load.prime, "connect": load.connect, "end": load.end}[command]()
    except (OSError, ExceptionGroup) as error:  # TimeoutError is an OSError
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        return {"error": repr(error)}


async def drive() -> None:
    lines = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    load = Load(**json.loads(await lines.readline()))
    while line := await lines.readline():
        print(json.dumps(await attempt(load, line.decode().strip())), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(drive())
