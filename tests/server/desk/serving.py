"""The page on a port of its own, served by the very server that `meter run` uses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from meter.collectors.intake import Intake
from meter.config import Config
from meter.journal import Journal
from meter.server.app import App
from meter.server.desk import OperatorDesk
from meter.server.listening import HttpServer, bind
from server.desk.reading import Element, read
from server.desk.scene import configured, opened
from support.clocks import FakeClock
from support.plugging import plugins_with
from support.waiting import eventually


@dataclass
class Desk:
    """A page that is served."""

    url: str
    config: Config
    journal: Journal
    clock: FakeClock
    app: App
    hanging: set[str]
    loop: asyncio.AbstractEventLoop | None = None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def later(self, **span: float) -> None:
        """Let time pass, so that what was asked is asked again."""
        self.clock.advance(**(span or {"minutes": 2}))

    def client(self, **headers: str) -> httpx.Client:
        """A browser, as far as one is needed: it keeps cookies."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, headers=named)

    def get(self, path: str = "/", **headers: str) -> httpx.Response:
        with self.client(**headers) as client:
            return client.get(path)


def page(desk: Desk, path: str = "/") -> Element:
    """Read one of its pages."""
    answer = desk.get(path)
    assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
    return read(answer.text)


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[Desk]:
    """Serve the page of an empty journal."""
    config, clock = configured(folder, **options), FakeClock()
    hanging: set[str] = set()
    with opened(folder, clock) as journal:
        intake = Intake(journal, plugins_with())
        desk = OperatorDesk(
            config,
            journal=journal,
            clock=clock,
            intake=intake,
            hanging=lambda: frozenset(hanging),
        )
        routes = [("meter", route) for route in desk.routes()]
        app = App(routes, options=config.server, journal=journal, clock=clock)
        desk.app = app
        listener = bind("127.0.0.1", 0)
        server = HttpServer(app, receipt_deadline=config.server.receipt_deadline)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
        )
        thread.start()
        eventually(lambda: server.started)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield Desk(url, config, journal, clock, app, hanging)
        finally:
            server.should_exit = True
            thread.join(20)
            desk.close()
