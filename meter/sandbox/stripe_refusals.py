"""Stripe's error answers: v1's typed bodies and v2's codes.

Messages that reference/stripe.md quotes are word for word; the others are inferred.
"""

from collections.abc import Mapping
from typing import Any

RATE_LIMIT_TEXT = (
    "Request rate limit exceeded. You can learn more about rate limits here "
    "https://stripe.com/docs/rate-limits."
)
LOCK_TEXT = (
    "This object cannot be accessed right now because another API request or Stripe process is "
    "currently accessing it. If you see this error intermittently, retry the request. If you see "
    "this error frequently and are making multiple concurrent requests to a single object, make "
    "your requests serially or at a lower rate."
)
SERVER_ERROR_TEXT = (
    "An unknown error occurred. (It may or may not have been recorded: look before you repeat.)"
)
INVALID_REQUEST, API_ERROR, IDEMPOTENCY = (
    "invalid_request_error",
    "api_error",
    "idempotency_error",
)


class StripeRefusal(Exception):
    """An answer other than 200.

    Attributes:
        status: The HTTP status.
        code: The error's `code`; None leaves it out, as v1 does where a message must do.
        param: The parameter that is wrong.
        executed: The endpoint had begun its work, so v1 stores the answer under the
            idempotency key; what fails before that is not stored.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        error_type: str = INVALID_REQUEST,
        executed: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.error_type = error_type
        self.executed = executed
        self.headers = dict(headers or {})

    def document(self, *, v2: bool) -> dict[str, Any]:
        """Return the body; v2 always has a code, and a type only where it says something."""
        if v2:
            error = {"code": self.code or "invalid_request", "message": self.message}
            if self.error_type != INVALID_REQUEST:
                error["type"] = self.error_type
            return {"error": error}
        fields = {"code": self.code, "message": self.message, "param": self.param}
        given = {name: text for name, text in fields.items() if text is not None}
        # v1's own list of types has none for a rate limit.
        kept = self.error_type if self.error_type in {API_ERROR, IDEMPOTENCY} else INVALID_REQUEST
        return {"error": {**given, "type": kept}}


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> StripeRefusal:
    """Return the 400 for parameters that are wrong in themselves; it is not stored."""
    return StripeRefusal(400, message, code=code, param=param)


def refused(message: str, *, code: str | None = None, param: str | None = None) -> StripeRefusal:
    """Return the 400 for what is well-formed and yet not taken; it is stored."""
    return StripeRefusal(400, message, code=code, param=param, executed=True)


def missing(param: str) -> StripeRefusal:
    """Return the 400 for a parameter that must be there."""
    return invalid(f"Missing required param: {param}.", param=param, code="parameter_missing")


def no_such(noun: str, name: str, *, param: str = "id", status: int = 404) -> StripeRefusal:
    """Return the 404 for an object that is not there, or the 400 for one that is only named."""
    return StripeRefusal(
        status, f"No such {noun}: '{name}'", code="resource_missing", param=param, executed=True
    )


def rate_limited() -> StripeRefusal:
    """Return the 429 of a limit on calls per second."""
    return StripeRefusal(429, RATE_LIMIT_TEXT, code="rate_limit", error_type="rate_limit")


def locked(*, status: int, v2: bool) -> StripeRefusal:
    """Return the answer to the second of two calls for one customer and meter at a time."""
    if v2:
        return StripeRefusal(429, LOCK_TEXT, code="too_many_concurrent_requests")
    return StripeRefusal(
        status, LOCK_TEXT, code="lock_timeout", headers={"stripe-should-retry": "true"}
    )
