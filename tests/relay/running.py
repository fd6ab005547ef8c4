"""A streaming collector behind the real server, on a loop of its own beside the test's thread."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import jwt
import uvloop
from pydantic import SecretStr

from meter.clock import SystemClock
from meter.collectors.intake import Intake
from meter.collectors.interface import CollectorContext
from meter.collectors.relay.collector import StreamingCollector, StreamingOptions
from meter.config import ServerOptions
from meter.events import Event, StreamAbandoned
from meter.journal import Session, open_journal
from meter.logs import FieldLogger
from meter.server.app import App
from meter.server.listening import HttpServer, bind
from relay.wire import Wire, request
from support.plugging import plugins_with
from support.waiting import eventually

T = TypeVar("T")

SECRET = "token-secret-of-the-relay-tests-0123456789"
UPSTREAM_KEY = "k3y-of-the-provider"
NAME = "live"


def token(*, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """Sign a token as any application may; a claim of None is left out."""
    given = {
        "aud": NAME,
        "sub": "acme",
        "exp": int(time.time()) + 60,
        "jti": "the-token's-own-id",
        **claims,
    }
    kept = {name: value for name, value in given.items() if value is not None}
    # Only the registered claims' types are checked, by PyJWT itself, and the tests want wrong ones.
    return jwt.api_jws.encode(json.dumps(kept).encode(), secret, algorithm=algorithm)


class Complaints(logging.Handler):
    """Keeps what must never be logged: faults that nobody handled."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.unhandled: list[str] = []
        self.events: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(record.getMessage())
        strangers = record.name.startswith(("asyncio", "uvicorn")) and record.levelno >= 40
        if record.exc_info or strangers:
            self.unhandled.append(logging.Formatter().format(record))


class Relayed:
    """One relay on a port of its own, and its journal."""

    def __init__(self, folder: Path, upstream: str, *, collect: bool, options: Any) -> None:
        self.path = folder / "m.db"
        self.journal = open_journal(str(self.path), SystemClock())
        self.collector = StreamingCollector(
            StreamingOptions(
                api_key=SecretStr(UPSTREAM_KEY),
                token_secret=SecretStr(SECRET),
                upstream=upstream,
                **options,
            ),
            CollectorContext(
                name=NAME,
                collectors=frozenset({NAME}),
                intake=Intake(self.journal, plugins_with()),
                journal=self.journal,
                clock=SystemClock(),
                log=FieldLogger(logging.getLogger("meter.collectors"), {"collector": NAME}),
            ),
        )
        server = ServerOptions()
        app = App(
            [],
            sockets=[(f"collectors.{NAME}", s) for s in self.collector.sockets()],
            options=server,
            journal=self.journal,
            clock=SystemClock(),
        )
        self._listener = bind("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self._server = HttpServer(app, receipt_deadline=server.receipt_deadline)
        self._wires: list[Wire] = []
        self._collecting: asyncio.Task[None] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, args=(collect,), daemon=True)
        self._thread.start()
        eventually(lambda: self._server.started)

    # -- the relay itself ------------------------------------------------------------------

    def _run(self, collect: bool) -> None:  # noqa: FBT001  because it is a thread's argument
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(collect=collect))

    async def _serve(self, *, collect: bool) -> None:
        self._loop = asyncio.get_running_loop()
        if collect:
            self._collect()
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[self._listener]))
        await asyncio.gather(self._serving, return_exceptions=True)
        if self._collecting is not None:  # as `meter run` ends: first the port, then collectors
            self._collecting.cancel()
            await asyncio.gather(self._collecting, return_exceptions=True)

    def _collect(self) -> None:
        self._collecting = asyncio.ensure_future(self.collector.run(once=False))

    def collect(self) -> None:
        """Start what `meter run` starts for a collector, where the fixture did not."""
        self.inside(self._collect)

    def inside(self, look: Callable[[], T]) -> T:
        """Look at something in the relay's own loop."""
        assert self._loop is not None

        async def call() -> T:
            return look()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(20)

    def lengthen(self) -> None:
        """Write the lower bounds now, in place of LENGTHEN_SECONDS later; looks inside."""
        assert self._loop is not None
        work = self.collector._relay._lengthen()
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def open_sessions(self) -> list[Any]:
        """The sessions that the relay has not let go of; looks inside."""
        return self.inside(lambda: list(self.collector._relay._sessions))

    @property
    def runs(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End as `meter run` does."""
        self._server.should_exit = True
        self._join()

    def halt(self) -> None:
        """End without the pauses of uvicorn's own end: a fifth of a second for each test."""

        def close() -> None:
            for server in self._server.servers:
                server.close()
            assert self._serving is not None
            self._serving.cancel()

        self.inside(close)
        self._join()

    def _join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive(), "the relay did not stop"
        self.journal.close()

    # -- clients ------------------------------------------------------------------

    def connect(self, *, buffer: int | None = None) -> Wire:
        """Connect and say nothing yet."""
        self._wires.append(Wire.to(self.port, buffer=buffer))
        return self._wires[-1]

    def dial(
        self,
        given: str | None = None,
        *,
        query: Mapping[str, str] | str = "",
        headers: Mapping[str, str] | None = None,
        buffer: int | None = None,
        **claims: Any,
    ) -> Wire:
        """Ask for a session, with a good token unless told otherwise; read the answer's head."""
        wire = self.connect(buffer=buffer)
        text = query if isinstance(query, str) else urlencode(query)
        authorization = token(**claims) if given is None else given
        sent = {"Authorization": authorization, **(headers or {})}
        wire.raw(request(f"/v3/ws?{text}", headers=sent))
        wire.read_head()
        return wire

    def forget_clients(self) -> None:
        for wire in self._wires:
            wire.vanish()

    # -- the journal ------------------------------------------------------------------

    def rows(self, sql: str, *parameters: object) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def sessions(self) -> dict[str, Session]:
        return {s.provider_id: s for s in self.journal.sessions.list(limit=10_000)}

    def states(self) -> dict[str, str]:
        return {provider_id: session.state for provider_id, session in self.sessions().items()}

    def events(self) -> list[Event]:
        return [stored.event for stored in self.journal.read(0, 10_000)]

    def kinds(self) -> list[str]:
        return sorted(event.kind for event in self.events())

    def quarantined(self) -> list[str]:
        """Return the keys of what waits in quarantine, in order."""
        return [k for (k,) in self.rows("SELECT key FROM quarantine WHERE state = 'open'")]

    def openings(self) -> int:
        return int(self.rows("SELECT count(*) FROM openings")[0][0])


Start = Callable[..., Relayed]


def assert_abandoned_around(event: Event, seconds: Decimal) -> None:
    """Nothing is billed, and the truth lies within the bounds."""
    assert isinstance(event, StreamAbandoned)
    assert event.billed_seconds is None
    assert event.upper_seconds is not None
    assert event.lower_seconds <= seconds <= event.upper_seconds
