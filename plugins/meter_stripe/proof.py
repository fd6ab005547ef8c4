"""Proof by the slot, once an identifier may no longer be sent again (reference: stripe.md §5.7).

Stripe keeps identifiers for 24 hours. What may have arrived more than 23 hours ago is therefore
never sent again under its identifier. Its minute belongs to it alone, so the summary of that minute
says whether it is counted.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter_stripe.freezing import reissue
from meter_stripe.slots import MINUTE

if TYPE_CHECKING:
    from meter.sinks import StateWrite
    from meter_stripe.client import StripeApi
    from meter_stripe.intents import Intent
    from meter_stripe.jobs import Chain

__all__ = ["SAFE", "concluded", "counted", "first_check", "needed"]

SAFE: Final = timedelta(hours=23)
"""How long after the first call that may have arrived the same identifier is safe."""
TWICE: Final = timedelta(hours=1)
"""How far apart two looks at an empty slot must lie: summaries come late."""


def needed(intent: Intent, now: datetime) -> bool:
    """Tell whether an open intent may no longer be sent, and must be looked for instead."""
    return (
        intent.state == "open"
        and intent.doubtful_since is not None
        and now >= intent.doubtful_since + SAFE
    )


def counted(api: StripeApi, meter_id: str, intent: Intent) -> Decimal:
    """Return what Stripe counts in an intent's slot.

    Raises:
        RetryableSinkError, FatalSinkError, StripeRefused: as `StripeApi.counted`.
    """
    rows = api.counted(
        meter_id=meter_id,
        customer=intent.customer,
        start=intent.minute,
        end=intent.minute + MINUTE,
    )
    return sum(rows.values(), Decimal(0))


def concluded(
    chain: Chain, intent: Intent, value: Decimal, now: datetime
) -> tuple[Intent, list[StateWrite]]:
    """Return the intent after a look at its slot, and the writes that store it.

    Equal: delivered. Empty twice, an hour apart: the next generation. Anything else: disputed.
    """
    ledger = chain.books.ledger
    noted = intent.noted("probe", f"the slot counts {value}", now)
    if value == intent.value:
        noted = noted.changed(state="delivered", arrived_at=now, next_at=None)
    elif value != 0:
        noted = noted.changed(
            state="disputed",
            next_at=None,
            note=f"disputed: {intent.value} was sent and Stripe counts {value} in that minute; "
            "see `meter stripe resolve`",
        )
    elif intent.empty_since is not None and now >= intent.empty_since + TWICE:
        return reissue(chain, noted, now)
    else:
        since = intent.empty_since or now
        noted = noted.changed(empty_since=since, next_at=since + TWICE)
    return noted, ledger.put(noted)


def first_check(now: datetime) -> datetime:
    """Return when to look whether a re-issue is counted twice."""
    return now + TWICE
