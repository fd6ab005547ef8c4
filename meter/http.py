"""The few HTTP records that cross floors: a request, an answer and a route.

A collector offers routes; the server mounts them. The server reads bodies, with a cap; a
handler only asks for what it needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["BodyTooLarge", "Handler", "Request", "Response", "Route"]


class BodyTooLarge(Exception):
    """The body went over the cap while it streamed in; the server answers 413."""


class Request(Protocol):
    """One HTTP request. Header names are lower case, as ASGI gives them."""

    @property
    def query(self) -> bytes:
        """The raw query string, without the question mark."""

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of this lower-case name, or None."""

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
