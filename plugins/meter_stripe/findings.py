"""Findings: what a comparison found, in words that an accountant understands."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from meter_stripe.intents import shown

if TYPE_CHECKING:
    from meter_stripe.comparison import DayFigures
    from meter_stripe.drilling import SlotFigures

__all__ = ["amount", "day_words", "foreign_words", "slot_words"]


def amount(value: Decimal | int, unit: str) -> str:
    """Write an amount: `1 second`, `60 seconds`, `2.5 hours`; never with an exponent."""
    return f"{Decimal(value):f} {unit}{'' if value == 1 else 's'}"


def day_words(figures: DayFigures) -> str:
    """Say how far Stripe's figure for a day is off."""
    off = amount(abs(figures.difference), figures.unit)
    more = "too much" if figures.difference > 0 else "too little"
    return (
        f"{figures.day} UTC, {figures.customer}: {amount(figures.delivered, figures.unit)} "
        f"delivered, Stripe counts {amount(figures.counted, figures.unit)}: {off} {more}"
    )


def slot_words(found: SlotFigures) -> str:
    """Say what is wrong with one meter event."""
    at = f"{found.start:%Y-%m-%d %H:%M} UTC, {found.customer}"
    count = amount(found.counted, found.unit)
    intent = found.intent
    if intent is None:
        return foreign_words(found)
    if intent.state == "delivered" and found.counted == 0:
        return (
            f"{at}: Stripe took {amount(found.expected, found.unit)} on "
            f"{shown(intent.arrived_at)} and counts none of it; see `meter stripe resolve`"
        )
    if intent.state == "delivered" and found.counted == 2 * found.expected:
        return (
            f"{at}: {amount(found.expected, found.unit)} delivered, and Stripe counts it twice "
            f"({count}); see `meter stripe resolve`"
        )
    if intent.state == "delivered":
        return (
            f"{at}: {amount(found.expected, found.unit)} delivered, and Stripe counts {count}; "
            "does something else send to this meter? See `meter stripe resolve`"
        )
    return (
        f"{at}: Stripe counts {count} of a meter event that is {intent.state} "
        f"({intent.note or 'no reason kept'}); see `meter stripe resolve`"
    )


def foreign_words(found: SlotFigures) -> str:
    """Say what is counted where nothing of meter's is."""
    return (
        f"{amount(found.counted, found.unit)} between {found.start:%H:%M} and {found.end:%H:%M} "
        "in minutes in which meter sent nothing: something else sends to this meter"
    )
