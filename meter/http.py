"""The few HTTP records that cross floors: a request, an answer, a route, a WebSocket's upgrade.

A collector offers routes; the server mounts them. The server reads bodies, with a cap; a
handler only asks for what it needs.
"""

from __future__ import annotations

from asyncio import Protocol as StreamProtocol
from asyncio import Transport
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["BodyTooLarge", "Handler", "Request", "Response", "Route", "SocketRoute", "Upgrade"]


class BodyTooLarge(Exception):
    """The body went over the cap while it streamed in; the server answers 413."""


class Request(Protocol):
    """One HTTP request. Header names are lower case, as ASGI gives them."""

    @property
    def query(self) -> bytes:
        """The raw query string, without the question mark."""

    @property
    def is_local(self) -> bool:
        """Whether it comes from this machine, and not through a proxy on it."""

    @property
    def client(self) -> str:
        """The address of the other end, which may be a proxy; empty where that is not known."""

    @property
    def http_version(self) -> str:
        """`1.1`; `1.0` is what some proxies speak, and no browser."""

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of this lower-case name, or None."""

    def headers(self, name: bytes) -> Sequence[bytes]:
        """Return every header of this lower-case name, in order: proxies add lines of their own."""

    async def body(self) -> bytes:
        """Read the whole body.

        Raises:
            BodyTooLarge: it is over the server's cap.
        """


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one exact path."""

    method: str
    path: str
    handler: Handler


class Upgrade(Protocol):
    """A client that asks for a WebSocket and has no answer yet.

    Answer once: `accept` or `refuse`. After `accept` the connection belongs to whoever took it,
    frame by frame.
    """

    @property
    def path(self) -> str:
        """The path, without the query."""

    @property
    def query(self) -> bytes:
        """The raw query string, without the question mark."""

    @property
    def transport(self) -> Transport:
        """The connection; nothing may be written to it before the answer."""

    def header(self, name: str) -> str | None:
        """Return the first header of this name, in any case, or None."""

    def accept(self, subprotocol: str | None = None) -> None:
        """Answer 101, without extensions."""

    def refuse(
        self, status: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Answer with another status, and close."""


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A WebSocket on one exact path; `connect` returns what speaks on the connection then."""

    path: str
    connect: Callable[[Upgrade], StreamProtocol]
