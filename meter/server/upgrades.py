"""WebSocket upgrades on the same port as everything else: parsed, routed, handed over.

uvicorn hands an upgrade to a protocol class of our choice; this one only finds out who wants the
connection and gives it away, so that frames never pass through a framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from meter.logs import SILENT

if TYPE_CHECKING:
    from websockets.typing import Subprotocol

    from meter.http import SocketRoute

__all__ = ["Upgrading"]

SWITCHING: Final = HTTPStatus.SWITCHING_PROTOCOLS


class Upgrading(asyncio.Protocol):
    """What uvicorn hands a WebSocket upgrade to."""

    def __init__(self, routes: Mapping[str, SocketRoute], **_uvicorn: Any) -> None:
        """Know who takes which path; uvicorn's own configuration is none of ours."""
        self._routes = routes
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take the whole request, as uvicorn writes it out again, and give the connection away."""
        transport = self._transport
        if transport is None:
            return
        protocol = ServerProtocol(max_size=None, logger=SILENT)
        protocol.receive_data(data)
        request = next((e for e in protocol.events_received() if isinstance(e, Request)), None)
        if request is None:
            transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            transport.close()
            return
        upgrade = _Upgrade(request, transport)
        if not upgrade.is_valid():
            return
        route = self._routes.get(upgrade.path)
        if route is None:
            upgrade.refuse(404, b'{"error":"no such path"}')
            return
        taker = route.connect(upgrade)
        # After uvicorn, which sets this protocol once this call returns; before anything is read.
        asyncio.get_running_loop().call_soon(self._give, transport, taker)

    @staticmethod
    def _give(transport: asyncio.Transport, taker: asyncio.Protocol) -> None:
        transport.set_protocol(taker)
        if transport.is_closing():
            taker.connection_lost(None)


class _Upgrade:
    """See `meter.http.Upgrade`."""

    def __init__(self, request: Request, transport: asyncio.Transport) -> None:
        self._request = request
        self.transport = transport
        path, _, query = request.path.partition("?")
        self.path = unquote(path)
        self.query = query.encode("ascii", "ignore")

    def is_valid(self) -> bool:
        """Tell whether the request is a WebSocket's; if not, it is refused here."""
        response = ServerProtocol(logger=SILENT).accept(self._request)
        if response.status_code == SWITCHING:
            return True
        self._send(response)
        return False

    def header(self, name: str) -> str | None:
        """Return the first header of this name."""
        values = self._request.headers.get_all(name)
        return values[0] if values else None

    def accept(self, subprotocol: str | None = None) -> None:
        """Answer 101, without extensions."""
        chosen = [cast("Subprotocol", subprotocol)] if subprotocol else None
        self._send(ServerProtocol(subprotocols=chosen, logger=SILENT).accept(self._request))

    def refuse(
        self, status: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Answer with another status, and close."""
        given = Headers(headers)
        if body and "content-type" not in given:
            given["content-type"] = "application/json"
        given["content-length"] = str(len(body))
        given["connection"] = "close"
        self._send(Response(status, _reason(status), given, body))

    def _send(self, response: Response) -> None:
        self.transport.write(response.serialize())
        if response.status_code != SWITCHING:
            self.transport.close()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
