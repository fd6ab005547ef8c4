"""One relayed session, from its accepted token to its Termination.

Frames go up as they come (`client.py`); what comes down is read here: Begin and Termination are
recorded before the application sees them, Heartbeats that only meter asked for are left out, and
everything else passes as it is. Whatever ends a session, the provider is told `Terminate` and its
Termination is waited for, within a bound: that is the figure that is billed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from meter.collectors.relay.books import Books
from meter.collectors.relay.client import Client
from meter.collectors.relay.codes import (
    BAD_CHUNK,
    BAD_MESSAGE,
    EXPIRED,
    SERVER_FAULT,
    STARTING,
    UNAUTHORIZED,
    farewell,
)
from meter.collectors.relay.control import GO_ON_BEATING, TERMINATE, read_control
from meter.collectors.relay.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    BadFrame,
    client_frame,
    server_frame,
)
from meter.collectors.relay.reading import MessageReader
from meter.collectors.relay.upstream import Refusal, Unreachable
from meter.streaming import Begin, Heartbeat, Termination, Unusable, read_message

if TYPE_CHECKING:
    from meter.collectors.relay.reading import Message
    from meter.collectors.relay.relay import Relay
    from meter.collectors.relay.tokens import Grant
    from meter.collectors.relay.upstream import Upstream
    from meter.http import Upgrade

__all__ = ["RelayedSession"]

HELD_SECONDS: Final = 5.0
"""The longest that a message waits for the journal; it is recorded later, then, all the same."""
LINGER_SECONDS: Final = 3.0
"""How long either side may take to answer a close frame."""
STALLED_SECONDS: Final = 30.0
"""How long an application may leave what it is sent unread before it counts as gone."""

_NO_REFUSAL: Final = (b"", (1000).to_bytes(2, "big"), (1001).to_bytes(2, "big"))
"""What a close frame says when a session just ends."""


class RelayedSession:
    """One application and one connection to the provider."""

    def __init__(self, relay: Relay, upgrade: Upgrade, grant: Grant, *, heartbeats: bool) -> None:
        """Be asked for a session; `open` does the rest.

        Args:
            relay: the collector's part.
            upgrade: the application's request, unanswered.
            grant: what its token allows.
            heartbeats: whether the application itself asked for them.
        """
        self.grant = grant
        self.books = Books(relay, grant)
        self.client = Client(self, upgrade.transport, relay.options.max_frame)
        self._relay = relay
        self._upgrade = upgrade
        self._heartbeats = heartbeats
        self._upstream: Upstream | None = None
        self._upstream_ended = False
        self._upstream_closed = False  # it sent a close frame
        self._refused = False  # with a code that says so
        self._client_gone = False
        self._closed = False  # the books
        self._told = False  # the application was sent a close frame
        self._terminate_sent = False
        self._ending: tuple[int, str] | None = None
        self._give_up_at: float | None = None
        self._linger_until: float | None = None
        self._stalled_at: float | None = None
        self._active_at = relay.now()
        self._expires_at: float | None = None
        self._reader = MessageReader()
        self._held = False  # a message waits for the journal, and what comes behind it for that

    # -- opening -------------------------------------------------------------------------------

    async def open(self) -> None:
        """Note the opening, dial, answer the application, and pass frames from then on."""
        relay, upgrade = self._relay, self._upgrade
        refusal = await self.books.ask() if await relay.is_ready() else STARTING
        if refusal is not None:
            self._refuse(*refusal)
            return
        if self.books.spent or self._client_gone:
            await self.books.conclude(refused=True)
            relay.forget(self)
            if not self._client_gone:
                relay.turn_away(upgrade, UNAUTHORIZED, "the token was used before")
            return
        try:
            upstream = await relay.dial(upgrade)
        except Refusal as refused:
            where = {"upstream": relay.options.upstream, "status": refused.status}
            relay.log.warning("session.refused", extra={**where, **self.books.names()})
            relay.in_trouble(f"AssemblyAI answered {refused.status} at {relay.options.upstream}")
            self._refuse(refused.status, refused.body, refused.headers)
            await self.books.conclude(refused=True)
            return
        except Unreachable as error:
            why = f"{relay.options.upstream} could not be reached: {error}"
            relay.in_trouble(why)
            relay.log.error("session.unreachable", extra={"error": why})  # noqa: TRY400  because the text is enough
            self._refuse(502, b'{"error":"AssemblyAI could not be reached; please retry"}')
            await self.books.conclude(refused=not error.asked)
            return
        self._upstream = upstream
        self._active_at = relay.now()
        self._expires_at = self._active_at + relay.longest(self.grant).total_seconds()
        if self._client_gone:
            self._terminate()
        else:
            upgrade.accept(upstream.subprotocol)
            if self._ending is None:
                self.client.forward = upstream.transport.write
            else:
                self._terminate()
        upstream.attach(self)

    def _refuse(self, status: int, body: bytes = b"", headers: Any = ()) -> None:
        self._relay.refused["unavailable"] += 1
        if not self._client_gone:
            self._upgrade.refuse(status, body, headers)
        self._relay.forget(self)

    # -- what the application does -------------------------------------------------------------

    def client_says(self, text: bytes) -> bytes:
        """Note what matters for the books; the message itself passes."""
        said = read_control(text)
        if said.type == "Terminate":
            self._terminate_sent = True
            self._give_up_at = self._relay.now() + self._relay.patience
        elif said.type == "UpdateConfiguration" and said.session_heartbeat is not None:
            self._heartbeats = said.session_heartbeat
            if not said.session_heartbeat:
                return GO_ON_BEATING
        return b""

    def client_closes(self, frame: bytes, payload: bytes) -> None:
        """Answer a close, and end the session; after the provider's own close it is the echo."""
        self.client.forward = None
        if self._upstream_closed:
            if self._upstream is not None and not self._upstream.transport.is_closing():
                self._upstream.transport.write(frame)
        else:
            self._told = True
            self.client.send(server_frame(CLOSE, payload))
        self.client.transport.close()

    def client_errs(self, problem: BadFrame, opcode: int) -> None:
        """End a session whose application sends what cannot be passed on."""
        code = BAD_CHUNK if opcode in (BINARY, CONTINUATION) else BAD_MESSAGE
        self.end(code, f"Input validation error: {problem}")

    def client_lost(self) -> None:
        """Terminate what the application left open."""
        if self._client_gone:
            return
        self._client_gone = True
        self._stalled_at = None
        self._retire()
        if self._upstream is None or self._upstream_ended:
            return
        self._read_upstream()
        if not self._upstream_closed:
            self._terminate()

    def client_full(self) -> None:
        """Make the provider wait for the application; not when its last word is awaited."""
        if self._ending is not None:
            self.client.transport.abort()
        elif not self._client_gone:
            self._stalled_at = self._relay.now()
            self._pause_upstream()

    def client_drained(self) -> None:
        """Let the provider go on."""
        self._stalled_at = None
        self._read_upstream()

    def _pause_upstream(self) -> None:
        if self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.pause_reading()

    def _read_upstream(self) -> None:
        """Read on, unless something waits for the journal or the application."""
        if self._held or self._stalled_at is not None:
            return
        if self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.resume_reading()

    # -- ending it -------------------------------------------------------------------------------

    def end(self, code: int, reason: str) -> None:
        """End the session with the provider's code; its Termination is waited for."""
        if self._ending is not None or self._upstream_closed:
            return
        self._ending = (code, reason)
        self.client.forward = None
        self._relay.log.info(
            "session.ending", extra={"code": code, "reason": reason, **self.books.names()}
        )
        if self._upstream is not None:
            self._terminate()

    def _terminate(self) -> None:
        """Tell the provider to end, once, and give it a bounded time to say what it bills."""
        if self._upstream is None or self._upstream_ended:
            return
        self.client.forward = None
        if not self._terminate_sent:
            self._terminate_sent = True
            self._upstream.transport.write(TERMINATE)
        if self._give_up_at is None:
            self._give_up_at = self._relay.now() + self._relay.patience
        if self._stalled_at is not None:  # it does not read, and the Termination is behind that
            self.client.transport.abort()

    def abort(self) -> None:
        """Give up on the provider."""
        if self._upstream is not None:
            self._upstream.transport.abort()

    def tick(self, now: float) -> None:
        """Look at the limits, about once a second."""
        if self.client.active:
            self.client.active = False
            self._active_at = now
        if self._linger_until is not None and now >= self._linger_until:
            self.abort()
            if self.client.transport.is_closing():  # it was asked to, and does not read the rest
                self.client.transport.abort()
            self.client.transport.close()
            self._linger_until = now + LINGER_SECONDS
        elif self._give_up_at is not None:
            if now >= self._give_up_at:
                self._give_up()
        elif self._stalled_at is not None and now - self._stalled_at >= STALLED_SECONDS:
            self._relay.log.warning("session.stalled", extra=self.books.names())
            self.client.transport.abort()
        elif self._expires_at is not None:
            idle = self._relay.options.idle_timeout
            if now >= self._expires_at:
                self.end(EXPIRED, "Session Expired: Maximum session duration exceeded")
            elif idle is not None and now - self._active_at >= idle.total_seconds():
                self.end(EXPIRED, f"Session Expired: nothing was sent for {idle}")

    def _give_up(self) -> None:
        if self._stalled_at is not None:  # the Termination may lie behind what it does not read
            self._give_up_at = None
            self.client.transport.abort()
        else:
            self._relay.log.warning("session.no_termination", extra=self.books.names())
            self.abort()

    # -- what the provider says ------------------------------------------------------------------

    def upstream_full(self) -> None:
        """Make the application wait for the provider."""
        if not self.client.transport.is_closing():
            self.client.transport.pause_reading()

    def upstream_drained(self) -> None:
        """Let the application go on."""
        if not self.client.transport.is_closing():
            self.client.transport.resume_reading()

    def upstream_said(self, data: bytes) -> None:
        """Pass messages down, in order; those that are recorded wait for the journal."""
        self._reader.feed(data)
        self._read_on()

    def _read_on(self) -> None:
        try:
            while not self._held and (message := self._reader.next()) is not None:
                self._take(message)
        except BadFrame as problem:
            self._relay.log.error("upstream.bad_frame", extra={"error": str(problem)})  # noqa: TRY400  because the text is enough
            self.abort()

    def _take(self, message: Message) -> None:
        if message.opcode >= CLOSE:
            if self._control(message.opcode, message.payload):
                self._down(message.raw)
            return
        match read_message(message.payload) if message.opcode == TEXT else None:
            case Begin() as begin:
                self._hold(message.raw, self.books.begin(begin))
            case Termination() as termination:
                self._hold(message.raw, self.books.terminate(termination))
            case Unusable() as unusable:
                self._hold(message.raw, self.books.set_aside(unusable))
            case Heartbeat() as heartbeat:
                self.books.lengthen(heartbeat)
                if self._heartbeats:
                    self._down(message.raw)
            case _:
                self._down(message.raw)

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Take a control frame; tell whether it passes."""
        upstream = self._upstream
        if upstream is None:
            return False
        if opcode == CLOSE:
            self._upstream_closed = True
            self._refused = payload[:2] not in _NO_REFUSAL
            if self._refused:
                self.books.refused(payload)
            self.client.forward = None
            self._give_up_at = None
            self._linger_until = self._relay.now() + LINGER_SECONDS
            if self._client_gone or self._ending is not None:
                if not upstream.transport.is_closing():
                    upstream.transport.write(client_frame(CLOSE, payload))
                self._tell()
                return False
            self._told = True
        elif self._client_gone and opcode == PING and not upstream.transport.is_closing():
            upstream.transport.write(client_frame(PONG, payload))
            return False
        return True

    def _down(self, data: bytes) -> None:
        if data and not self._client_gone:
            self.client.send(data)

    def _hold(self, raw: bytes, record: Coroutine[Any, Any, None]) -> None:
        """Keep a message, and what comes behind it, until the journal has it."""
        self._held = True
        self._pause_upstream()
        self._relay.start(self._pass_when_recorded(raw, self.books.in_order(record)))

    async def _pass_when_recorded(self, raw: bytes, recorded: asyncio.Task[None]) -> None:
        await asyncio.wait([recorded], timeout=HELD_SECONDS)
        self._held = False
        self._down(raw)
        self._read_on()
        if not self._held and self._upstream_ended:
            self._conclude()
        self._read_upstream()

    def upstream_lost(self) -> None:
        """Tell the application, and close the books."""
        if self._upstream_ended:
            return
        self._upstream_ended = True
        self.client.forward = None
        if not self._held:
            self._conclude()

    def _conclude(self) -> None:
        """Be done: nothing more can come from the provider."""
        self._give_up_at = None
        self._tell()
        if not self._client_gone:
            self._linger_until = self._relay.now() + LINGER_SECONDS
        self._relay.start(self._close_books())

    async def _close_books(self) -> None:
        await self.books.conclude(refused=self._refused)
        self._closed = True
        self._retire()

    def _retire(self) -> None:
        """Be forgotten once both ends are gone and the books are closed."""
        if self._closed and self._client_gone:
            self._relay.forget(self)

    def _tell(self) -> None:
        """Tell the application why it is over, unless it was told."""
        if self._told or self._client_gone:
            return
        self._told = True
        lost = (SERVER_FAULT, "Session Cancelled: the connection to AssemblyAI was lost")
        code, reason = self._ending or lost
        self.client.send(farewell(code, reason, explained=not self.books.terminated))
