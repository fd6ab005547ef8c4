"""What usage costs and what it brings, exact until it is printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from meter.errors import ConfigurationError
from meter.journal.rollup import NANOS

if TYPE_CHECKING:
    from meter.config import RateCard
    from meter.reports.usage import Rated

__all__ = ["charge", "check_rates", "exact_text", "rounded_text"]

_NANOS_AN_HOUR: Final = 3600 * NANOS


def check_rates(cards: Mapping[str, RateCard | None], used: Iterable[Rated]) -> None:
    """Refuse to go on when something has no rate: it is never free by accident.

    Args:
        cards: by where they stand in the file, such as `rates.cost`.
        used: everything that has to be priced.

    Raises:
        ConfigurationError: names every rate that is missing, and where it belongs.
    """
    needed = sorted(set(used), key=repr)
    lines = dict.fromkeys(
        line
        for where, card in cards.items()
        if card is not None
        for rated in needed
        for line in _missing(card, where, rated)
    )
    if lines:
        raise ConfigurationError("\n  ".join(["something was used that has no rate:", *lines]))


def _missing(card: RateCard, where: str, rated: Rated) -> Iterable[str]:
    rates = getattr(card, rated.kind)
    where = f"{where}.{rated.kind}"
    if rated.model is None:
        if rates.no_model is None:
            yield f"{where}.no_model: missing, and there are events that name no model"
    elif rated.model not in rates.models:
        yield f"{where}.models: no rate for the model {rated.model!r}"
    for feature in rated.features:
        if feature not in _add_ons(rates):
            yield f"{where}.features: no rate for the add-on {feature!r}"


def charge(card: RateCard, rated: Mapping[Rated, int]) -> Fraction:
    """Return what usage comes to by a card, exact, in its currency.

    Args:
        card: has a rate for all of it, see `check_rates`.
        rated: billed nanoseconds by what their rate depends on.
    """
    total = Fraction(0)
    for (kind, model, features), nanos in rated.items():
        rates = getattr(card, kind)
        an_hour = Fraction(rates.no_model if model is None else rates.models[model])
        an_hour += sum(Fraction(_add_ons(rates)[feature]) for feature in features)
        total += an_hour * nanos / _NANOS_AN_HOUR
    return total


def _add_ons(rates: object) -> Mapping[str, Decimal]:
    """Return the rates of add-ons; only jobs have any."""
    found: Mapping[str, Decimal] = getattr(rates, "features", {})
    return found


def rounded_text(amount: Fraction, decimals: int) -> str:
    """Write an amount with so many decimals, rounded half to even."""
    units = round(amount * 10**decimals)
    digits = f"{abs(units):0{decimals + 1}}"
    whole, part = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
    return f"{'-' if units < 0 else ''}{whole}{'.' if part else ''}{part}"


def exact_text(amount: Fraction) -> str:
    """Write an amount exactly: as a decimal if it has an end, else as a fraction, `37/360000`."""
    decimals, rest = 0, amount.denominator
    for factor in (2, 5):
        count = 0
        while rest % factor == 0:
            rest //= factor
            count += 1
        decimals = max(decimals, count)
    return str(amount) if rest > 1 else rounded_text(amount, decimals)
