"""What can go wrong between meter and Stripe, on purpose: by share, or for one next request."""

import dataclasses
from http import HTTPStatus
from random import Random
from typing import Literal, TypeAlias

from meter.sandbox.stripe_keys import unauthorized
from meter.sandbox.stripe_refusals import (
    API_ERROR,
    LOCK_TEXT,
    SERVER_ERROR_TEXT,
    StripeRefusal,
    rate_limited,
)

Loss: TypeAlias = Literal["request", "response"]

STORED_STATUS = 500
"""The failure that is stored under the idempotency key; others come from in front of that."""
EXCLUSIVE = (
    "request_lost",
    "response_lost",
    "malformed",
    "server_error",
    "server_error_recorded",
    "unavailable",
    "rate_limited",
    "conflict",
    "unauthorized",
)


class ConnectionLostError(Exception):
    """The connection was reset instead of an answer; `loss` says on which way."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(f"connection reset: the {loss} was lost")
        self.loss = loss


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StripePlan:
    """What happens to one request; the default is an honest answer.

    Attributes:
        delay_seconds: Before the books hear of it at all.
        hold_seconds: Between the record and the answer, besides the double's latency. Until the
            answer, the customer and meter are locked, and the idempotency key is in use.
        lost: `request`: reset before anything is recorded; `response`: recorded, then reset.
        malformed: The answer is cut in half.
        status: Answered in place of the honest answer. A 500 is stored under the idempotency
            key, and a stored answer comes before it; any other leaves no trace.
        recorded: With `status`: the request nevertheless did its work.
        retry_after_seconds: Sent with `status`.
        rejected_later: The code under which an accepted meter event is reported afterwards; it
            never counts.
    """

    delay_seconds: float = 0.0
    hold_seconds: float = 0.0
    lost: Loss | None = None
    malformed: bool = False
    status: int | None = None
    recorded: bool = False
    retry_after_seconds: int | None = None
    rejected_later: str | None = None

    def refusal(self) -> StripeRefusal:
        """Return the answer that `status` stands for."""
        refusal = _planned(self.status or STORED_STATUS)
        if self.retry_after_seconds is not None:
            refusal.headers["retry-after"] = str(self.retry_after_seconds)
        return refusal


def _planned(status: int) -> StripeRefusal:
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return unauthorized("Invalid API Key provided: **********")
        case HTTPStatus.CONFLICT:
            return StripeRefusal(status, LOCK_TEXT, code="lock_timeout")
        case HTTPStatus.TOO_MANY_REQUESTS:
            return rate_limited()
    if status < STORED_STATUS:
        return StripeRefusal(status, "Refused by plan.")
    return StripeRefusal(status, SERVER_ERROR_TEXT, code="api_error", error_type=API_ERROR)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StripeFaults:
    """Shares (0 to 1) of requests that go wrong; the default is a perfect day.

    Attributes:
        request_lost: Reset before anything is recorded.
        response_lost: Recorded, then reset.
        malformed: Recorded, and answered by half of the JSON.
        server_error: 500 without any effect, stored under the idempotency key.
        server_error_recorded: 500 after it took effect, stored as well.
        unavailable: 503.
        rate_limited: 429 with `Retry-After: retry_after_seconds`.
        conflict: 409.
        unauthorized: 401.
        slow: Delayed by `slow_seconds`, whatever else happens.
        rejected_later: Meter events that are reported under `rejection` and never count.
        paths: Only requests whose path begins with one of these; none given means all.

    Raises:
        ValueError: A share is outside 0 to 1, or those that exclude each other exceed 1.
    """

    request_lost: float = 0.0
    response_lost: float = 0.0
    malformed: float = 0.0
    server_error: float = 0.0
    server_error_recorded: float = 0.0
    unavailable: float = 0.0
    rate_limited: float = 0.0
    retry_after_seconds: int = 1
    conflict: float = 0.0
    unauthorized: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 5.0
    rejected_later: float = 0.0
    rejection: str = "meter_event_customer_not_found"
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (*EXCLUSIVE, "slow", "rejected_later"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"stripe faults: {name} is a share from 0 to 1, not {share!r}")
        # A few ulps of slack: ten shares of 0.1 are meant to be 1.
        if sum(getattr(self, name) for name in EXCLUSIVE) > 1 + 1e-9:
            raise ValueError(f"stripe faults: {', '.join(EXCLUSIVE)} exclude each other")

    def concern(self, path: str) -> bool:
        """Whether anything can go wrong with a request for this path."""
        shares = (getattr(self, name) for name in (*EXCLUSIVE, "slow", "rejected_later"))
        return any(shares) and (not self.paths or path.startswith(self.paths))

    def draw(self, chance: Random) -> StripePlan:
        """Say what happens to one request; always as many draws, whatever the shares."""
        roll, slow, rejected = chance.random(), chance.random(), chance.random()
        plan = StripePlan()
        for name in EXCLUSIVE:
            share = getattr(self, name)
            if roll < share:
                plan = self._plan(name)
                break
            roll -= share
        return dataclasses.replace(
            plan,
            delay_seconds=self.slow_seconds if slow < self.slow else 0.0,
            rejected_later=self.rejection if rejected < self.rejected_later else None,
        )

    def _plan(self, name: str) -> StripePlan:
        return {
            "request_lost": StripePlan(lost="request"),
            "response_lost": StripePlan(lost="response"),
            "malformed": StripePlan(malformed=True),
            "server_error": StripePlan(status=500),
            "server_error_recorded": StripePlan(status=500, recorded=True),
            "unavailable": StripePlan(status=503),
            "rate_limited": StripePlan(status=429, retry_after_seconds=self.retry_after_seconds),
            "conflict": StripePlan(status=409),
            "unauthorized": StripePlan(status=401),
        }[name]
