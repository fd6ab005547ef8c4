"""The ingest collector on a real port, and a client that posts to it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from meter.clock import Clock
from meter.collectors.ingest import IngestCollector, IngestOptions
from meter.collectors.intake import Intake
from meter.collectors.interface import CollectorContext
from meter.config import ServerOptions
from meter.journal import Journal
from meter.logs import FieldLogger
from meter.server.app import App
from meter.server.listening import HttpServer, bind
from support.plugging import plugins_with
from support.waiting import eventually

SECRET = "s3cret-of-the-apps"


CUSTOMERS = (
    "Müller & Söhne",
    "株式会社",
    "شركة",
    "🙂" * 50,
    "\x00",
    "a\x00b",
    " a ",
    "ＡＣＭＥ",
    "e\u0301",
    "é",
    "\u202eevil",
    "'; DROP TABLE events; --",
    "a\r\nb",
    "=1+1",
    "{}",
    "%00",
)
"""Names that must come out as they went in."""


class Posting:
    """Ingest on a port of its own, served by the very server that `meter run` uses."""

    def __init__(self, journal: Journal, clock: Clock, **server: Any) -> None:
        self.journal = journal
        context = CollectorContext(
            name="apps",
            collectors=frozenset({"apps"}),
            intake=Intake(journal, plugins_with()),
            journal=journal,
            clock=clock,
            log=FieldLogger(logging.getLogger("meter.test"), {"collector": "apps"}),
        )
        collector = IngestCollector(IngestOptions(secret=SecretStr(SECRET)), context)
        options = ServerOptions(**server)
        app = App(
            [("collectors.apps", route) for route in collector.routes()],
            options=options,
            journal=journal,
            clock=clock,
        )
        self._listener = bind("127.0.0.1", 0)
        self._server = HttpServer(app, receipt_deadline=options.receipt_deadline)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        eventually(lambda: self._server.started)
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1",
            headers={"authorization": f"Bearer {SECRET}"},
            trust_env=False,
            timeout=30,
        )

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))

    def stop(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    # -- posting -------------------------------------------------------------------------------

    def post(self, path: str, body: Any, **given: Any) -> httpx.Response:
        """Post JSON; text, bytes and an iterator of them are sent as they are."""
        content = body if isinstance(body, str | bytes | Iterator) else json.dumps(body)
        return self.client.post(path, content=content, **given)

    def results(self, path: str, body: Any) -> list[dict[str, str]]:
        answer = self.post(path, body)
        assert answer.status_code == httpx.codes.OK, answer.text
        results: list[dict[str, str]] = answer.json()["results"]
        return results

    def statuses(self, path: str, body: Any) -> list[str]:
        return [result["status"] for result in self.results(path, body)]


def away(path: Path) -> Path:
    """Move a journal's file away, so that it cannot be written; `rename` it back.

    Only when every thread that reads has read before: SQLite would make a new file for it.
    """
    return path.rename(path.with_name("moved.db"))
