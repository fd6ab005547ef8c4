"""What Stripe tells, as plain records: only what meter uses of it.

Every `read` takes a decoded answer of Stripe's and raises `KeyError`, `TypeError`, `ValueError` or
`ArithmeticError` where that is not what was asked for; `api_calls` makes one error of these.
Fields that a record can do without may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any, Final, Self, TypeAlias

__all__ = [
    "CustomerInfo",
    "Document",
    "ErrorReport",
    "MeterInfo",
    "Notification",
    "PriceInfo",
    "ProductInfo",
    "Sample",
    "exact",
]

Document: TypeAlias = Mapping[str, Any]
"""A decoded JSON object."""

DIGITS: Final = Context(prec=15)
"""What a float carries of a decimal number, and the most that Stripe takes (stripe.md §1)."""
EXACT_UP_TO: Final = 2**53
"""Up to here a float holds every whole number."""


@dataclass(frozen=True, slots=True)
class MeterInfo:
    """A meter of Stripe's; `formula` is `sum`, `count` or `last`.

    `customer_key` and `value_key` name the fields of an event's payload.
    """

    id: str
    event_name: str
    display_name: str
    active: bool
    formula: str
    livemode: bool
    customer_key: str
    value_key: str

    @classmethod
    def read(cls, document: Document) -> Self:
        """Read a `billing.meter`."""
        return cls(
            id=_text(document, "id"),
            event_name=_text(document, "event_name"),
            display_name=_text(document, "display_name"),
            active=_text(document, "status") == "active",
            formula=_text(document["default_aggregation"], "formula"),
            livemode=_flag(document, "livemode"),
            customer_key=_text(document["customer_mapping"], "event_payload_key"),
            value_key=_text(document["value_settings"], "event_payload_key"),
        )


@dataclass(frozen=True, slots=True)
class CustomerInfo:
    """A customer of Stripe's, by its id and metadata alone: no name and no address is kept."""

    id: str
    metadata: Mapping[str, str]

    @classmethod
    def read(cls, document: Document) -> Self:
        """Read a `customer`."""
        return cls(id=_text(document, "id"), metadata=dict(document.get("metadata") or {}))


@dataclass(frozen=True, slots=True)
class ProductInfo:
    """A product: what stands on the invoice."""

    id: str
    name: str
    active: bool
    metadata: Mapping[str, str]

    @classmethod
    def read(cls, document: Document) -> Self:
        """Read a `product`."""
        return cls(
            id=_text(document, "id"),
            name=_text(document, "name"),
            active=_flag(document, "active"),
            metadata=dict(document.get("metadata") or {}),
        )


@dataclass(frozen=True, slots=True)
class PriceInfo:
    """A price.

    Attributes:
        unit_amount: cents (or the like) for one unit; None for tiers.
        interval, usage_type, meter_id: of `recurring`; None where the price has none.
    """

    id: str
    product: str
    active: bool
    currency: str
    unit_amount: Decimal | None
    interval: str | None
    usage_type: str | None
    meter_id: str | None
    lookup_key: str | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """Read a `price`."""
        recurring = document.get("recurring") or {}
        amount = document.get("unit_amount_decimal")
        return cls(
            id=_text(document, "id"),
            product=_text(document, "product"),
            active=_flag(document, "active"),
            currency=_text(document, "currency"),
            unit_amount=None if amount is None else Decimal(amount),
            interval=recurring.get("interval"),
            usage_type=recurring.get("usage_type"),
            meter_id=recurring.get("meter"),
            lookup_key=document.get("lookup_key"),
        )


@dataclass(frozen=True, slots=True)
class Notification:
    """What Stripe pushed: that there is a thin event, without its data.

    Attributes:
        event_id: to fetch it by; see `StripeApi.error_report`.
        type: an open set; `v1.billing.meter.error_report_triggered` among them.
        livemode: whether it concerns real money.
        meter_id: of the meter that it is about; None when it is about no meter.
    """

    event_id: str
    type: str
    livemode: bool
    meter_id: str | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """Read a `v2.core.event` as it is pushed.

        A snapshot event (`object: event`) is refused: its destination was set up for another
        kind of payload.
        """
        if document["object"] != "v2.core.event":
            raise ValueError("it is no thin event")
        return cls(
            event_id=_text(document, "id"),
            type=_text(document, "type"),
            livemode=document.get("livemode") is True,
            meter_id=_meter_id(document),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the errors that a report names; `identifier` is the meter event's."""

    code: str
    identifier: str | None
    message: str


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Meter events that Stripe took and does not count (stripe.md §2).

    Attributes:
        event_id, type, livemode: of the thin event.
        meter_id: None when there is no such meter.
        codes: how many errors of each code; an open set of codes.
        samples: some of them only: re-check the whole window.
        start, end: the window in which Stripe found them, aware UTC.
    """

    event_id: str
    type: str
    livemode: bool
    meter_id: str | None
    codes: Mapping[str, int] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def read(cls, document: Document) -> Self:
        """Read a `v2.core.event` as it is fetched; one of another type has no codes."""
        data = document.get("data") or {}
        codes: dict[str, int] = {}
        samples: list[Sample] = []
        for kind in (data.get("reason") or {}).get("error_types") or ():
            code, listed = _text(kind, "code"), kind.get("sample_errors") or ()
            # v2 may write whole numbers as texts.
            count = int(kind.get("error_count", len(listed)))
            codes[code] = codes.get(code, 0) + count
            samples += [_sample(code, each) for each in listed]
        return cls(
            event_id=_text(document, "id"),
            type=_text(document, "type"),
            livemode=document.get("livemode") is True,
            meter_id=_meter_id(document),
            codes=codes,
            samples=tuple(samples),
            start=_time(data.get("validation_start")),
            end=_time(data.get("validation_end")),
        )


def exact(value: Any) -> Decimal:
    """Return the number that a JSON number stands for.

    Stripe adds floats: of what is not whole, digits beyond the fifteenth are noise.

    Raises:
        TypeError: it is no number.
        ValueError: it is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("it is no number")
    number = Decimal(repr(value))
    if not number.is_finite():
        raise ValueError("it is not finite")
    if abs(number) <= EXACT_UP_TO and number == number.to_integral_value():
        return number.to_integral_value()
    return DIGITS.plus(number)


def _sample(code: str, document: Document) -> Sample:
    identifier = (document.get("request") or {}).get("identifier")
    return Sample(code, identifier, str(document.get("error_message") or ""))


def _meter_id(document: Document) -> str | None:
    related = document.get("related_object") or {}
    return _text(related, "id") if related.get("type") == "billing.meter" else None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _text(document: Document, name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _flag(document: Document, name: str) -> bool:
    value = document[name]
    if not isinstance(value, bool):
        raise TypeError(f"{name} is neither true nor false")
    return value
