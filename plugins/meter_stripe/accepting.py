"""Accepted days: a person takes Stripe's figure for a day as it is, with the difference it had.

The record is `k/<day>/<customer>` in the meter's ledger. It covers the difference that was seen
then and nothing else: what goes wrong in that day later is a difference again.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    from meter.sinks import StateWrite
    from meter_stripe.ledger import Ledger

__all__ = ["Acceptance", "acceptance_of", "keep_acceptance"]


class Acceptance(msgspec.Struct, frozen=True):
    """Who took a day's figure for right.

    Attributes:
        difference: whole units that Stripe counted too much then; negative: too little.
        reason: why, for the record; may be empty.
    """

    who: str
    at: datetime
    difference: Decimal
    reason: str = ""

    @property
    def words(self) -> str:
        """The state of a day that was accepted."""
        return f"accepted by {self.who} on {self.at:%Y-%m-%d}"


def acceptance_of(ledger: Ledger, customer: str, day: date) -> Acceptance | None:
    """Return what was accepted of a Stripe customer's UTC day."""
    value = ledger.state.get(_key(customer, day))
    return None if value is None else msgspec.json.decode(value, type=Acceptance)


def keep_acceptance(ledger: Ledger, customer: str, day: date, said: Acceptance) -> StateWrite:
    """Make the write that keeps it."""
    return ledger.state.put(_key(customer, day), msgspec.json.encode(said).decode())


def _key(customer: str, day: date) -> str:
    return f"k/{day.isoformat()}/{quote(customer, safe='')}"
