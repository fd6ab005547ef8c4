"""What fails around a session: a cable that is cut, and an application that is killed.

Run as a program this is that application.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    StreamingClientOptions,
    StreamingError,
    StreamingEvents,
    StreamingParameters,
)

from acceptance.process import LOCAL
from acceptance.streaming import CHUNK_SECONDS, PATIENCE_SECONDS, SAMPLE_RATE, Loop, chunks

TESTS = Path(__file__).resolve().parents[1]

# -- a cable ---------------------------------------------------------------------------------------


class Cable:
    """A cable to a port that fails as networks do; `host` is where a client connects.

    With `swallowing` it carries what the client says, and nothing of the answers.
    """

    def __init__(self, loop: Loop, to: str, *, swallowing: bool = False) -> None:
        self._loop = loop
        self._to = urlsplit(to)
        self._swallowing = swallowing
        self._ends: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._server: asyncio.Server
        self.answered = threading.Event()
        loop.do(self._lay)
        self.host = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def fall_silent(self) -> None:
        """Take no more bytes from either side, and say nothing to anybody."""
        self._loop.do(self._fall_silent)

    def close(self) -> None:
        """Close both connections without a word of WebSocket."""
        self._loop.do(self._cut, reset=False)

    def reset(self) -> None:
        """Reset both connections (SO_LINGER 0)."""
        self._loop.do(self._cut, reset=True)

    async def _lay(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(writer)
        try:
            answers, far = await asyncio.open_connection(self._to.hostname, self._to.port)
        except OSError:
            writer.transport.abort()
            return
        self._ends.append(far)
        self._pumps = [
            asyncio.ensure_future(self._pump(reader, far)),
            asyncio.ensure_future(self._pump(answers, None if self._swallowing else writer)),
        ]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._pumps)

    async def _pump(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter | None) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if to is not None:
                    to.write(data)
                    await to.drain()
                else:
                    self.answered.set()
        if to is not None:
            to.close()

    async def _fall_silent(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        for end in self._ends:
            with contextlib.suppress(RuntimeError):
                end.transport.pause_reading()  # type: ignore[attr-defined]  # sockets' have it

    async def _cut(self, *, reset: bool) -> None:
        await self._fall_silent()
        for end in self._ends:
            raw = end.get_extra_info("socket")
            if reset and raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()
        self._server.close()


# -- an application that is killed -----------------------------------------------------------------


class Application:
    """A process of its own that streams several sessions at once, until it is killed.

    `answered` are the names of those that have begun, or were refused.
    """

    def __init__(self, host: str, tokens: Mapping[str, str]) -> None:
        """Start it; `tokens` are by the name that each session's `prompt` is to have."""
        self.answered: set[str] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "acceptance.streaming_harm", host],
            env={
                **{name: text for name, text in os.environ.items() if "proxy" not in name.lower()},
                "NO_PROXY": LOCAL,
                "PYTHONPATH": str(TESTS),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None
        json.dump(dict(tokens), self._process.stdin)
        self._process.stdin.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.answered.add(line.strip())


async def _stream(host: str, name: str, given: str) -> None:
    options = StreamingClientOptions(
        api_host=host, token=given, max_connection_retries=0, connect_timeout=PATIENCE_SECONDS
    )
    client = AsyncStreamingClient(options)
    over = asyncio.Event()

    def answered(_client: object, message: object) -> None:
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        if isinstance(message, StreamingError):
            over.set()

    client.on(StreamingEvents.Begin, answered)
    client.on(StreamingEvents.Error, answered)
    client.on(StreamingEvents.Termination, lambda _client, _message: over.set())
    await client.connect(StreamingParameters(sample_rate=SAMPLE_RATE, prompt=name))
    while not over.is_set():
        for chunk in chunks(1):
            await client.stream(chunk)
            await asyncio.sleep(CHUNK_SECONDS)
    await client.disconnect()


async def _main(host: str, tokens: Mapping[str, str]) -> None:
    await asyncio.gather(*(_stream(host, name, given) for name, given in tokens.items()))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], json.load(sys.stdin)))
