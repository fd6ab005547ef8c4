"""Lateness: usage that is too old for Stripe, or for the invoice it belongs on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meter_stripe.options import StripeOptions

__all__ = ["STRIPE_PAST", "late_reason", "period_end"]

STRIPE_PAST: Final = timedelta(days=35)
"""How far back a meter event's timestamp may lie (reference: stripe.md §1)."""
MARGIN: Final = timedelta(minutes=10)
"""For the time that sending takes: what is nearly late is late."""


def period_end(moment: datetime, day: int) -> datetime:
    """Return when the billing period of a moment ends: the next `day` of a month, 00:00 UTC."""
    moment = moment.astimezone(UTC)
    end = moment.replace(day=day, hour=0, minute=0, second=0, microsecond=0)
    if end > moment:
        return end
    return end.replace(year=end.year + end.month // 12, month=end.month % 12 + 1)


def late_reason(occurred_at: datetime, now: datetime, options: StripeOptions) -> str | None:
    """Say why usage is late; None when it is not. The words hold no figures that keep changing."""
    if occurred_at < now - STRIPE_PAST + MARGIN:
        return "it is older than the 35 days that Stripe takes"
    if options.period_day != "none":
        end = period_end(occurred_at, options.period_day)
        if now > end + options.invoice_grace - MARGIN:
            return f"the invoice of its period (up to {end:%Y-%m-%d}) is final"
    return None
