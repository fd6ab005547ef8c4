"""meter's HTTP surface as an ASGI application (DESIGN §11).

It can be mounted inside another application; `meter run` serves it on a port of its own.
A bare callable, because a routing framework costs a third of the speed on the webhook's path.
Deadlines are the listening server's (`meter.server.listening`), which sees each byte arrive.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.errors import ConfigurationError
from meter.http import BodyTooLarge, Response, Route, SocketRoute
from meter.server.access import is_loopback
from meter.server.health import Health

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import ServerOptions
    from meter.http import Handler, Request
    from meter.journal import Journal

__all__ = ["App"]

_log = logging.getLogger("meter.server")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_CLOSE: Final = ((b"connection", b"close"),)
_NO_UPGRADE: Final = Response(
    426,
    b'{"error":"this path takes WebSockets; does the proxy pass Upgrade and Connection on?"}',
    headers=((b"upgrade", b"websocket"),),
)
_NOT_FOUND: Final = Response(404, b'{"error":"no such path"}')
_BUSY: Final = Response(503, b'{"error":"busy; please retry"}', headers=((b"retry-after", b"1"),))
_TOO_LARGE: Final = Response(413, b'{"error":"the body is too large"}', headers=_CLOSE)
_BROKEN: Final = Response(
    503, b'{"error":"a fault of ours; please retry"}', headers=((b"retry-after", b"10"),)
)
_READY: Final = Response(200, b'{"status":"ready"}')
METRICS_PATH: Final = "/metrics"
_OWN: Final = ("/healthz", "/readyz", METRICS_PATH)
"""Answered however busy it is: they are asked by those who would restart the process."""
_PROXIED: Final = frozenset(
    {b"forwarded", b"via", b"x-real-ip", b"true-client-ip", b"x-client-ip", b"cf-connecting-ip"}
)
_PROXY: Final = b"x-forwarded-"
"""How those headers begin that the other proxies add."""


class _ClientGone(Exception):
    """The client hung up before its body was complete: there is no one to answer."""


class _Request:
    """One request, read from ASGI."""

    __slots__ = ("_cap", "_receive", "_scope")

    def __init__(self, scope: Scope, receive: Receive, cap: int) -> None:
        self._scope = scope
        self._receive = receive
        self._cap = cap

    @property
    def query(self) -> bytes:
        """The raw query string."""
        query: bytes = self._scope["query_string"]
        return query

    @property
    def is_local(self) -> bool:
        """Tell whether it comes from this machine, and not through a proxy on it."""
        return is_loopback(self.client) and not any(
            name in _PROXIED or name.startswith(_PROXY) for name, _ in self._scope["headers"]
        )

    @property
    def client(self) -> str:
        """The address of the other end; empty where that is not known."""
        client = self._scope.get("client")
        return "" if client is None else str(client[0])

    @property
    def http_version(self) -> str:
        """Return `1.1`, or what else it is."""
        return str(self._scope.get("http_version", ""))

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of this lower-case name."""
        return next(iter(self.headers(name)), None)

    def headers(self, name: bytes) -> list[bytes]:
        """Return every header of this lower-case name, in order."""
        return [bytes(value) for key, value in self._scope["headers"] if key == name]

    async def body(self) -> bytes:
        """Read the whole body, capped while it streams in."""
        body, more = await self._some()
        if not more:
            return body
        parts, size = [body], len(body)
        while more:
            body, more = await self._some()
            size += len(body)
            if size > self._cap:
                raise BodyTooLarge
            parts.append(body)
        return b"".join(parts)

    async def _some(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        body: bytes = message.get("body", b"")
        if len(body) > self._cap:
            raise BodyTooLarge
        return body, message.get("more_body", False)


class App:
    """Routes requests to collectors, and answers for the process itself.

    Attributes:
        draining: it is about to go, and not ready any more.
        answered: how many answers there were, by path and status; paths that nobody has, and what
            upgrades to a WebSocket, are not told apart or not counted.
        owners: by path, who has it: `meter`, `collectors.<name>` or `sinks.<name>`.
        health: whether the journal can be written.
    """

    def __init__(
        self,
        routes: Iterable[tuple[str, Route]],
        *,
        sockets: Iterable[tuple[str, SocketRoute]] = (),
        options: ServerOptions,
        journal: Journal,
        clock: Clock,
    ) -> None:
        """Mount the routes, each given with its owner's name.

        The WebSockets are served by the listening server, which has the connections.

        Raises:
            ConfigurationError: two owners want one path; the text names both.
        """
        self.draining = False
        self.answered: Counter[tuple[str, int]] = Counter()
        self._cap = options.max_body
        self._most = options.max_concurrency
        self._running = 0
        self.health = Health(journal, clock)
        self._paths: dict[str, dict[str, Handler]] = {}
        self.owners: dict[str, str] = {}
        own = [
            ("meter", Route("GET", _OWN[0], self._alive)),
            ("meter", Route("GET", _OWN[1], self._readiness)),
        ]
        for owner, route in [*own, *routes]:
            _claim(self.owners, route.path, owner)
            self._paths.setdefault(route.path, {})[route.method] = route.handler
        self.sockets: dict[str, SocketRoute] = {}
        for owner, socket in sockets:
            _claim(self.owners, socket.path, owner)
            self.sockets[socket.path] = socket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        if self._running >= self._most and scope["path"] not in _OWN:
            response = _BUSY
        else:
            self._running += 1
            try:
                response = await self._answer(scope, receive)
            except _ClientGone:
                return
            finally:
                self._running -= 1
        self._count(scope["path"], response.status)
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            *response.headers,
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        methods = self._paths.get(scope["path"])
        if methods is None:
            return _NO_UPGRADE if scope["path"] in self.sockets else _NOT_FOUND
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        handler = methods.get(method)
        if handler is None:
            allow = ", ".join(sorted(methods)).encode()
            return Response(405, b'{"error":"wrong method"}', headers=((b"allow", allow),))
        try:
            request: Request = _Request(scope, receive, self._cap)
            return await handler(request)
        except BodyTooLarge:
            return _TOO_LARGE
        except _ClientGone:
            raise
        except Exception:  # noqa: BLE001  a handler's fault is answered 503, never 4xx
            path = scope["path"]
            _log.exception("http.failed", extra={"path": path, **self._owner(path)})
            return _BROKEN

    def _count(self, path: str, status: int) -> None:
        """Count every answer; log refusals at 1, 2, 4, 8 …, so that a flood stays readable."""
        key = (path if path in self._paths else "other", status)
        self.answered[key] += 1
        count = self.answered[key]
        if status >= 400 and count & (count - 1) == 0:  # noqa: PLR2004  the HTTP error statuses
            fields = {"path": key[0], "status": status, "times": count, **self._owner(path)}
            _log.warning("http.refused", extra=fields)

    def _owner(self, path: str) -> dict[str, str]:
        """Return, as a field of a log line, which collector or sink a path belongs to."""
        section, _, name = self.owners.get(path, "").partition(".")
        return {section.removesuffix("s"): name} if name else {}

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return self._running

    async def _alive(self, request: Request) -> Response:
        """Say that the process lives, with what it answered so far."""
        del request
        answered = {f"{path} {status}": n for (path, status), n in sorted(self.answered.items())}
        return Response(200, msgspec.json.encode({"status": "alive", "answered": answered}))

    async def _readiness(self, request: Request) -> Response:
        """Say whether a webhook would be stored now; to this machine also why it would not."""
        if self.draining:
            return Response(503, b'{"status":"draining"}')
        why = await self.health.unwritable()
        if why is None:
            return _READY
        # The words name a path of this machine, and the log has them too.
        told = {"why": why} if request.is_local else {}
        answer = {"status": "the journal cannot be written", **told}
        return Response(503, msgspec.json.encode(answer))


def _claim(owners: dict[str, str], path: str, owner: str) -> None:
    if owners.setdefault(path, owner) != owner:
        raise ConfigurationError(
            f"{owner} and {owners[path]} both want the path {path}; give one of them another "
            "`path:`"
        )
