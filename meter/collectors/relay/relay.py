"""The relay of one collector: who may open a session, which are open, and their common clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import Counter
from collections.abc import Coroutine
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from meter.collectors.relay.books import opening_aside
from meter.collectors.relay.codes import RESTARTING, TOO_MANY, UNAUTHORIZED, farewell
from meter.collectors.relay.frames import CLOSE
from meter.collectors.relay.session import RelayedSession
from meter.collectors.relay.tokens import TokenRefused, read_token_of
from meter.collectors.relay.upstream import dial
from meter.errors import JournalUnavailable
from meter.streaming import LONGEST_SESSION

if TYPE_CHECKING:
    from datetime import timedelta

    from meter.clock import Clock
    from meter.collectors.intake import Intake
    from meter.collectors.interface import CollectorContext
    from meter.collectors.relay.collector import StreamingOptions
    from meter.collectors.relay.tokens import Grant
    from meter.collectors.relay.upstream import Upstream
    from meter.http import Upgrade
    from meter.journal import Journal

__all__ = ["Relay"]

T = TypeVar("T")

TICK_SECONDS: Final = 0.5
LENGTHEN_SECONDS: Final = 5.0
"""How often the lower bounds of open sessions are written."""
DIAL_SECONDS: Final = 10.0
DRAIN_SECONDS: Final = 5.0
"""How long open sessions have for their Termination when meter stops."""
BOOKS_SECONDS: Final = 2.0
LINGER_SECONDS: Final = 2.0
READY_SECONDS: Final = 5.0
_PASSED_HEADERS: Final = ("user-agent", "assemblyai-version")


class Relay:
    """All sessions of one collector.

    Attributes:
        opened: how many sessions were asked of the provider in this run.
        refused: how many were not, or not granted, by reason.
    """

    def __init__(self, options: StreamingOptions, context: CollectorContext) -> None:
        """Wait for `run`: it settles what an earlier process left, before anything is opened."""
        self.options = options
        self.name: str = context.name
        self.journal: Journal = context.journal
        self.intake: Intake = context.intake
        self.clock: Clock = context.clock
        self.log: logging.LoggerAdapter[logging.Logger] = context.log
        self.patience = options.termination_timeout.total_seconds()
        self.draining = False
        self._ready = asyncio.Event()
        self._turned_away: set[_TurnedAway] = set()
        self._sessions: dict[RelayedSession, None] = {}
        self._of_customer: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.opened = 0
        self.refused: Counter[str] = Counter()
        self._turned_away_for: Counter[str] = Counter()
        self._trouble: str | None = None

    # -- a request -----------------------------------------------------------------------------

    def connect(self, upgrade: Upgrade) -> asyncio.Protocol:
        """Take a client that asks for a session, or turn it away; see `meter.http.SocketRoute`."""
        if self.draining:
            self.refused["draining"] += 1
            upgrade.refuse(503, b'{"error":"meter is stopping"}', [("retry-after", "5")])
            return asyncio.Protocol()
        query = dict(parse_qsl(upgrade.query.decode("ascii"), keep_blank_values=True))
        token = upgrade.header("authorization") or query.get("token", "")
        if not token:
            return self.turn_away(upgrade, UNAUTHORIZED, "Missing Authorization header")
        secrets = self.options.token_secrets()
        try:
            grant = read_token_of(token, secrets, self.name, now=self.clock.now())
        except TokenRefused as refused:
            return self.turn_away(upgrade, UNAUTHORIZED, str(refused))
        most = self.options.max_sessions_per_customer
        if len(self._sessions) >= self.options.max_sessions or (
            most is not None and self._of_customer[grant.customer_id] >= most
        ):
            return self.turn_away(upgrade, TOO_MANY, "Too many concurrent sessions", grant)
        heartbeats = query.get("session_heartbeat", "").lower() in ("true", "1")
        session = RelayedSession(self, upgrade, grant, heartbeats=heartbeats)
        self._sessions[session] = None
        self._of_customer[grant.customer_id] += 1
        self.start(self._open(session, upgrade))
        return session.client

    async def _open(self, session: RelayedSession, upgrade: Upgrade) -> None:
        try:
            await session.open()
        except BaseException:
            upgrade.transport.abort()
            self.forget(session)
            raise

    def turn_away(
        self, upgrade: Upgrade, code: int, why: str, grant: Grant | None = None
    ) -> asyncio.Protocol:
        """Refuse as the provider does: an Error message, and its code in the close frame."""
        self.refused["too_many" if code == TOO_MANY else "unauthorized"] += 1
        self._turned_away_for[why] += 1
        times = self._turned_away_for[why]
        if times & (times - 1) == 0:  # at 1, 2, 4, 8 …, so that a flood stays readable
            whose = {"customer_id": grant.customer_id} if grant is not None else {}
            self.log.warning(
                "session.turned_away", extra={"code": code, "reason": why, "times": times, **whose}
            )
        upgrade.accept()
        reason = f"Unauthorized Connection: {why}"
        upgrade.transport.write(farewell(code, reason, explained=True))
        turned = _TurnedAway(upgrade.transport, self._turned_away)
        upgrade.transport.set_protocol(turned)
        return turned

    def in_trouble(self, why: str | None) -> None:
        """Keep for `meter status` why sessions cannot be opened; None once they can again."""
        if why != self._trouble:
            self._trouble = why
            self.start(self._tell_trouble(why))

    async def _tell_trouble(self, why: str | None) -> None:
        with contextlib.suppress(JournalUnavailable):  # the log has it
            await self.journal.set_trouble(self.name, why)

    async def is_ready(self) -> bool:
        """Wait a moment until what an earlier process left is settled; tell whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        return self._ready.is_set()

    def longest(self, grant: Grant) -> timedelta:
        """Return how long a session may last."""
        capped = LONGEST_SESSION if grant.max_session is None else grant.max_session
        return min(capped, self.options.max_session)

    async def dial(self, upgrade: Upgrade) -> Upstream:
        """Connect to the provider with its key, and nothing of the customer.

        Raises:
            Refusal, Unreachable: see `upstream.dial`.
        """
        headers = [("Authorization", self.options.api_key.get_secret_value())]
        headers += [(k, v) for k in _PASSED_HEADERS if (v := upgrade.header(k)) is not None]
        offered = upgrade.header("sec-websocket-protocol") or ""
        self.opened += 1
        return await dial(
            f"{self.options.upstream.rstrip('/')}/v3/ws?{_query_up(upgrade.query)}",
            headers,
            [name.strip() for name in offered.split(",") if name.strip()],
            tls=self._tls,
            seconds=DIAL_SECONDS,
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        if not self.options.upstream.startswith("wss://"):
            return None
        from httpx import create_ssl_context

        return create_ssl_context()

    @property
    def open_now(self) -> int:
        """How many clients are connected."""
        return len(self._sessions)

    # -- what sessions use -----------------------------------------------------------------------

    def now(self) -> float:
        """Return the event loop's clock, seconds."""
        return asyncio.get_running_loop().time()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something that the relay waits for before it ends."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("session.failed", exc_info=error)

    def forget(self, session: RelayedSession) -> None:
        """Let go of a session that is over."""
        if session in self._sessions:
            del self._sessions[session]
            customer_id = session.grant.customer_id
            self._of_customer[customer_id] -= 1
            if not self._of_customer[customer_id]:
                del self._of_customer[customer_id]

    # -- the run -----------------------------------------------------------------------------------

    async def settle_leftovers(self) -> None:
        """Abandon what an earlier process left open: its connections died with it."""
        while left := self.journal.sessions.list(states=["open"], collector=self.name, limit=500):
            now = self.clock.now()
            await asyncio.gather(*(self.intake.abandon(s, s.lower_seconds, now) for s in left))
            for session in left:
                self.log.warning(
                    "session.abandoned",
                    extra={"session": session.provider_id, "customer_id": session.customer_id},
                )
        for number, opening in self.journal.sessions.openings(self.name):
            item = opening_aside(number, opening)
            await self.journal.sessions.set_opening_aside(number, item)
            self.log.error("session.unseen", extra={"customer_id": opening.customer_id})

    async def run(self) -> None:
        """Keep limits and lower bounds, until cancelled; then end every session cleanly."""
        self.draining = False
        self.patience = self.options.termination_timeout.total_seconds()
        self._ready.set()
        lengthened_at = self.now()
        try:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                now = self.now()
                for session in list(self._sessions):
                    session.tick(now)
                if now - lengthened_at >= LENGTHEN_SECONDS:
                    lengthened_at = now
                    await self._lengthen()
        finally:
            await self._drain()

    async def _lengthen(self) -> None:
        bounds = [bound for s in self._sessions if (bound := s.books.unwritten_lower())]
        if bounds:
            try:
                await self.journal.sessions.lengthen(bounds)
            except JournalUnavailable as error:
                self.log.error("session.unsaved", extra={"error": str(error)})  # noqa: TRY400  because the text is enough

    async def _drain(self) -> None:
        """Terminate what is open, wait for the Terminations within a bound, and record."""
        self.draining = True
        self._ready.clear()
        self.patience = min(self.options.termination_timeout.total_seconds(), DRAIN_SECONDS)
        deadline = self.now() + DRAIN_SECONDS
        for session in list(self._sessions):
            session.end(RESTARTING, "meter is restarting; please connect again")
        while self._sessions and self.now() < deadline:
            for session in list(self._sessions):
                session.tick(self.now())
            await asyncio.sleep(0.02)
        for session in list(self._sessions):
            session.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=BOOKS_SECONDS)
        for session in list(self._sessions):
            session.client.transport.close()
        for turned in list(self._turned_away):
            turned.transport.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=BOOKS_SECONDS)


class _TurnedAway(asyncio.Protocol):
    """Reads and forgets until the client has read why, so that no reset swallows the reason."""

    def __init__(self, transport: asyncio.Transport, lingering: set[_TurnedAway]) -> None:
        self.transport = transport
        self._lingering = lingering
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.close)
        lingering.add(self)

    def data_received(self, data: bytes) -> None:
        if data and data[0] & 0x0F == CLOSE:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._timer.cancel()
        self._lingering.discard(self)


def _query_up(query: bytes) -> str:
    """Return the client's parameters as they came, less its token, with Heartbeats asked for."""
    ours = (b"token", b"session_heartbeat")
    kept = [
        part
        for part in query.split(b"&")
        if part and unquote_to_bytes(part.partition(b"=")[0]) not in ours
    ]
    return b"&".join([*kept, b"session_heartbeat=true"]).decode("ascii").replace("#", "%23")
