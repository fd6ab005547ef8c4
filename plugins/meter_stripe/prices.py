"""Prices as people say them, and as Stripe stores them. Exact, or refused; never rounded.

People write an amount of a currency for one unit of usage: `0.36/hour` in `usd` is 0.36 dollars
for an hour. Stripe stores the smallest part of the currency for one unit of the meter, with up to
12 decimals: for a meter that counts seconds, 0.01 cents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Final

from meter.errors import ConfigurationError
from meter_stripe.printing import number

__all__ = ["BadPrice", "Price", "currency_of", "read_price", "smallest"]

UNITS: Final = {"second": 1, "minute": 60, "hour": 3600}
DECIMALS: Final = 12
"""That `unit_amount_decimal` may have (Stripe's API description)."""
NO_DECIMALS: Final = frozenset(
    {
        *("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw"),
        *("mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"),
    }
)
THREE_DECIMALS: Final = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
SPECIAL: Final = frozenset({"isk", "ugx"})
"""Stripe writes these two now with decimals and now without (docs.stripe.com/currencies)."""
_AMOUNT: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,15})?")


class BadPrice(ConfigurationError):
    """It is no price; whoever has it says whose it is."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit of usage costs.

    Attributes:
        amount: in the currency itself, such as dollars, for one unit as the person said it.
        per: that unit: second, minute or hour.
        unit: the meter's unit.
        currency: three small letters.
        unit_amount: in the smallest part of the currency, such as cents, for one unit of the
            meter; what Stripe is told.
    """

    amount: Decimal
    per: str
    unit: str
    currency: str
    unit_amount: Decimal

    def __str__(self) -> str:
        """Say it so that it can be mistaken for nothing else."""
        said = f"{number(self.amount)} {self.currency.upper()} per {self.per}"
        if self.per != "hour":
            hour = self.amount * (UNITS["hour"] // UNITS[self.per])
            said += f" = {number(hour)} {self.currency.upper()} per hour"
        return said


def currency_of(text: str) -> str:
    """Read a currency, such as `usd`.

    Raises:
        ConfigurationError: it is no currency's name, or one that Stripe writes in two ways.
    """
    currency = text.lower()
    if not re.fullmatch(r"[a-z]{3}", currency):
        raise ConfigurationError(f"--currency {text!r}: expected three letters, such as usd")
    if currency in SPECIAL:
        raise ConfigurationError(
            f"--currency {currency}: Stripe counts its amounts now with decimals and now without; "
            "make this price in Stripe's Dashboard"
        )
    return currency


def smallest(currency: str) -> int:
    """Return how many of the smallest part one whole of a currency has."""
    if currency in NO_DECIMALS:
        return 1
    return 1000 if currency in THREE_DECIMALS else 100


def read_price(text: str, *, unit: str, currency: str) -> Price:
    """Read an amount of a currency for one unit: `0.0001`, or `0.36/hour`.

    Args:
        text: without a unit it is for one unit of the meter.
        unit: the meter's: second, minute or hour.
        currency: from `currency_of`.

    Raises:
        BadPrice: it is no amount, or Stripe could not store it exactly.
    """
    amount_text, _, per = text.partition("/")
    per = per or unit
    if per not in UNITS or not _AMOUNT.fullmatch(amount_text):
        raise BadPrice(
            f"expected an amount of {currency.upper()} for one {unit}, such as "
            "0.0001, or with its unit, such as 0.36/hour"
        )
    amount = Decimal(amount_text)
    with localcontext(prec=60):
        # Exactly divisible or not, told by multiplying back.
        whole = amount * smallest(currency) * UNITS[unit]
        unit_amount = (whole / UNITS[per]).quantize(Decimal(1).scaleb(-DECIMALS))
        exact = unit_amount * UNITS[per] == whole
    if not exact:
        raise BadPrice(
            f"{number(amount)} {currency.upper()} per {per} is no amount per "
            f"{unit} that Stripe can store exactly, and a rounded one would add up to something "
            f"else; say the price per {unit}, or let a meter count in the unit `{per}`"
        )
    return Price(amount, per, unit, currency, unit_amount)
