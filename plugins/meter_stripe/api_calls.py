"""One call at Stripe's API: how it is made, and what came back."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, TypeVar

import requests
import stripe
from requests.adapters import HTTPAdapter

from meter.errors import FatalSinkError, RetryableSinkError
from meter_stripe.answers import Answer, Outcome
from meter_stripe.api_errors import KEYS_CUT_OUT, answer_to, raise_for

if TYPE_CHECKING:
    from meter_stripe.api_records import Document
    from meter_stripe.options import StripeOptions

__all__ = ["Calls", "called", "made"]

TIMEOUT_SECONDS: Final = (5.0, 20.0)
"""To connect, and for each piece of an answer; the SDK's own is 80 s."""
PAGE: Final = 100
"""Rows of a page, Stripe's most."""

_Record = TypeVar("_Record")


class Calls:
    """Stripe's SDK with nothing left to it: no retries, no redirects, no files, no environment.

    Thread-safe. `reads` counts the GETs, one a page, whatever came back.

    Raises:
        FatalSinkError: what stands as `api_key` is none.
    """

    def __init__(self, options: StripeOptions, http_client: stripe.HTTPClient | None) -> None:
        key = options.api_key.get_secret_value()
        if options.mode is None or not re.fullmatch(r"[A-Za-z0-9_]+", key):
            raise FatalSinkError(
                "api_key is no API key of Stripe's: expected sk_live_…, sk_test_…, rk_live_… or "
                "rk_test_…, and nothing before or after it"
            )
        # Otherwise the SDK writes a file under the user's home; it is a setting of the process.
        stripe.enable_telemetry = False
        logging.getLogger("stripe").addFilter(KEYS_CUT_OUT)
        self._session = None if http_client is not None else _session(options)
        self.client = stripe.StripeClient(
            key,
            base_addresses={"api": options.base_url, "meter_events": options.base_url},
            http_client=http_client
            or stripe.RequestsClient(timeout=TIMEOUT_SECONDS, session=self._session),
            max_network_retries=0,
        )
        self.reads = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections; calls afterwards open new ones."""
        if self._session is not None:
            self._session.close()

    def read(self, doing: str, call: Callable[[], Any]) -> Document:
        """Make one GET.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see `raise_for`.
        """
        with self._lock:
            self.reads += 1
        answer, document = called(call)
        if answer.outcome is not Outcome.DELIVERED:
            raise_for(answer, doing)
        return document

    def listed(
        self,
        doing: str,
        fetch: Callable[..., Any],
        read: Callable[[Document], _Record],
        **asked: Any,
    ) -> Iterator[_Record]:
        """Yield the rows of all pages as records.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see `raise_for`.
        """
        params: dict[str, Any] = {**asked, "limit": PAGE}
        while True:
            page = self.read(doing, partial(fetch, dict(params)))
            rows, more = made(doing, _page, page)
            for row in rows:
                yield made(doing, read, row)
            if not more:
                return
            last = made(doing, _last_id, rows)
            if last == params.get("starting_after"):
                raise RetryableSinkError(f"{doing}: Stripe gave the same page twice")
            params["starting_after"] = last

    def write(
        self,
        doing: str,
        create: Callable[..., Any],
        read: Callable[[Document], _Record],
        params: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> _Record:
        """Make one POST that makes an object; without a key the SDK takes a random one.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see `raise_for`.
        """
        options = {"idempotency_key": idempotency_key} if idempotency_key else {}
        answer, document = called(partial(create, dict(params), options))
        if answer.outcome is not Outcome.DELIVERED:
            raise_for(answer, doing)
        return made(doing, read, document)


def called(call: Callable[[], Any], *, identifier: str | None = None) -> tuple[Answer, Document]:
    """Make one call; return what it means, and the JSON object that came, if one did.

    Nothing is raised, and no error of the SDK's gets out: they hold whole answers.
    """
    try:
        got = call()
    except Exception as error:  # noqa: BLE001  because every end must be an outcome
        return answer_to(error, identifier=identifier), {}
    response = getattr(got, "last_response", None)
    # The decoded body itself: the SDK turns some of its texts into other types.
    document = getattr(response, "data", None)
    if response is None or not isinstance(document, dict):
        return Answer(Outcome.UNKNOWN, message="the answer is no JSON object"), {}
    answer = Answer(Outcome.DELIVERED, status=response.code, request_id=response.request_id)
    return answer, document


def made(doing: str, read: Callable[[Any], _Record], document: Any) -> _Record:
    """Make a record of what came.

    Raises:
        RetryableSinkError: it is not what was asked for.
    """
    try:
        return read(document)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        pass
    raise RetryableSinkError(f"{doing}: the answer is not what was asked for")


def _page(document: Document) -> tuple[list[Document], bool]:
    rows, more = document["data"], document["has_more"]
    if document["object"] != "list" or not isinstance(rows, list) or not isinstance(more, bool):
        raise TypeError("it is no list")
    return rows, more


def _last_id(rows: list[Document]) -> str:
    return str(rows[-1]["id"])


def _session(options: StripeOptions) -> requests.Session:
    """Make the connections: one for each thread that sends, kept open between calls."""
    session = requests.Session()
    # On this machine is a double: no proxy of the environment's comes between.
    session.trust_env = options.base_url.startswith("https://")
    # A line for Stripe's host in ~/.netrc would replace our key by another one.
    session.auth = _as_it_is
    # requests makes a GET of a redirected POST, and a stranger would be asked about usage.
    session.max_redirects = 0
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=options.concurrency + 1)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
