"""Pushing thin events to webhooks, on this machine only."""

import asyncio
import ipaddress
import time
from urllib.parse import urlsplit

import httpx

from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_reports import Push
from meter.sandbox.webhooks import WebhookRules

POLL_SECONDS = 0.02
"""How often the books are asked for what is due: their clock may be any."""


class StripeCourier:
    """Delivers pushes until they are taken: 2xx ends it, all else is tried again."""

    def __init__(self, books: StripeBooks, client: httpx.AsyncClient, rules: WebhookRules) -> None:
        self._books = books
        self._client = client
        self._rules = rules

    async def run(self, stopping: asyncio.Event) -> None:
        """Push what becomes due until `stopping`, then drop what is not taken yet."""
        async with asyncio.TaskGroup() as group:
            deliveries = set()
            while not stopping.is_set():
                for push in self._books.take_pushes():
                    task = group.create_task(self._deliver(push))
                    deliveries.add(task)
                    task.add_done_callback(deliveries.discard)
                await asyncio.sleep(POLL_SECONDS)
            for task in deliveries:
                task.cancel()

    async def _deliver(self, push: Push) -> None:
        for attempt in range(self._rules.attempts):
            if attempt:
                await asyncio.sleep(self._rules.retry_wait)
            try:
                async with asyncio.timeout(self._rules.timeout):
                    # Signed by the wall clock, whatever the books' clock says: so is it verified.
                    answer = await self._client.post(
                        push.webhook.url, content=push.body, headers=push.headers(time.time())
                    )
            except (TimeoutError, httpx.TransportError):
                continue
            if answer.is_success:
                return


def require_local(url: str) -> None:
    """Refuse a webhook that is not on this machine: the double never contacts a real host.

    Raises:
        ValueError: The host is neither localhost nor a loopback address.
    """
    host = urlsplit(url).hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ValueError(f"the Stripe sandbox pushes to this machine only, not to {host!r}")
