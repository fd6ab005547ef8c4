"""The streaming double's door: the handshake, tokens over HTTP, and who gets a session."""

import asyncio
import contextlib
import math
import uuid
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from meter.sandbox.outcome import seeded_chance
from meter.sandbox.stream_access import StreamAccess, TokenRefusedError
from meter.sandbox.stream_books import Opening, SessionBooks, StreamTruth
from meter.sandbox.stream_clock import StreamClock
from meter.sandbox.stream_errors import (
    TOO_MANY_SESSIONS,
    TurnedAwayError,
    close_reason,
    error_message,
)
from meter.sandbox.stream_params import checked_params
from meter.sandbox.stream_plans import StreamFaults, StreamPlan
from meter.sandbox.stream_session import StreamRules, StreamSession, encode

SOCKET = "/v3/ws"
TOKEN = "/v3/token"  # noqa: S105 - because it is a path


class StreamConnection(ServerConnection):
    """A connection that knows its plan."""

    plan = StreamPlan()


class StreamDoor:
    """Lets clients in, one session each, and keeps everybody's books.

    `plans` are what the next connections follow, oldest first; `faults` are what else goes wrong.
    Both may be changed from any thread, and `truth` and `live` may be read from any; all else
    belongs to one event loop.
    """

    def __init__(
        self,
        *,
        access: StreamAccess,
        rules: StreamRules,
        clock: StreamClock,
        seed: int,
        max_sessions: int | None,
        faults: StreamFaults,
    ) -> None:
        self.plans: deque[StreamPlan] = deque()
        self.faults = faults
        self.failures: list[Exception] = []
        self._access = access
        self._rules = rules
        self._clock = clock
        self._seed = seed
        self._max_sessions = max_sessions
        self._books: list[SessionBooks] = []
        self._sessions: list[StreamSession] = []

    def truth(self) -> list[StreamTruth]:
        """Return the books of every session, oldest first; from any thread."""
        return [books.row() for books in list(self._books)]

    def live(self) -> list[str]:
        """Return the ids of the sessions that nothing has ended yet; from any thread."""
        return [books.opening.session_id for books in list(self._books) if books.is_open]

    def session(self, session_id: str) -> StreamSession:
        """Return the open session of that id, the newest where a plan gave it to several.

        Raises:
            KeyError: There is none.
        """
        for session in reversed(self._sessions):
            if session.books.is_open and session.books.opening.session_id == session_id:
                return session
        raise KeyError(session_id)

    def cut_everybody(self) -> None:
        """Cut every open session: the double stops."""
        for session in list(self._sessions):
            session.cut()

    async def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer the HTTP request of a new connection; None goes on to the WebSocket."""
        try:
            return await self._answer(connection, request)
        except Exception as error:
            self.failures.append(error)
            raise

    async def serve(self, connection: ServerConnection) -> None:
        """Carry an open socket to its end; faults of this double are kept in `failures`."""
        try:
            await self._serve(connection)
        except Exception as error:
            self.failures.append(error)
            raise

    async def _serve(self, connection: ServerConnection) -> None:
        plan = connection.plan if isinstance(connection, StreamConnection) else StreamPlan()
        try:
            session = self._admit(connection, plan)
        except TurnedAwayError as refusal:
            with contextlib.suppress(ConnectionClosed):
                await connection.send(encode(error_message(refusal.code, refusal.text)), text=True)
                await connection.close(refusal.code, close_reason(refusal.text))
            return
        self._sessions.append(session)
        try:
            await session.live()
        finally:
            self._sessions.remove(session)

    async def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        path, _, query = request.path.partition("?")
        if path == TOKEN:
            return self._answer_token(request, query)
        if path != SOCKET:
            return _json(HTTPStatus.NOT_FOUND, {"error": "Not found"})
        if request.headers.get("upgrade", "").lower() != "websocket":
            return _json(HTTPStatus.UPGRADE_REQUIRED, {"error": "This is a WebSocket"})
        # Only `plan_next` puts plans in, so nobody takes this one away in between.
        plan = self.plans.popleft() if self.plans else StreamPlan()
        if isinstance(connection, StreamConnection):
            connection.plan = plan
        if plan.handshake_delay_seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(plan.handshake_delay_seconds):
                    await connection.wait_closed()
        if plan.refuse_status is not None:
            status, body = plan.refuse_status
            return _response(HTTPStatus(status), body.encode())
        return None

    def _answer_token(self, request: Request, query: str) -> Response:
        # websockets 15 knows no other method and names none.
        if getattr(request, "method", "GET") != "GET":
            return _json(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "Method not allowed"})
        try:
            answer = self._access.issue(_headers(request), dict(parse_qsl(query)))
        except TokenRefusedError as refusal:
            return _json(refusal.status, {"error": refusal.text})
        return _json(HTTPStatus.OK, answer)

    def _admit(self, connection: ServerConnection, plan: StreamPlan) -> StreamSession:
        """Open a session and its books, or raise `TurnedAwayError`."""
        if plan.close_at_once is not None:
            raise TurnedAwayError(*plan.close_at_once)
        request = connection.request
        if request is None:
            raise RuntimeError("a socket without a handshake")
        query, headers = request.path.partition("?")[2], _headers(request)
        fields = dict(parse_qsl(query, keep_blank_values=True))
        admission = self._access.admit(headers, fields)
        params = checked_params(fields)
        open_sessions = [
            books
            for books in (session.books for session in self._sessions)
            if books.is_open and books.opening.api_key == admission.api_key
        ]
        if self._max_sessions is not None and len(open_sessions) >= self._max_sessions:
            raise TurnedAwayError(
                TOO_MANY_SESSIONS, "Unauthorized Connection: Too many concurrent sessions"
            )
        limit = self._rules.max_session_seconds
        if admission.session_seconds is not None:
            limit = min(limit, admission.session_seconds)
        chance = seeded_chance(self._seed, "stream", len(self._books))
        session_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        plan = self.faults.applied_to(plan, chance)
        planned_id = plan.begin_fields.get("id")
        now = self._clock.utc()
        opening = Opening(
            session_id=planned_id if isinstance(planned_id, str) else session_id,
            api_key=admission.api_key,
            query="&".join(part for part in query.split("&") if part.partition("=")[0] != "token"),
            params=MappingProxyType({n: v for n, v in fields.items() if n != "token"}),
            headers=MappingProxyType(headers),
            started_at=now,
            # Both rounded up: it is an upper bound of what is billed, which is in whole seconds.
            expires_at=datetime.fromtimestamp(math.ceil(now.timestamp() + math.ceil(limit)), UTC),
        )
        books = SessionBooks(opening, audio=params.audio, limit_seconds=limit, clock=self._clock)
        self._books.append(books)
        return StreamSession(
            socket=connection,
            books=books,
            params=params,
            plan=plan,
            rules=self._rules,
            limit_seconds=limit,
            clock=self._clock,
        )


def _headers(request: Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, text in request.headers.raw_items():
        before = headers.get(name.lower())
        headers[name.lower()] = text if before is None else f"{before}, {text}"
    return headers


def _json(status: HTTPStatus, document: Mapping[str, Any]) -> Response:
    return _response(status, encode(document))


def _response(status: HTTPStatus, body: bytes) -> Response:
    headers = Headers(
        {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
        }
    )
    return Response(status.value, status.phrase, headers, body)
