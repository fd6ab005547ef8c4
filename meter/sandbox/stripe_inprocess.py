"""The Stripe double as the SDK's own HTTP client: no socket, no thread, and any clock.

books = StripeBooks(clock=clock)
client = StripeClient(
    "sk_test_sandbox", http_client=InProcessStripe(books), max_network_retries=0
)
"""

from collections.abc import Callable, Mapping
from typing import Any

import httpx
import stripe

from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_faults import ConnectionLostError
from meter.sandbox.stripe_wire import request_of

READ_TIMEOUT_SECONDS = 20.0


class InProcessStripe(stripe.HTTPClient):
    """Hands the SDK's requests to the books, and never to any host, whatever its address.

    A lost request, a lost answer and one that takes too long are `stripe.APIConnectionError`, as
    with a real client. To crash around a request, override `request`.

    Args:
        books: The state machine.
        wait: Lets so many seconds pass, for delays: a simulated clock's own sleep. By default
            they take no time.
        timeout_seconds: A request that is delayed for longer is recorded, and timed out.
    """

    name = "in-process"

    def __init__(
        self,
        books: StripeBooks,
        *,
        wait: Callable[[float], None] | None = None,
        timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        super().__init__()
        self._books = books
        self._wait = wait or (lambda _seconds: None)
        self._timeout_seconds = timeout_seconds

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        """Carry out one request.

        Raises:
            stripe.APIConnectionError: It, or its answer, was lost or late.
        """
        target = httpx.URL(url)
        path = target.raw_path.decode("ascii")
        request = request_of(method, path, headers or {}, post_data)
        plan = self._books.draw(request)
        delayed = min(plan.delay_seconds, self._timeout_seconds)
        answered = min(plan.delay_seconds + plan.hold_seconds, self._timeout_seconds)
        try:
            self._wait(delayed)
            exchange = self._books.begin(request, plan)
            try:
                self._wait(answered - delayed)
            finally:
                self._books.end(exchange)
            if plan.lost == "response":
                raise ConnectionLostError("response")
        except ConnectionLostError as lost:
            raise _connection_error(str(lost)) from lost
        if answered >= self._timeout_seconds:
            raise _connection_error("read timed out")
        answer = exchange.answer
        text = answer.body.decode(errors="replace")
        return text, answer.status, httpx.Headers(answer.headers)

    async def request_async(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Do the same for the SDK's asynchronous calls; it never yields to the loop."""
        body, status, answered = self.request(method, url, headers, post_data)
        return body.encode(), status, answered

    def close(self) -> None:
        """Nothing is open."""

    async def close_async(self) -> None:
        """Nothing is open."""


def _connection_error(message: str) -> stripe.APIConnectionError:
    return stripe.APIConnectionError(  # type: ignore[no-untyped-call]  # the SDK's has no types
        message, should_retry=True
    )
