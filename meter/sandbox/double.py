"""The AssemblyAI double as a running server, in a thread of its own."""

import asyncio
import socket
from collections.abc import Callable, Collection
from concurrent.futures import Future
from datetime import UTC, datetime

import httpx
import uvicorn

from meter.sandbox.faults import Faults, JobPlan
from meter.sandbox.jobs import JobStore, Truth
from meter.sandbox.lifecycle import Lifecycle
from meter.sandbox.local_server import LocalServer
from meter.sandbox.rest import RestApp
from meter.sandbox.webhooks import Courier, WebhookRules

GRACE_SECONDS = 2
"""How long a stop waits for answers that are being sent."""


def utc_now() -> datetime:
    """Return the time as aware UTC."""
    return datetime.now(UTC)


class AssemblyAISandbox(LocalServer):
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
        super().__init__("AssemblyAI sandbox", host=host, port=port)
        self._keys = frozenset(keys)
        self._rules = rules or WebhookRules()
        self._jobs = JobStore(seed=seed, latency=latency, faults=faults or Faults(), now=now)
        self._server: uvicorn.Server | None = None
        self._lifecycle: Lifecycle | None = None

    @property
    def base_url(self) -> str:
        """Where it listens, as the SDK's `base_url` wants it.

        Raises:
            RuntimeError: It was not started.
        """
        return f"http://{self.address}"

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

    async def _serve(
        self, listener: socket.socket, started: Future[None], stopping: asyncio.Event
    ) -> None:
        # Local only: proxies and credentials of the environment are none of its business.
        async with httpx.AsyncClient(trust_env=False, timeout=self._rules.timeout) as client:
            self._lifecycle = Lifecycle(self._jobs, Courier(client, self._rules))
            app = RestApp(
                self._jobs,
                keys=self._keys,
                on_submitted=self._lifecycle.start,
                stopping=stopping,
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
        super()._begin_stop()
        if self._server is not None:
            self._server.should_exit = True
