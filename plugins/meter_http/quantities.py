"""Billed time as exact decimals in seconds, minutes or hours, and how JSON holds them."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final

__all__ = ["UNITS", "digits"]

UNITS: Final = {"seconds": Decimal(1), "minutes": Decimal(60), "hours": Decimal(3600)}
"""How many seconds one unit stands for."""

_NANO: Final = Decimal("1E-9")
_PRECISION: Final = 40
"""Digits to divide with; 10^7 seconds with nine decimals have 16."""


def digits(seconds: Decimal, unit: str) -> str:
    """Write seconds in a unit: plain digits, no exponent, no padding.

    Seconds are written as they are. Minutes and hours need not end, so they have nine decimals
    at the most, rounded half to even: an hour's last digit is 3.6 microseconds.
    """
    if unit == "seconds":
        return format(seconds, "f")
    with localcontext(prec=_PRECISION):
        value = (seconds / UNITS[unit]).quantize(_NANO, rounding=ROUND_HALF_EVEN)
        return format(value.normalize(), "f")
