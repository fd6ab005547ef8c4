"""One run: collectors, delivery and the port, in one process, from start to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from meter.collectors.intake import Intake
from meter.collectors.interface import CollectorContext
from meter.collectors.overdue import abandon_overdue, keep_abandoning
from meter.delivery import Delivery
from meter.delivery.contexts import unopened
from meter.errors import MeterError
from meter.logs import FieldLogger
from meter.plugins.aside import within

if TYPE_CHECKING:
    import socket

    from meter.clock import Clock
    from meter.collectors.interface import Collector
    from meter.config import Config, SinkConfig
    from meter.http import Route
    from meter.journal import Journal
    from meter.plugins import Plugins

__all__ = ["Run"]

_log = logging.getLogger("meter.run")

DELIVERY_GRACE_SECONDS: Final = 8.0
"""For the batch in hand; with the port's grace and the relay's this stays under the 20 s of
DESIGN §7."""
POLL_SECONDS: Final = 0.02
"""How often a state is looked at that announces itself to no one."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
RESTART_SECONDS: Final = (1.0, 60.0)
"""A collector that fails is started again: after so long at first, and at the most."""


class Run:
    """Everything that a pipelines file asks for, wired together."""

    def __init__(self, config: Config, *, journal: Journal, plugins: Plugins, clock: Clock) -> None:
        """Make the collectors and the workers; nothing starts yet."""
        self._config = config
        self._journal = journal
        self._clock = clock
        self._plugins = plugins
        self._intake = Intake(journal, plugins)
        self._delivery = Delivery(config, journal=journal, plugins=plugins, clock=clock)
        self._collectors: dict[str, Collector] = {
            name: entry.extension.cls(
                entry.options,
                CollectorContext(
                    name=name,
                    collectors=frozenset(config.collectors),
                    intake=self._intake,
                    journal=journal,
                    clock=clock,
                    log=FieldLogger(logging.getLogger("meter.collectors"), {"collector": name}),
                ),
            )
            for name, entry in config.collectors.items()
        }

    def flush(self) -> None:
        """Let everything leave now, whatever pace a sink keeps otherwise; from any thread."""
        self._delivery.flush()

    async def once(self) -> signal.Signals | None:
        """Collect what there is, deliver it, and end; opens no port.

        A signal ends it early, after the batch in hand; answers the signal.
        """
        with _caught(SIGNALS) as (caught, ended):
            self._delivery.start()
            working = asyncio.create_task(self._once())
            try:
                await _first(working, ended)
            finally:
                working.cancel()
                (worked,) = await asyncio.gather(working, return_exceptions=True)
                await self._stop_delivery()
        if isinstance(worked, Exception):
            raise worked
        return caught[0] if caught else None

    async def _once(self) -> None:
        await asyncio.gather(
            *(self._collect(name, c, once=True) for name, c in self._collectors.items())
        )
        await abandon_overdue(self._journal, self._intake, self._clock)
        self._delivery.finish()
        while self._delivery.busy():  # noqa: ASYNC110  threads set no asyncio event
            await asyncio.sleep(POLL_SECONDS)

    async def _stop_delivery(self) -> None:
        for name in await asyncio.to_thread(self._delivery.stop, DELIVERY_GRACE_SECONDS):
            _log.warning("sink.still_busy", extra={"sink": name})

    async def forever(
        self,
        *,
        announce: Callable[[str], None] = lambda _address: None,
        until: asyncio.Event | None = None,
    ) -> signal.Signals | None:
        """Collect and deliver until a signal comes or `until` is set; answer the signal.

        Args:
            announce: called with the address once the port is open.
            until: another way to end the run.

        Raises:
            ConfigurationError: the port cannot be opened, or two collectors want one path.
        """
        from meter.collectors.relay.collector import StreamingCollector
        from meter.http import Route
        from meter.server.app import METRICS_PATH, App
        from meter.server.desk import OperatorDesk
        from meter.server.listening import HttpServer, bind
        from meter.server.metrics import Metrics
        from meter.server.tokens import TOKENS_PATH, TokenDesk

        routes = [
            (f"collectors.{name}", route)
            for name, collector in self._collectors.items()
            for route in collector.routes()
        ]
        routes += [
            (f"sinks.{name}", route)
            for name, entry in self._config.sinks.items()
            for route in self._routes_of(entry)
        ]
        options = self._config.server
        issuers = {n: c for n, c in self._collectors.items() if isinstance(c, StreamingCollector)}
        if issuers:
            desk = TokenDesk(issuers, options.admin_secret, options.previous_admin_secret)
            routes.append(("meter", Route("POST", TOKENS_PATH, desk.issue)))
        metrics = Metrics(
            options=options,
            collectors=self._collectors,
            sinks=self._delivery.figures(),
            intake=self._intake,
            journal=self._journal,
            clock=self._clock,
        )
        routes.append(("meter", Route("GET", METRICS_PATH, metrics.answer)))
        page = OperatorDesk(
            self._config,
            journal=self._journal,
            clock=self._clock,
            intake=self._intake,
            hanging=self._delivery.hanging,
        )
        routes += [("meter", route) for route in page.routes()]
        sockets = [
            (f"collectors.{name}", socket)
            for name, collector in self._collectors.items()
            for socket in collector.sockets()
        ]
        app = App(
            routes, sockets=sockets, options=options, journal=self._journal, clock=self._clock
        )
        metrics.app = page.app = app
        listener = bind(options.host, options.port)
        server = HttpServer(app, receipt_deadline=options.receipt_deadline)
        with _caught(SIGNALS, until) as (caught, ended):
            self._delivery.start()
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            collecting = [
                asyncio.create_task(self._collect(name, c, once=False))
                for name, c in self._collectors.items()
            ]
            collecting.append(
                asyncio.create_task(keep_abandoning(self._journal, self._intake, self._clock))
            )
            try:
                while not (server.started or serving.done()):  # noqa: ASYNC110  uvicorn sets no event
                    await asyncio.sleep(POLL_SECONDS)
                address = _address(listener)
                _log.info("run.started", extra={"address": address})
                announce(address)
                await _first(serving, ended)
            finally:
                _log.info("run.stopping")
                app.draining = True
                server.should_exit = True
                for task in collecting:
                    task.cancel()
                served, *_ = await asyncio.gather(serving, *collecting, return_exceptions=True)
                await self._stop_delivery()
                metrics.close()
                page.close()
                _log.info("run.stopped")
        if isinstance(served, BaseException):
            raise served
        return caught[0] if caught else None

    def _routes_of(self, entry: SinkConfig) -> Sequence[Route]:
        """Return a sink's own routes; one that cannot say has none, and the others go on."""

        def asked() -> Sequence[Route]:
            return list(unopened(entry, journal=self._journal, clock=self._clock).routes())

        try:
            return within(self._plugins.patience, asked, plugin=entry.extension.plugin)
        except BaseException:  # noqa: BLE001  because a plugin may raise anything, in its own thread
            plugin = str(entry.extension.plugin)
            _log.exception("sink.no_routes", extra={"sink": entry.name, "plugin": plugin})
            return ()

    async def _collect(self, name: str, collector: Collector, *, once: bool) -> None:
        """Run one collector; its faults are its own, and it is started again after a while."""
        wait, most = RESTART_SECONDS
        while True:
            try:
                await self._journal.set_trouble(name, None)
                await collector.run(once=once)
            except Exception as error:  # noqa: BLE001  a plugin may raise anything; the others go on
                cause = _innermost(error)
                expected = isinstance(cause, MeterError)
                trouble = str(cause) if expected else repr(cause)
                _log.error(
                    "collector.failed",
                    extra={"collector": name, "error": trouble},
                    exc_info=None if expected else cause,
                )
                with contextlib.suppress(MeterError):
                    await self._journal.set_trouble(name, trouble)
                if once:
                    return
                await asyncio.sleep(wait)
                wait = min(most, wait * 2)
            else:
                return


@contextlib.contextmanager
def _caught(
    signals: Sequence[signal.Signals], until: asyncio.Event | None = None
) -> Iterator[tuple[list[signal.Signals], asyncio.Event]]:
    """Note signals, and set an event at the first one, instead of dying of it."""
    loop = asyncio.get_running_loop()
    caught: list[signal.Signals] = []
    ended = until or asyncio.Event()

    def note(number: signal.Signals) -> None:
        caught.append(number)
        ended.set()

    for number in signals:
        loop.add_signal_handler(number, note, number)
    try:
        yield caught, ended
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _first(task: asyncio.Task[None], ended: asyncio.Event) -> None:
    """Wait until the task is done or the event is set."""
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _innermost(error: Exception) -> BaseException:
    """Return what a group of one is about."""
    cause: BaseException = error
    while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
        cause = cause.exceptions[0]
    return cause


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
