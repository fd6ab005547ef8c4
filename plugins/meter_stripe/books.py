"""One meter as the sink uses it: its options, what Stripe says of it, and its ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meter_stripe.intents import identifier_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meter_stripe.ledger import Ledger
    from meter_stripe.options import MeterOptions

__all__ = ["MeterBooks"]


@dataclass(frozen=True, slots=True)
class MeterBooks:
    """One meter of the pipelines file.

    Attributes:
        options: what it counts, and in which unit.
        ledger: of this very meter.
        ledger_id: names the journal that the ledger lies in.
        mode: live or test.
        customer_key, value_key: the names of the payload's fields.
    """

    options: MeterOptions
    ledger: Ledger
    ledger_id: str
    mode: str
    customer_key: str = "stripe_customer_id"
    value_key: str = "value"

    @property
    def event_name(self) -> str:
        """The meter's event name."""
        return self.options.event_name

    def identifier(
        self,
        customer: str,
        events: Iterable[str],
        value: int,
        generation: int,
        kind: str = "usage",
    ) -> str:
        """Return the identifier of an intent of this meter."""
        return identifier_for(
            (self.ledger_id, self.mode, self.event_name, customer, kind),
            events=events,
            value=value,
            generation=generation,
        )
