"""Webhook delivery by AssemblyAI's rules: who is asked again, how often, and who never is."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping

import httpx
import msgspec

CONCURRENT_DELIVERIES = 64
"""POSTs in flight at once. What waits for its turn has not started its answer timeout."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRules:
    """When a webhook is sent again (AssemblyAI docs: webhooks); tests scale the times down.

    Attributes:
        attempts: POSTs in all, the first included.
        retry_wait: Seconds between an attempt's end and the next one.
        timeout: Seconds in which the whole answer must have come.
    """

    attempts: int = 10
    retry_wait: float = 10.0
    timeout: float = 10.0


class Courier:
    """Delivers webhooks over one HTTP client; use inside one event loop."""

    def __init__(self, client: httpx.AsyncClient, rules: WebhookRules) -> None:
        self._client = client
        self._rules = rules
        self._turns = asyncio.Semaphore(CONCURRENT_DELIVERIES)

    async def deliver(
        self,
        url: str,
        body: Mapping[str, str],
        headers: Mapping[str, str],
        on_attempt: Callable[[int | None], None],
    ) -> None:
        """POST `body` until it is taken: 2xx ends it, any 4xx ends it too, all else is retried.

        `on_attempt` is told of every answer, or None when none came within the timeout.
        """
        content = msgspec.json.encode(body)
        for attempt in range(self._rules.attempts):
            if attempt:
                await asyncio.sleep(self._rules.retry_wait)
            status_code = await self._post(url, content, headers)
            on_attempt(status_code)
            if status_code is not None and (
                httpx.codes.is_success(status_code) or httpx.codes.is_client_error(status_code)
            ):
                return

    async def _post(self, url: str, content: bytes, headers: Mapping[str, str]) -> int | None:
        async with self._turns:
            try:
                async with asyncio.timeout(self._rules.timeout):
                    answer = await self._client.post(
                        url,
                        content=content,
                        headers={**headers, "content-type": "application/json"},
                    )
            except (TimeoutError, httpx.TransportError):
                return None
        return answer.status_code
