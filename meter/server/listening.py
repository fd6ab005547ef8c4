"""The port: bound with a clear error, guarded against clients that never finish their headers."""

from __future__ import annotations

import contextlib
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from meter.errors import ConfigurationError
from meter.server.upgrades import Upgrading

if TYPE_CHECKING:
    from meter.server.app import App

__all__ = ["HttpServer", "bind"]

HEAD_BYTES: Final = 65_536
MOST_CONNECTIONS: Final = 4096
GRACE_SECONDS: Final = 5
_TOO_SLOW: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)


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
    """uvicorn's protocol with a deadline for the whole of each request, and a cap for its head.

    A request that arrives in one piece, as webhooks do, starts no timer at all.
    """

    _deadline: TimerHandle | None = None
    _in_head = False
    _incomplete = True  # a new connection owes a request
    _head_bytes = 0

    def __init__(self, *arguments: Any, seconds: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._seconds = seconds

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        if len(self.connections) >= MOST_CONNECTIONS:
            transport.close()
            return
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._incomplete = False
        self._watch()
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.close()
        if self._incomplete is (self._deadline is None):
            self._watch()

    def on_message_begin(self) -> None:
        self._incomplete = self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._incomplete = False
        super().on_message_complete()

    def _watch(self) -> None:
        """Have a timer while a request is owed or under way, and none otherwise."""
        if self._incomplete and self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._seconds, self._too_slow)
        elif not self._incomplete and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_started and not self._in_head:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


class HttpServer(uvicorn.Server):
    """uvicorn, without its own signal handling and logging: those are the run's."""

    def __init__(self, app: App, *, receipt_deadline: timedelta) -> None:
        """Prepare to serve the application.

        Args:
            app: the application.
            receipt_deadline: from a connection or a request's first byte to its last; then
                comes 503 and the connection is closed.
        """
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                http=partial(_Guarded, seconds=receipt_deadline.total_seconds()),  # type: ignore[arg-type]  # a factory serves
                ws=partial(Upgrading, app.sockets),  # type: ignore[arg-type]  # because a factory serves
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the run, which ends everything else too."""
        yield
