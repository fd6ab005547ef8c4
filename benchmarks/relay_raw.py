"""The floor of `relay.py`: a raw TCP relay on uvloop.

Two protocols write what they read to each other, with back-pressure, and understand nothing.
The argument is the upstream's port; standard output says its own; it ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvloop


class Pipe(asyncio.Protocol):
    """One side: what it reads, the other side writes."""

    def __init__(self, port: int, other: Pipe | None = None) -> None:
        """Be a client's side, or, with the other side given, the upstream's."""
        self.transport: Any = None
        self.other = other
        self._port = port
        self._early = b""
        self._connecting: asyncio.Task[Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; a client's side gets its other side."""
        self.transport = transport
        if self.other is not None:
            self.other.join(self)
        else:
            loop = asyncio.get_running_loop()
            self._connecting = loop.create_task(
                loop.create_connection(lambda: Pipe(self._port, self), "127.0.0.1", self._port)
            )

    def join(self, other: Pipe) -> None:
        """Have an other side from now on; it writes what came before it."""
        self.other = other
        other.transport.write(self._early)

    def data_received(self, data: bytes) -> None:
        """Write it on the other side."""
        if self.other is not None:
            self.other.transport.write(data)
        else:
            self._early += data

    def pause_writing(self) -> None:
        """Have the other side read no more."""
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Have the other side read on."""
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # either way it is over
        """Close the other side."""
        if self.other is not None:
            self.other.transport.close()


async def relay(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Pipe(port), "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    owner = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(owner), sys.stdin)
    await owner.read()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(relay(int(sys.argv[1])))
