"""How a call can end otherwise than well, and what that means (stripe.md §5.6).

Only Stripe's own words decide: an error object with a text and a type or a code. Whatever else
comes back, such as a proxy's page, half of an answer or some gateway's error, proves nothing about
the usage that was sent: it is `unknown`, whatever its status.

An `idempotency_error` is `unknown` too. With 400 the key was used with other parameters, with 409
its first call is still at work: this call did nothing, and the first one may have been taken.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NoReturn

import requests
import stripe

from meter.errors import FatalSinkError, RetryableSinkError
from meter_stripe.answers import Answer, Outcome

__all__ = [
    "KEYS_CUT_OUT",
    "SignatureRefused",
    "StripeRefused",
    "answer_to",
    "masked",
    "raise_for",
]

LONGEST: Final = 500
"""Characters of a message; Stripe's own have 100 to 300."""
LONGEST_WAIT_SECONDS: Final = 3600.0
"""Nobody is believed who asks to wait for longer."""
BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, TIMED_OUT, CONFLICT, TOO_MANY, SERVER_ERROR = (
    400,
    401,
    403,
    408,
    409,
    429,
    500,
)
IDEMPOTENCY: Final = "idempotency_error"
BUSY_CODES: Final = frozenset({"rate_limit", "lock_timeout", "too_many_concurrent_requests"})

# Anywhere, also within a longer word (`Bearer%20sk_…`). Stripe's own masks, such as
# sk_test_**********1234, stay: they say which key is meant.
_KEY = re.compile(r"((?:sk|rk)_(?:org_)?(?:live|test)|whsec)_\w+", re.IGNORECASE)
_DUPLICATE = re.compile(
    r"(?:an? |the )?(?:meter )?event already exists with (?:the )?identifier\W", re.IGNORECASE
)
_EARLY = re.compile(r"\bminutes? in the future\b", re.IGNORECASE)
_SECONDS = re.compile(r"\d+(?:\.\d+)?")


