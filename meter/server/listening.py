"""The port: bound with a clear error, guarded against clients that never finish their headers."""

from __future__ import annotations

import contextlib
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from meter.errors import ConfigurationError

if TYPE_CHECKING:
    from meter.server.app import App

__all__ = ["HttpServer", "bind"]

HEAD_SECONDS: Final = 10.0
"""From the connection, or the first byte of a further request, to the end of its headers."""
HEAD_BYTES: Final = 65_536
MOST_CONNECTIONS: Final = 4096
GRACE_SECONDS: Final = 5


def bind(host: str, port: int) -> socket.socket:
    """Bind the port and return the listening socket.

    Raises:
        ConfigurationError: taken, not allowed, or no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; change server.host or "
            "server.port in the pipelines file"
        ) from None
    return listener


class _Guarded(HttpToolsProtocol):
    """uvicorn's protocol with a deadline and a size for the head of each request."""

    _head_timer: TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        if len(self.connections) >= MOST_CONNECTIONS:
            transport.close()
            return
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > HEAD_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_done()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _head_done(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.close()


class HttpServer(uvicorn.Server):
    """uvicorn, without its own signal handling and logging: those are the run's."""

    def __init__(self, app: App) -> None:
        """Prepare to serve the application."""
        super().__init__(
            uvicorn.Config(
                _asgi(app),
                http=_Guarded,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the run, which ends everything else too."""
        yield


def _asgi(app: App) -> Any:
    """Pass the application as a plain coroutine function, which uvicorn recognises as ASGI 3."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return asgi
