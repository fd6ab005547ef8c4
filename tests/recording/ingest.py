"""A meter that takes what is posted: the real collector, journal and HTTP server, in a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from pydantic import SecretStr

from acceptance.process import free_port
from meter.clock import SystemClock
from meter.collectors.ingest import IngestCollector, IngestOptions
from meter.collectors.intake import Intake
from meter.collectors.interface import CollectorContext
from meter.config import ServerOptions
from meter.events import StreamTerminated
from meter.http import Handler, Request, Response, Route
from meter.journal import Journal, Session, open_journal
from meter.logs import FieldLogger
from meter.server.app import App
from meter.server.listening import HttpServer, bind
from support.plugging import plugins_with
from support.waiting import eventually

SECRET = "s3cret-of-the-recording-tests"


class Ingest:
    """An ingest collector that can be started, stopped and started again on one port."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "meter.db"
        self.journal: Journal = open_journal(str(self.path), SystemClock())
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.bodies: list[bytes] = []
        self.instead: Callable[[bytes], Response | None] = lambda _body: None
        self.max_body = 1_048_576
        self._server: HttpServer | None = None
        self._thread: threading.Thread | None = None

    def start(self, secret: str = SECRET) -> None:
        context = CollectorContext(
            name="apps",
            collectors=frozenset({"apps"}),
            intake=Intake(self.journal, plugins_with()),
            journal=self.journal,
            clock=SystemClock(),
            log=FieldLogger(logging.getLogger("test"), {}),
        )
        collector = IngestCollector(IngestOptions(secret=SecretStr(secret)), context)
        routes = [
            ("apps", Route(r.method, r.path, self._noted(r.handler))) for r in collector.routes()
        ]
        options = ServerOptions(max_body=self.max_body)
        app = App(routes, options=options, journal=self.journal, clock=SystemClock())
        listener = bind("127.0.0.1", self.port)
        server = self._server = HttpServer(app, receipt_deadline=options.receipt_deadline)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
        )
        self._thread.start()
        eventually(lambda: server.started)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(20)
            assert not self._thread.is_alive()
            self._server = self._thread = None

    def close(self) -> None:
        self.stop()
        self.journal.close()

    def _noted(self, handler: Handler) -> Handler:
        """Note every body that comes, and let a test answer instead."""

        async def noted(request: Request) -> Response:
            body = await request.body()
            self.bodies.append(body)
            return self.instead(body) or await handler(_Read(request, body))

        return noted

    @property
    def items(self) -> list[Any]:
        """What was posted, one after the other."""
        return [item for body in self.bodies for item in msgspec.json.decode(body)]

    @property
    def events(self) -> list[StreamTerminated]:
        found = [stored.event for stored in self.journal.read(0, 1000)]
        return [event for event in found if isinstance(event, StreamTerminated)]

    @property
    def billed(self) -> dict[str, Decimal]:
        """What every session was billed, by its id."""
        assert len({event.provider_id for event in self.events}) == len(self.events)
        return {event.provider_id: event.seconds for event in self.events}

    def sessions(self, *states: Any) -> Sequence[Session]:
        return self.journal.sessions.list(states=states, limit=1000)

    def quarantined(self) -> int:
        return sum(self.journal.totals().quarantined.values())


class _Read:
    """A request whose body was read before."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.query = request.query
        self.is_local = request.is_local
        self.client = request.client
        self.http_version = request.http_version
        self.header, self.headers = request.header, request.headers
        self._body = body

    async def body(self) -> bytes:
        return self._body