class StripeRefused(Exception):
    """Stripe refused a read, or a change by `meter stripe setup`; the text is Stripe's.

    Attributes:
        status: the HTTP status, 400 to 499.
        code: Stripe's error code, where it gave one.
    """

    def __init__(self, message: str, *, status: int | None, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class SignatureRefused(Exception):
    """What was posted is not signed with the secret, or is no thin event; the text says which."""


class _KeysCutOut(logging.Filter):
    """Cuts keys out of what the SDK logs: at debug it writes whole answers."""

    def filter(self, record: logging.LogRecord) -> Literal[True]:
        """Rewrite the record's text."""
        record.msg, record.args = masked(record.getMessage()), None
        return True


KEYS_CUT_OUT: Final = _KeysCutOut()
"""One for all: adding it to a logger twice changes nothing."""


def masked(text: str) -> str:
    """Return a text without any whole API key or webhook secret."""
    return _KEY.sub(r"\1_…", text)


def answer_to(error: Exception, *, identifier: str | None = None) -> Answer:
    """Say what an error of the SDK's means for what was sent.

    Args:
        identifier: of the meter event that was sent; None when it was something else.
    """
    if isinstance(error, stripe.APIConnectionError):
        return Answer(Outcome.UNKNOWN, message=_network_words(error))
    if isinstance(error, UnicodeEncodeError):
        # Nothing left: the network's own are wrapped by the SDK.
        return Answer(
            Outcome.REFUSED, message="not sent: it has characters that no request can carry"
        )
    if not isinstance(error, stripe.StripeError):
        # The SDK stumbles over {"error": null}, and where warnings are errors over a notice.
        said = f"the SDK could not read the answer ({type(error).__name__})"
        return Answer(Outcome.UNKNOWN, message=said)
    status, headers, body = error.http_status, _headers(error), error.http_body
    words = _stripes_words(error)
    retry_after = _retry_after(headers)
    request_id = headers.get("request-id")
    if words is None:
        start = _shortened(body or "nothing", 120)
        return Answer(
            Outcome.UNKNOWN,
            status=status,
            message=f"the answer ({status}) is none of Stripe's: {start}",
            request_id=request_id,
            retry_after=retry_after,
        )
    code, kind = _text(words, "code"), _text(words, "type")
    message = _shortened(str(words["message"]))
    if kind == IDEMPOTENCY and code is None:
        code = kind
    return Answer(
        _outcome(status, code, kind, str(words["message"]), identifier),
        status=status,
        code=code,
        message=message,
        request_id=request_id,
        retry_after=retry_after,
    )


def raise_for(answer: Answer, doing: str) -> NoReturn:
    """Raise what an answer to a read means.

    Args:
        doing: what was tried, to begin the message with: `listing the meters`.

    Raises:
        RetryableSinkError: Stripe cannot be reached, is busy or answers what cannot be read.
        FatalSinkError: the key may not do this.
        StripeRefused: any other refusal.
    """
    if answer.outcome is Outcome.DENIED:
        raise FatalSinkError(
            f"{doing}: Stripe refused the api_key of the sink ({answer.status}): {answer.message}"
        )
    # A key that is used for something else is no trouble that passes.
    used = answer.outcome is Outcome.UNKNOWN and answer.code == IDEMPOTENCY
    if used or answer.outcome in (Outcome.REFUSED, Outcome.DUPLICATE, Outcome.EARLY):
        raise StripeRefused(f"{doing}: {answer.message}", status=answer.status, code=answer.code)
    raise RetryableSinkError(f"{doing}: {answer.message}", retry_after=answer.retry_after)


def _outcome(
    status: int | None, code: str | None, kind: str | None, message: str, identifier: str | None
) -> Outcome:
    """Classify Stripe's own words; the first rule that fits counts."""
    if status is None or not BAD_REQUEST <= status < SERVER_ERROR or status == TIMED_OUT:
        return Outcome.UNKNOWN
    if kind == IDEMPOTENCY:
        return Outcome.UNKNOWN
    if identifier is not None:
        found = _of_an_event(status, code, message, identifier)
        if found is not None:
            return found
    if status in (UNAUTHORIZED, FORBIDDEN):
        return Outcome.DENIED
    busy = status in (CONFLICT, TOO_MANY) or code in BUSY_CODES
    return Outcome.BUSY if busy else Outcome.REFUSED


def _of_an_event(status: int, code: str | None, message: str, identifier: str) -> Outcome | None:
    """Know the two refusals of a meter event that are none: v2 has a code, v1 only words."""
    if code == "duplicate_meter_event":
        return Outcome.DUPLICATE
    if code == "timestamp_in_future":
        return Outcome.EARLY
    if status != BAD_REQUEST:
        return None
    duplicate = _DUPLICATE.match(message)
    if duplicate is not None:
        # An answer about another event tells nothing about ours.
        ours = _names(message[duplicate.end() :], identifier)
        return Outcome.DUPLICATE if ours else Outcome.UNKNOWN
    return Outcome.EARLY if _EARLY.search(message) else None


def _names(rest: str, identifier: str) -> bool:
    """Whether a text begins with the identifier, and not with a longer one."""
    end = r"['\"`]?(?:[.,;:]?(?:\s|$))"
    return re.match(rf"\s*['\"`]?{re.escape(identifier)}{end}", rest) is not None


def _stripes_words(error: stripe.StripeError) -> Mapping[str, Any] | None:
    """Return the error object, if it is one of Stripe's (`e.code` is None for many in v1)."""
    body = error.json_body
    words = body.get("error") if isinstance(body, dict) else None
    if not isinstance(words, dict) or _text(words, "message") is None:
        return None
    return words if _text(words, "type") or _text(words, "code") else None


def _headers(error: stripe.StripeError) -> Mapping[str, str]:
    """Return the headers, which the SDK (16.1) puts in the body's place for unreadable bodies."""
    if error.headers:
        return error.headers
    body = error.json_body
    return body if isinstance(body, Mapping) and not isinstance(body, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait; a date, which Stripe never sends, is passed over."""
    given = headers.get("retry-after") or ""
    if not _SECONDS.fullmatch(given) or not math.isfinite(seconds := float(given)):
        return None
    return min(seconds, LONGEST_WAIT_SECONDS)


def _network_words(error: stripe.APIConnectionError) -> str:
    cause, words = error.__cause__, "the connection to Stripe failed"
    for kind, said in (
        (requests.exceptions.SSLError, "the certificate at Stripe's address cannot be verified"),
        (requests.exceptions.ProxyError, "the proxy cannot be reached, or refuses"),
        (requests.exceptions.ConnectTimeout, "no connection to Stripe in time"),
        (requests.exceptions.ReadTimeout, "no answer from Stripe in time"),
        (requests.exceptions.TooManyRedirects, "Stripe's address redirects, which is not followed"),
    ):
        if isinstance(cause, kind):
            return said
    if cause is None:
        return f"{words}: {_shortened(error.user_message or 'no answer', 120)}"
    reason = _system_words(cause)
    return f"{words}: {reason}" if reason else words


def _system_words(error: BaseException | None) -> str | None:
    """Return the operating system's words for what is behind an error of requests."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return None


def _shortened(text: str, longest: int = LONGEST) -> str:
    """Return one line without keys; masked before it is cut, so that no half of a key is left."""
    line = " ".join(masked(text).split())
    return line if len(line) <= longest else f"{line[:longest]}…"


def _text(words: Mapping[str, Any], name: str) -> str | None:
    value = words.get(name)
    return value if isinstance(value, str) and value else None
