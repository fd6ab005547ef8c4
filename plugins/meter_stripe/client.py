"""What meter asks of Stripe, through its official SDK.

Importing this imports `stripe` (a quarter of a second): import it when the sink opens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import stripe

from meter_stripe.answers import Answer, Outcome
from meter_stripe.api_calls import Calls, called, made
from meter_stripe.api_errors import SignatureRefused, StripeRefused
from meter_stripe.api_records import (
    CustomerInfo,
    Document,
    ErrorReport,
    MeterInfo,
    Notification,
    PriceInfo,
    ProductInfo,
    Sample,
    exact,
)

if TYPE_CHECKING:
    from meter_stripe.options import StripeOptions

__all__ = [
    "CustomerInfo",
    "ErrorReport",
    "MeterInfo",
    "Notification",
    "PriceInfo",
    "ProductInfo",
    "Sample",
    "SignatureRefused",
    "StripeApi",
    "StripeRefused",
]

CUSTOMER_KEY: Final = "stripe_customer_id"
VALUE_KEY: Final = "value"


class StripeApi:
    """The calls that meter makes. Thread-safe. Never retries by itself.

    What reads and setup raise is the same everywhere: `RetryableSinkError` when Stripe cannot be
    reached, is busy or cannot be understood; `FatalSinkError` when the key may not do this;
    `StripeRefused`, with Stripe's words, for any other 4xx.

    Args:
        options: the sink's; of these the key, the address and the API.
        http_client: in place of the SDK's own, for tests; whoever made it closes it.

    Raises:
        FatalSinkError: what stands as `api_key` is none.
    """

    mode: Literal["live", "test"]
    """What the key is for."""

    def __init__(
        self, options: StripeOptions, *, http_client: stripe.HTTPClient | None = None
    ) -> None:
        self._calls = Calls(options, http_client)
        client = self._calls.client
        self.mode = "live" if options.mode == "live" else "test"
        self._address = options.base_url
        self._v1 = client.v1
        self._v2 = client.v2
        self._events_v2 = options.api == "v2"

    def __repr__(self) -> str:
        return f"<StripeApi {self.mode} {self._address}>"

    @property
    def reads(self) -> int:
        """How many GETs were made so far, one a page, whatever came back."""
        return self._calls.reads

    def close(self) -> None:
        """Close the connections; calls afterwards open new ones."""
        self._calls.close()

    def send(  # noqa: PLR0913  because these are the fields of one meter event, by name only
        self,
        *,
        event_name: str,
        identifier: str,
        customer: str,
        value: Decimal,
        timestamp: int,
        idempotency_key: str,
        customer_key: str = CUSTOMER_KEY,
        value_key: str = VALUE_KEY,
    ) -> Answer:
        """Send one meter event once, and say what is known of it then. Raises nothing.

        After `unknown`, send the same identifier again. Under the same idempotency key if
        there was no status; under a new one if there was: Stripe would repeat a stored 500.

        Args:
            value: units; written out in full, without an exponent.
            timestamp: unix seconds.
        """
        payload = {customer_key: customer, value_key: format(value, "f")}
        event: dict[str, Any] = {
            "event_name": event_name,
            "identifier": identifier,
            "payload": payload,
            "timestamp": _rfc3339(timestamp) if self._events_v2 else timestamp,
        }
        api: Any = self._v2 if self._events_v2 else self._v1
        call = partial(api.billing.meter_events.create, event, {"idempotency_key": idempotency_key})
        answer, document = called(call, identifier=identifier)
        ours = (document.get("event_name"), document.get("identifier")) == (event_name, identifier)
        return _checked(answer, ours=ours)

    def cancel(self, *, event_name: str, identifier: str) -> Answer:
        """Cancel a meter event, within 24 hours of its receipt. Raises nothing.

        There is no `duplicate` here: what is cancelled already is refused, in Stripe's words.
        """
        adjustment = {
            "event_name": event_name,
            "type": "cancel",
            "cancel": {"identifier": identifier},
        }
        api: Any = self._v2 if self._events_v2 else self._v1
        answer, document = called(partial(api.billing.meter_event_adjustments.create, adjustment))
        cancel = document.get("cancel")
        named = cancel.get("identifier") if isinstance(cancel, Mapping) else None
        # Stripe may leave out which one; its answer is still about a cancellation.
        ours = (document.get("type"), document.get("event_name")) == ("cancel", event_name)
        return _checked(answer, ours=ours and named in (None, identifier))

    def meters(self) -> list[MeterInfo]:
        """List all meters, active and inactive.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        fetch = self._v1.billing.meters.list
        return list(self._calls.listed("listing the meters", fetch, MeterInfo.read))

    def counted(
        self,
        *,
        meter_id: str,
        customer: str,
        start: int,
        end: int,
        window: Literal["hour", "day"] | None = None,
    ) -> dict[int, Decimal]:
        """Ask what Stripe counts for a customer, by the start of each window; absent is 0.

        Eventually consistent: what was just sent may be missing.

        Args:
            start, end: unix seconds, whole minutes (hours, UTC days with a window); without `end`.
            window: None is one window from start to end.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        doing = f"asking what {meter_id} counts"
        asked: dict[str, Any] = {"customer": customer, "start_time": start, "end_time": end}
        if window is not None:
            asked["value_grouping_window"] = window
        fetch = partial(self._v1.billing.meters.event_summaries.list, meter_id)
        read = partial(_count, meter_id, start, end)
        counts: dict[int, Decimal] = {}
        for begin, value in self._calls.listed(doing, fetch, read, **asked):
            at = start if window is None else begin
            counts[at] = counts.get(at, Decimal(0)) + value
        return counts

    def customers(self) -> Iterator[CustomerInfo]:
        """Return all customers, a page of 100 at a time; errors come up while they are read.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        fetch = self._v1.customers.list
        return self._calls.listed("listing the customers", fetch, CustomerInfo.read)

    @staticmethod
    def notification(body: bytes, signature: str, secret: str) -> Notification:
        """Verify what was posted, and read it; needs no key and no network.

        Args:
            signature: the header `Stripe-Signature`; up to 5 minutes old by the machine's clock.
            secret: of the event destination.

        Raises:
            SignatureRefused: answer 400; act on nothing that it says.
        """
        reason = None
        try:
            stripe.WebhookSignature.verify_header(
                body, signature, secret, stripe.Webhook.DEFAULT_TOLERANCE
            )
        except stripe.SignatureVerificationError as error:
            reason = error.user_message or "it does not fit"
        except Exception as error:  # noqa: BLE001  because the SDK stumbles over texts that are not ASCII
            reason = f"it cannot be read ({type(error).__name__})"
        if reason is not None:
            raise SignatureRefused(f"Stripe-Signature: {reason}")
        try:
            return Notification.read(json.loads(body))
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
        raise SignatureRefused(
            "signed by Stripe, but no thin event: set the event destination's payload style to thin"
        )

    def error_report(self, event_id: str) -> ErrorReport:
        """Fetch a thin event with its data.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        doing = f"fetching the event {event_id}"
        fetch = partial(self._v2.core.events.retrieve, event_id)
        return made(doing, ErrorReport.read, self._calls.read(doing, fetch))

    def create_meter(
        self, *, event_name: str, display_name: str, idempotency_key: str
    ) -> MeterInfo:
        """Make a meter that adds up, with the payload fields that `send` uses by default.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        params = {
            "event_name": event_name,
            "display_name": display_name,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"event_payload_key": CUSTOMER_KEY, "type": "by_id"},
            "value_settings": {"event_payload_key": VALUE_KEY},
        }
        return self._calls.write(
            f"making the meter {event_name}",
            self._v1.billing.meters.create,
            MeterInfo.read,
            params,
            idempotency_key=idempotency_key,
        )

    def reactivate_meter(self, meter_id: str) -> MeterInfo:
        """Let a deactivated meter take events again.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        doing = f"reactivating the meter {meter_id}"
        reactivate = partial(self._v1.billing.meters.reactivate, meter_id)
        # Each call has a key of its own: the same one again would only repeat an old answer.
        return self._calls.write(doing, reactivate, MeterInfo.read, {})

    def products(self) -> list[ProductInfo]:
        """List all products, active and archived.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        fetch = self._v1.products.list
        return list(self._calls.listed("listing the products", fetch, ProductInfo.read))

    def create_product(
        self, *, name: str, metadata: Mapping[str, str], idempotency_key: str
    ) -> ProductInfo:
        """Make a product.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        return self._calls.write(
            f"making the product {name}",
            self._v1.products.create,
            ProductInfo.read,
            {"name": name, "metadata": dict(metadata)},
            idempotency_key=idempotency_key,
        )

    def prices(self, *, product: str | None = None, meter_id: str | None = None) -> list[PriceInfo]:
        """List the prices of a product, or of a meter, or of both; active and archived.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        asked: dict[str, Any] = {}
        if product is not None:
            asked["product"] = product
        if meter_id is not None:
            asked["recurring"] = {"meter": meter_id}
        fetch = self._v1.prices.list
        return list(self._calls.listed("listing the prices", fetch, PriceInfo.read, **asked))

    def create_price(
        self,
        *,
        product: str,
        meter_id: str,
        currency: str,
        unit_amount_decimal: str,
        idempotency_key: str,
        interval: Literal["day", "week", "month", "year"] = "month",
        lookup_key: str | None = None,
    ) -> PriceInfo:
        """Make a price for what a meter counts.

        Args:
            unit_amount_decimal: cents (or the like) for one unit, with up to 12 decimals.

        Raises:
            RetryableSinkError, FatalSinkError, StripeRefused: see the class.
        """
        recurring = {"interval": interval, "usage_type": "metered", "meter": meter_id}
        params: dict[str, Any] = {
            "product": product,
            "currency": currency,
            # Stays a text: the SDK would write a small Decimal with an exponent.
            "unit_amount_decimal": unit_amount_decimal,
            "recurring": recurring,
        }
        if lookup_key is not None:
            params["lookup_key"] = lookup_key
        return self._calls.write(
            f"making the price for {meter_id}",
            self._v1.prices.create,
            PriceInfo.read,
            params,
            idempotency_key=idempotency_key,
        )


def _checked(answer: Answer, *, ours: bool) -> Answer:
    """Return `unknown` for a 2xx that is not about what was sent."""
    if answer.outcome is not Outcome.DELIVERED or ours:
        return answer
    said = "the answer is not about what was sent"
    return replace(answer, outcome=Outcome.UNKNOWN, message=said)


def _count(meter_id: str, start: int, end: int, row: Document) -> tuple[int, Decimal]:
    at = row["start_time"]
    if row["meter"] != meter_id or not start <= at < end:
        raise ValueError("it is another window, or another meter")
    return int(at), exact(row["aggregated_value"])


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
