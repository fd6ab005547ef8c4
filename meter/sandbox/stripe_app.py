"""The Stripe double's HTTP: an ASGI application before the books, and connections that break."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_faults import ConnectionLostError
from meter.sandbox.stripe_wire import StripeAnswer, StripeRequest

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

RESET = "meter.reset"
"""The scope's extension that breaks the connection."""
BODY_LIMIT = 1 << 20
"""Bytes of a request that are read; real ones have some hundred."""
TOO_LARGE = StripeAnswer(413, {"content-type": "application/json"}, b"{}")
# Linger for no time: the kernel sends a reset in place of an orderly end.
_NO_LINGER = struct.pack("ii", 1, 0)


class ResettableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with a way for the application to reset the connection."""

    def on_message_begin(self) -> None:
        """Put the way into the scope of each request."""
        super().on_message_begin()
        # ASGI has room for extensions; a reset is none of those that it names.
        self.scope["extensions"] = {RESET: {"reset": self._reset}}

    def _reset(self) -> None:
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):  # the client was faster
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()


class StripeApp:
    """The ASGI application.

    `latency_seconds` passes between the record of a request and its answer. `stopping` ends slow
    answers early.
    """

    def __init__(
        self, books: StripeBooks, *, latency_seconds: float, stopping: asyncio.Event
    ) -> None:
        self._books = books
        self._latency_seconds = latency_seconds
        self._stopping = stopping

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, or break its connection."""
        try:
            answer = await self._answered(scope, receive)
        except ConnectionLostError:
            scope["extensions"][RESET]["reset"]()
            # uvicorn takes an answer for missing until it has heard of the end.
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        headers = {**answer.headers, "content-length": str(len(answer.body))}
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    async def _answered(self, scope: Message, receive: Receive) -> StripeAnswer:
        body = await _read_body(receive)
        if body is None:
            return TOO_LARGE
        request = StripeRequest(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers={
                name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
            },
            body=body,
        )
        plan = self._books.draw(request)
        await self._pass(plan.delay_seconds)
        exchange = self._books.begin(request, plan)
        try:
            await self._pass(self._latency_seconds + plan.hold_seconds)
        finally:
            self._books.end(exchange)
        if plan.lost == "response":
            raise ConnectionLostError("response")
        return exchange.answer

    async def _pass(self, seconds: float) -> None:
        if seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body, or None when it is too large.

    Raises:
        ConnectionLostError: The client is gone; half of a request is none.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionLostError("request")
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            return None
        if not message.get("more_body"):
            return bytes(body)
