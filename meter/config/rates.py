"""`rates:` in a pipelines file: what usage costs, and what one's customers pay for it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Final

from pydantic import Field

from meter.sinks import Options

__all__ = ["AsyncRates", "RateCard", "RatesOptions", "StreamRates"]

_MOST: Final = 1_000_000
_DECIMALS: Final = 9

PerHour = Annotated[Decimal, Field(ge=0, le=_MOST, max_digits=16, decimal_places=_DECIMALS)]
"""Money per hour of billed time, exact; 0 is a rate, and has to be written."""


class StreamRates(Options):
    """Rates of one kind of usage."""

    models: Mapping[str, PerHour] = Field(
        default_factory=dict, description="Money per hour, by the model that events name."
    )
    no_model: PerHour | None = Field(
        None,
        description="Money per hour of events that name no model; without it they are refused.",
    )


class AsyncRates(StreamRates):
    """Rates of pre-recorded jobs, whose add-ons cost extra."""

    features: Mapping[str, PerHour] = Field(
        default_factory=dict,
        description="Money per hour of each add-on, on top of the model's; by the names in "
        "`features` of events.",
    )


class RateCard(Options):
    """Rates by kind of usage."""

    async_completed: AsyncRates = Field(default_factory=AsyncRates, description="Of jobs.")
    stream_terminated: StreamRates = Field(
        default_factory=StreamRates, description="Of streaming sessions."
    )


class RatesOptions(Options):
    """`rates:`: what usage costs, and what one's customers pay for it."""

    currency: str = Field(
        min_length=3,
        max_length=3,
        pattern="^[A-Z]{3}$",
        description="The currency of every rate, such as USD.",
    )
    decimals: int = Field(
        2, ge=0, le=_DECIMALS, description="How many decimals money is printed with."
    )
    cost: RateCard = Field(description="What AssemblyAI bills you: `async_completed` and "
                           "`stream_terminated`, see below.")  # fmt: skip
    price: RateCard | None = Field(
        None, description="What your customers pay, the same way; adds price and margin."
    )
