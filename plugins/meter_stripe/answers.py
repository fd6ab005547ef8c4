"""What an answer of Stripe's means for the usage that was sent (reference: stripe.md §5.6)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Answer", "Outcome"]


class Outcome(Enum):
    """What is known after one call."""

    DELIVERED = "delivered"
    """2xx: received. Whether it is counted, only the summaries tell."""
    DUPLICATE = "duplicate"
    """Stripe had this identifier already: an earlier call arrived."""
    REFUSED = "refused"
    """Another 4xx: not taken, with Stripe's words."""
    EARLY = "early"
    """The timestamp lies ahead of Stripe's clock: not taken; the same again later."""
    BUSY = "busy"
    """429 or 409: not taken; the same again a little later."""
    DENIED = "denied"
    """401 or 403: not taken; the key must be looked at."""
    UNKNOWN = "unknown"
    """No answer, 5xx, or one that cannot be read: it may have been taken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One call's result.

    Attributes:
        outcome: what it means.
        status: the HTTP status; None when there was no answer.
        code: Stripe's error code, where it gave one.
        message: Stripe's words, or what happened to the connection; never the key.
        request_id: Stripe's name for the call.
        retry_after: seconds that Stripe asked to wait.
    """

    outcome: Outcome
    status: int | None = None
    code: str | None = None
    message: str = ""
    request_id: str | None = None
    retry_after: float | None = None

    @property
    def arrived(self) -> bool:
        """Whether Stripe has it."""
        return self.outcome in (Outcome.DELIVERED, Outcome.DUPLICATE)
