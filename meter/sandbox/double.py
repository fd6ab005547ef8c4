"""The AssemblyAI double as a running server, in a thread of its own."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpx
import uvicorn

from meter.sandbox.faults import Faults, JobPlan
from meter.sandbox.jobs import JobStore, Truth
from meter.sandbox.lifecycle import Lifecycle
from meter.sandbox.rest import RestApp
from meter.sandbox.webhooks import Courier, WebhookRules

GRACE_SECONDS = 2
"""How long a stop waits for answers that are being sent."""


def utc_now() -> datetime:
    """Return the time as aware UTC."""
    return datetime.now(UTC)


class AssemblyAISandbox:
    """AssemblyAI's REST API on a local port: stateful, honest, and faulty only where asked.

    Use it as a context manager, `with` or `async with`, or call `start` and `stop`. It runs in
    its own thread with its own event loop, so it serves synchronous and asynchronous callers of
    the same process alike. Everything is in memory; it starts once, and after `stop` its ledger
    can still be read.

    Args:
        host: The address to listen on.
        port: The port; 0 takes a free one, see `base_url`.
        keys: The API keys that are accepted; none given accepts any key without a space.
        faults: What goes wrong; may be changed at any time through the attribute `faults`.
        latency: Mean seconds from submission to the final status.
        seed: The same seed and the same audio URLs give the same ids, durations and faults, in
            whatever order they are submitted. Planned jobs follow their plans.
        rules: When webhooks are sent again; the default is what AssemblyAI documents.
        now: The clock that stamps jobs, aware UTC. It does not drive the latency.
    """

    def __init__(  # noqa: PLR0913 - independent settings, keyword-only, all with defaults
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Collection[str] = (),
        faults: Faults | None = None,
        latency: float = 0.2,
        seed: int = 1,
        rules: WebhookRules | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._host = host
        self._port = port
        self._keys = frozenset(keys)
        self._rules = rules or WebhookRules()
        self._jobs = JobStore(seed=seed, latency=latency, faults=faults or Faults(), now=now)
        self._base_url: str | None = None
        self._thread: threading.Thread | None = None
        self._ended: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._stopping: asyncio.Event | None = None
        self._lifecycle: Lifecycle | None = None

    @property
    def base_url(self) -> str:
        """Where it listens, as the SDK's `base_url` wants it.

        Raises:
            RuntimeError: It was not started.
        """
        if self._base_url is None:
            raise RuntimeError("the AssemblyAI sandbox has no address before start()")
        return self._base_url

    @property
    def faults(self) -> Faults:
        """What goes wrong from now on; assign to change it."""
        return self._jobs.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._jobs.faults = faults

    def plan_next(self, *plans: JobPlan) -> None:
        """Say what happens to the next jobs submitted, in order; later ones are left to chance."""
        self._jobs.plans.extend(plans)

    def finish(self, transcript_id: str) -> None:
        """Give a job its final status at once, so that a test need not wait for its latency.

        Raises:
            KeyError: There is no such transcript.
            RuntimeError: The sandbox does not run.
        """
        if self._loop is None or self._lifecycle is None:
            raise RuntimeError("the AssemblyAI sandbox does not run")
        job = self._jobs.by_id(transcript_id)
        self._loop.call_soon_threadsafe(self._lifecycle.hurry, job)

    def truth(self) -> list[Truth]:
        """Return what a perfect meter must know, oldest submission first; from any thread."""
        return self._jobs.truth()

    def start(self) -> Self:
        """Listen, and return when requests are answered.

        Raises:
            OSError: The address is in use or not ours.
            RuntimeError: It was started before.
        """
        if self._thread is not None:
            raise RuntimeError("an AssemblyAI sandbox starts once; make another one")
        listener = _listen(self._host, self._port)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._base_url = f"http://{host}:{listener.getsockname()[1]}"
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(listener, started), name="assemblyai-sandbox", daemon=True
        )
        self._thread.start()
        started.result()
        return self

    def stop(self) -> None:
        """Stop listening and cancel outstanding deliveries; harmless when it does not run.

        Raises:
            Exception: What went wrong inside the double while it ran.
        """
        if self._thread is None:
            return
        if self._loop is not None:
            # The loop may have ended by itself, after a failure that `result` raises.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._begin_stop)
        self._thread.join()
        self._ended.result()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _run(self, listener: socket.socket, started: Future[None]) -> None:
        """Thread body: serve until asked to stop, and keep what went wrong for the caller."""
        try:
            with listener, asyncio.Runner() as runner:
                runner.run(self._serve(listener, started))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread instead
            (self._ended if started.done() else started).set_exception(error)
        if not self._ended.done():
            self._ended.set_result(None)

    async def _serve(self, listener: socket.socket, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        # Local only: proxies and credentials of the environment are none of its business.
        async with httpx.AsyncClient(trust_env=False, timeout=self._rules.timeout) as client:
            self._lifecycle = Lifecycle(self._jobs, Courier(client, self._rules))
            app = RestApp(
                self._jobs,
                keys=self._keys,
                on_submitted=self._lifecycle.start,
                stopping=self._stopping,
            )
            self._server = uvicorn.Server(
                uvicorn.Config(
                    app,
                    http="httptools",
                    ws="none",
                    lifespan="off",
                    interface="asgi3",
                    proxy_headers=False,
                    log_config=None,
                    access_log=False,
                    timeout_graceful_shutdown=GRACE_SECONDS,
                )
            )
            started.set_result(None)
            try:
                # In a thread that is not the main one, uvicorn installs no signal handlers.
                await self._server.serve(sockets=[listener])
            finally:
                await self._lifecycle.stop()

    def _begin_stop(self) -> None:
        if self._stopping is not None and self._server is not None:
            self._stopping.set()
            self._server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only on sockets that name it; without
    # it every answer waits some 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
