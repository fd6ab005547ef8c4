"""The Stripe double as a running server, in a thread of its own."""

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from datetime import datetime

import httpx
import uvicorn

from meter.sandbox.local_server import LocalServer
from meter.sandbox.stripe_app import ResettableProtocol, StripeApp
from meter.sandbox.stripe_books import StripeBooks, utc_now
from meter.sandbox.stripe_faults import StripeFaults, StripePlan
from meter.sandbox.stripe_keys import StripeKey
from meter.sandbox.stripe_push import StripeCourier, require_local
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_truth import StripeTruth
from meter.sandbox.webhooks import WebhookRules

GRACE_SECONDS = 2
"""How long a stop waits for answers that are being sent."""
KEEP_ALIVE_SECONDS = 300
"""Long, so that no pooled connection ends just when a client wants to use it again."""


class StripeSandbox(LocalServer):
    """Stripe's metering API on a local port: stateful, honest, and faulty only where asked.

    Point the SDK at it: `StripeClient("sk_test_…", base_addresses={"api": double.base_url,
    "meter_events": double.base_url})`. Use it as a context manager, `with` or `async with`, or
    call `start` and `stop`. It runs in its own thread with its own event loop. Everything is in
    memory; it starts once, and after `stop` its books can still be read. It listens on, and
    pushes to, this machine only.

    Args:
        host: The address to listen on.
        port: The port; 0 takes a free one, see `base_url`.
        keys: The accepted API keys and what they open; none given accepts any `sk_…` or `rk_…`.
        rules: Stripe's limits.
        faults: What goes wrong; may be changed at any time through the attribute `faults`.
        latency_seconds: Between the record of a request and its answer.
        seed: The same seed gives the same ids and faults; see `StripeBooks`.
        clock: The time that the books go by, aware UTC. It drives neither latency nor pushes.
        webhook_rules: When a push is sent again.
        keep_requests: How many requests the books keep, the latest ones; None keeps all.
    """

    def __init__(  # noqa: PLR0913 - independent settings, keyword-only, all with defaults
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Mapping[str, StripeKey] | Collection[str] = (),
        rules: StripeRules | None = None,
        faults: StripeFaults | None = None,
        latency_seconds: float = 0.0,
        seed: int = 1,
        clock: Callable[[], datetime] = utc_now,
        webhook_rules: WebhookRules | None = None,
        keep_requests: int | None = None,
    ) -> None:
        self.books = StripeBooks(
            keys=keys,
            rules=rules,
            faults=faults,
            seed=seed,
            clock=clock,
            keep_requests=keep_requests,
        )
        super().__init__("Stripe sandbox", host=host, port=port)
        self._latency_seconds = latency_seconds
        self._webhook_rules = webhook_rules or WebhookRules()
        self._server: uvicorn.Server | None = None

    @property
    def base_url(self) -> str:
        """Where it listens, as the SDK's `base_addresses` want it.

        Raises:
            RuntimeError: It was not started.
        """
        return f"http://{self.address}"

    @property
    def faults(self) -> StripeFaults:
        """What goes wrong from now on; assign to change it."""
        return self.books.faults

    @faults.setter
    def faults(self, faults: StripeFaults) -> None:
        self.books.faults = faults

    def plan_next(self, *plans: StripePlan, path: str = "") -> None:
        """Say what happens to the next requests, in order; see `StripeBooks.plan_next`."""
        self.books.plan_next(*plans, path=path)

    def truth(self, *, account: str | None = None, livemode: bool | None = None) -> StripeTruth:
        """Return what Stripe will bill, exactly; from any thread."""
        return self.books.truth(account=account, livemode=livemode)

    def webhook_to(self, url: str, secret: str) -> None:
        """Push every thin event from now on to `url`, signed with `secret`.

        Raises:
            ValueError: The URL leads off this machine.
        """
        require_local(url)
        self.books.webhook_to(url, secret)

    async def _serve(
        self, listener: socket.socket, started: Future[None], stopping: asyncio.Event
    ) -> None:
        app = StripeApp(self.books, latency_seconds=self._latency_seconds, stopping=stopping)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=ResettableProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                proxy_headers=False,
                log_config=None,
                access_log=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        # Local only: proxies and credentials of the environment are none of its business.
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.TaskGroup() as group:
            courier = StripeCourier(self.books, client, self._webhook_rules)
            group.create_task(courier.run(stopping))
            started.set_result(None)
            try:
                # In a thread that is not the main one, uvicorn installs no signal handlers.
                await self._server.serve(sockets=[listener])
            finally:
                stopping.set()

    def _begin_stop(self) -> None:
        super()._begin_stop()
        if self._server is not None:
            self._server.should_exit = True
