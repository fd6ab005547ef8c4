"""The provider's end of a relayed session: dialled, shaken hands with, then read as it comes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from meter.logs import SILENT

__all__ = ["Reader", "Refusal", "Unreachable", "Upstream", "dial", "keep_alive"]

_HEAD_END: Final = b"\r\n\r\n"
_YES: Final = b"HTTP/1.1 101"
_MOST_HEAD: Final = 65_536
_KEPT_HEADERS: Final = ("content-type", "retry-after", "www-authenticate")
UNACKNOWLEDGED_SECONDS: Final = 30
"""How long a peer may leave what was sent to it unacknowledged before it counts as gone."""


class Reader(Protocol):
    """Who reads what the provider sends."""

    def upstream_said(self, data: bytes) -> None:
        """Take bytes as they came."""

    def upstream_lost(self) -> None:
        """Hear that the connection is gone."""

    def upstream_full(self) -> None:
        """Hear that the provider does not keep up."""

    def upstream_drained(self) -> None:
        """Hear that it does again."""


class Unreachable(Exception):
    """The provider gave no usable answer; the text says why.

    Attributes:
        asked: whether the request may have reached it: then it may have begun a session.
    """

    def __init__(self, message: str, *, asked: bool = True) -> None:
        super().__init__(message)
        self.asked = asked


@dataclass(frozen=True)
class Refusal(Exception):
    """The provider answered the handshake with another status than 101."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


class Upstream(asyncio.Protocol):
    """One connection to the provider."""

    transport: asyncio.Transport
    _asked = False  # whether the request was sent

    def __init__(self, protocol: ClientProtocol) -> None:
        """Be about to shake hands, as the protocol says."""
        self._protocol = protocol
        self._received = bytearray()
        self._reader: Reader | None = None
        self._lost = False
        self._refused = False  # the answer is no 101, and may have a body
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._take: Callable[[bytes], None] = self._shaking_hands

    @property
    def may_have_begun(self) -> bool:
        """Tell whether the provider may have begun a session: asked, it did not say otherwise."""
        said = bytes(self._received[: len(_YES)])
        return self._asked and not self._refused and _YES.startswith(said)

    @property
    def subprotocol(self) -> str | None:
        """What the provider chose of the subprotocols that the client offered."""
        return self._protocol.subprotocol

    def attach(self, reader: Reader) -> None:
        """Have the rest read, what has arrived already first."""
        self._reader = reader
        self._take = reader.upstream_said
        rest, self._received = bytes(self._received), bytearray()
        if rest:
            reader.upstream_said(rest)
        if self._lost:
            reader.upstream_lost()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self.transport = cast("asyncio.Transport", transport)
        self._asked = True
        keep_alive(self.transport)
        self.transport.write(b"".join(self._protocol.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """Pass it on: to the handshake, then to the reader."""
        self._take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._lost = True
        if not self.answered.done():
            self.answered.set_exception(
                Unreachable(
                    f"the connection broke during the handshake: {exc or 'closed'}",
                    asked=self.may_have_begun,
                )
            )
        if self._reader is not None:
            self._reader.upstream_lost()

    def eof_received(self) -> bool | None:
        """End a refusal whose length was not said; close, as the transport does by itself."""
        if not self.answered.done():
            self._protocol.receive_eof()
            self._judge()
        return None

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._reader is not None:
            self._reader.upstream_full()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._reader is not None:
            self._reader.upstream_drained()

    def _shaking_hands(self, data: bytes) -> None:
        if self._refused:
            self._protocol.receive_data(data)
            self._judge()
            return
        self._received += data
        if self.answered.done():
            return
        end = self._received.find(_HEAD_END)
        if end < 0:
            if len(self._received) > _MOST_HEAD:
                self.answered.set_exception(
                    Unreachable("its answer has no end", asked=self.may_have_begun)
                )
            return
        if self._received.split(b" ", 2)[1:2] == [b"101"]:
            # Only the head is the protocol's: the frames behind it are the relay's.
            end += len(_HEAD_END)
            self._protocol.receive_data(bytes(self._received[:end]))
            del self._received[:end]
        else:
            self._refused = True
            self._protocol.receive_data(bytes(self._received))
            self._received.clear()
        self._judge()

    def _judge(self) -> None:
        if self.answered.done():
            return
        response = next(
            (e for e in self._protocol.events_received() if isinstance(e, Response)), None
        )
        problem = self._protocol.handshake_exc
        if response is not None and response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            kept = [(k, v) for k, v in response.headers.raw_items() if k.lower() in _KEPT_HEADERS]
            self.answered.set_exception(
                Refusal(response.status_code, kept, bytes(response.body or b""))
            )
        elif isinstance(problem, InvalidHandshake):
            self.answered.set_exception(
                Unreachable(f"its answer is no WebSocket's: {problem}", asked=not self._refused)
            )
        elif response is not None:
            self.answered.set_result(None)


async def dial(
    url: str,
    headers: Sequence[tuple[str, str]],
    subprotocols: Sequence[str],
    *,
    tls: ssl.SSLContext | None,
    seconds: float,
) -> Upstream:
    """Connect and shake hands.

    Args:
        url: `ws://` or `wss://`, with path and query.
        headers: sent with the handshake.
        subprotocols: offered to the provider.
        tls: for `wss://`.
        seconds: the longest that all of it may take.

    Raises:
        Refusal: the provider answered with another status.
        Unreachable: there was no usable answer.
    """
    uri = parse_uri(url)
    protocol = ClientProtocol(
        uri,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=None,
        logger=SILENT,
    )
    request = protocol.connect()
    for name, value in headers:
        request.headers[name] = value
    protocol.send_request(request)
    loop = asyncio.get_running_loop()
    upstream = Upstream(protocol)
    try:
        async with asyncio.timeout(seconds):
            await loop.create_connection(
                lambda: upstream, uri.host, uri.port, ssl=tls if uri.secure else None
            )
            await upstream.answered
    except BaseException as error:
        if hasattr(upstream, "transport"):
            upstream.transport.abort()
        if upstream.answered.done() and not upstream.answered.cancelled():
            upstream.answered.exception()  # because it was never awaited, and is known now
        if isinstance(error, TimeoutError):
            raise Unreachable(
                f"no answer within {seconds:g} s", asked=upstream.may_have_begun
            ) from None
        if isinstance(error, OSError):
            raise Unreachable(error.strerror or str(error), asked=upstream.may_have_begun) from None
        raise
    return upstream


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Have the kernel notice a peer that is gone without a word, within about a minute."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    wanted = (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", UNACKNOWLEDGED_SECONDS * 1000),
    )
    for level, name, value in wanted:
        if hasattr(socket, name):  # because systems differ in what they offer
            connection.setsockopt(level, getattr(socket, name), value)
