"""What every double is: a server on this machine, in a thread and an event loop of its own."""

import asyncio
import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future
from types import TracebackType
from typing import Self

BACKLOG = 1024
"""Connections that may wait to be accepted: a load test opens hundreds at once."""


class LocalServer(ABC):
    """Serves synchronous and asynchronous callers of the same process alike.

    Use it as a context manager, `with` or `async with`, or call `start` and `stop`. It starts once.
    """

    def __init__(self, what: str, *, host: str, port: int) -> None:
        """Know where to listen.

        Args:
            what: what it is, for messages: `Stripe sandbox`.
            host: the address to listen on.
            port: the port; 0 takes a free one.
        """
        self._what = what
        self._host = host
        self._port = port
        self._address: str | None = None
        self._thread: threading.Thread | None = None
        self._ended: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`.

        Raises:
            RuntimeError: It was not started.
        """
        if self._address is None:
            raise RuntimeError(f"the {self._what} has no address before start()")
        return self._address

    def start(self) -> Self:
        """Listen, and return when requests are answered.

        Raises:
            OSError: The address is in use or not ours.
            RuntimeError: It was started before.
        """
        if self._thread is not None:
            raise RuntimeError(f"a {self._what} starts once; make another one")
        listener = _listen(self._host, self._port)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._address = f"{host}:{listener.getsockname()[1]}"
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run,
            args=(listener, started),
            name=self._what.lower().replace(" ", "-"),
            daemon=True,
        )
        self._thread.start()
        started.result()
        return self

    def stop(self) -> None:
        """Stop listening and drop what is under way; harmless when it does not run.

        Raises:
            Exception: What went wrong inside the double while it ran.
        """
        if self._thread is None:
            return
        if self._loop is not None:
            # The loop may have ended by itself, after a failure that `result` raises.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._begin_stop)
        self._thread.join()
        self._ended.result()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    @abstractmethod
    async def _serve(
        self, listener: socket.socket, started: Future[None], stopping: asyncio.Event
    ) -> None:
        """Serve until `stopping` is set; set `started` to None once requests are answered."""

    def _begin_stop(self) -> None:
        """Have `_serve` return soon; runs in the loop."""
        if self._stopping is not None:
            self._stopping.set()

    def _run(self, listener: socket.socket, started: Future[None]) -> None:
        """Thread body: serve until asked to stop, and keep what went wrong for the caller."""
        try:
            with listener, asyncio.Runner() as runner:
                runner.run(self._serve_here(listener, started))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread instead
            (self._ended if started.done() else started).set_exception(error)
        if not self._ended.done():
            self._ended.set_result(None)

    async def _serve_here(self, listener: socket.socket, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        await self._serve(listener, started, self._stopping)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only on sockets that name it; without
    # it every answer waits some 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
