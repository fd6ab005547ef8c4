"""What an answer makes of an intent (reference: stripe.md §5.6 and 5.7). No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from meter_stripe.answers import Outcome

if TYPE_CHECKING:
    from meter_stripe.answers import Answer
    from meter_stripe.intents import Intent

__all__ = ["answered"]

MOST_SECONDS: Final = 600.0
EARLY_SECONDS: Final = 60.0
REFUSED_SECONDS: Final = 3600.0
"""A refusal after a call that may have arrived proves nothing: the slot will, after 23 h."""


def answered(intent: Intent, what: str, answer: Answer, now: datetime) -> Intent:
    """Return an intent after a call that was answered, or given up.

    Args:
        intent: open or cancelling, with a call under way.
        what: `send`, `cancel` or `probe`.
        answer: of that call.
        now: the present moment.
    """
    noted = intent.noted(what, answer.outcome.value, now, answer)
    wait = max(answer.retry_after or 0.0, _backoff(noted))
    if answer.outcome in (Outcome.BUSY, Outcome.DENIED):
        return noted.waits(now, wait)
    if what == "cancel":
        return _cancel_answered(noted, answer, now, wait)
    if what == "probe":
        return _probe_answered(noted, answer, now, wait)
    return _send_answered(intent, noted, answer, now, wait)


def _send_answered(
    intent: Intent, noted: Intent, answer: Answer, now: datetime, wait: float
) -> Intent:
    if answer.arrived:
        return noted.changed(state="delivered", arrived_at=now, next_at=None, note="")
    if answer.outcome is Outcome.EARLY:
        return noted.changed(answers=intent.answers + 1).waits(now, EARLY_SECONDS)
    if answer.outcome is Outcome.REFUSED:
        if intent.doubtful_since is None:
            return noted.changed(state="rejected", next_at=None, note=f"Stripe: {answer.message}")
        return noted.changed(answers=intent.answers + 1).waits(now, REFUSED_SECONDS)
    return noted.changed(
        doubtful_since=intent.doubtful_since or intent.in_flight_at or now,
        answers=intent.answers + (answer.status is not None),
    ).waits(now, wait)


def _probe_answered(noted: Intent, answer: Answer, now: datetime, wait: float) -> Intent:
    if answer.outcome is Outcome.REFUSED:
        note = f"disputed: whether Stripe has it cannot be found out: {answer.message}"
        return noted.changed(state="disputed", next_at=None, note=note)
    return noted.waits(now, wait)


def _cancel_answered(noted: Intent, answer: Answer, now: datetime, wait: float) -> Intent:
    if answer.arrived or (
        answer.outcome is Outcome.REFUSED and "already" in answer.message.lower()
    ):
        return noted.changed(state="cancelled", next_at=None)
    if answer.outcome is Outcome.REFUSED:
        return noted.changed(state="delivered", next_at=None, cancel_refused=True)
    return noted.waits(now, wait)


def _backoff(intent: Intent) -> float:
    """Return seconds to wait: doubling, with a jitter that is the intent's own."""
    ceiling = min(MOST_SECONDS, 2.0 ** min(intent.attempts - 1, 20))
    share = int(intent.identifier[-4:], 16) / 0x10000
    return ceiling * (0.5 + share / 2)
