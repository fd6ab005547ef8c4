"""The options of `type: stripe`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from meter.events import BILLED_KINDS
from meter.sinks import Duration, FilePath, Options, Secret

__all__ = [
    "BASE_URL",
    "CustomersFrom",
    "MeterOptions",
    "StripeOptions",
    "key_mode",
]

BASE_URL: Final = "https://api.stripe.com"
UNITS: Final = {"second": 1, "minute": 60, "hour": 3600}
LAST_DAY: Final = 28
"""The last day that every month has."""
Kind = Literal["async_completed", "stream_terminated"]


def key_mode(key: str) -> Literal["live", "test"] | None:
    """Return which mode an API key is for, by its prefix; None when it is no Stripe API key."""
    kind, _, rest = key.partition("_")
    mode, _, secret = rest.partition("_")
    if kind not in ("sk", "rk") or not secret:
        return None
    return mode if mode in ("live", "test") else None  # type: ignore[return-value]  # because mypy does not narrow texts


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Texts = Annotated[
    list[str],
    BeforeValidator(_one_or_many),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class MeterOptions(Options):
    """One Stripe meter, and the usage that it counts."""

    event_name: Annotated[
        str,
        Field(min_length=1, max_length=100, description="The event name of the meter at Stripe."),
    ]
    kinds: Annotated[
        list[Kind],
        BeforeValidator(_one_or_many),
        Field(min_length=1, description="Which kinds of events it counts. Default: both billed."),
    ] = Field(default_factory=lambda: list(BILLED_KINDS))  # type: ignore[arg-type]  # because the tuple holds these two
    models: Annotated[
        Texts | None, Field(description="Only usage of these speech models. Default: any.")
    ] = None
    dimensions: Annotated[
        dict[str, Texts],
        Field(description="Only usage whose dimension has this value, or one of these."),
    ] = Field(default_factory=dict)
    unit: Annotated[
        Literal["second", "minute", "hour"],
        Field(description="What one unit at Stripe stands for; the remainder is kept, exactly."),
    ] = "second"

    @property
    def unit_seconds(self) -> int:
        """How many seconds one unit stands for."""
        return UNITS[self.unit]


class CustomersFrom(Options):
    """Where a customer's Stripe id is found."""

    file: Annotated[
        FilePath | None,
        Field(
            description="A file of `customer_id: cus_…`; one whose name ends in .csv has two "
            "columns instead."
        ),
    ] = None
    metadata: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=40,
            description="The metadata key of Stripe's customers that holds it.",
        ),
    ] = None
    refresh: Annotated[
        Duration, Field(description="With `metadata`: how often Stripe is asked again.")
    ] = timedelta(hours=1)

    @model_validator(mode="after")
    def _one_source(self) -> CustomersFrom:
        if (self.file is None) == (self.metadata is None):
            raise ValueError("either {file: customers.yaml} or {metadata: key}")
        if self.file is not None and "refresh" in self.model_fields_set:
            raise ValueError("refresh goes with metadata; a file is read again once it changes")
        if self.refresh < timedelta(minutes=1):
            raise ValueError("refresh of 1m or more: each one reads all of the customers")
        return self


def _period(value: Any) -> Any:
    day = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(day, int) and not 1 <= day <= LAST_DAY:
        raise ValueError(f"a day from 1 to {LAST_DAY}, or none")
    return day


def _customers(value: Any) -> Any:
    if isinstance(value, str) and value != "passthrough":
        raise ValueError("a mapping, {file: mapping.yaml} or {metadata: key}; or passthrough")
    return value


def _address(url: str) -> str:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.username is not None or parts.query or parts.fragment or not parts.hostname:
        raise ValueError("an address such as https://api.stripe.com, and nothing else")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError("an https:// address; http:// only on this machine")
    return url.rstrip("/")


class StripeOptions(Options):
    """Options of `type: stripe`."""

    api_key: Annotated[
        Secret,
        Field(description="A secret or restricted key; see docs/stripe.md for its permissions."),
    ]
    meters: Annotated[
        list[MeterOptions],
        Field(min_length=1, description="Stripe's meters, and which usage each one counts."),
    ]
    customers: Annotated[
        CustomersFrom | Literal["passthrough"],
        BeforeValidator(_customers),
        Field(
            description="Where a customer's Stripe id is found: {file: …}, {metadata: …}, or "
            "passthrough when the customer_id is the Stripe id."
        ),
    ]
    webhook_secret: Annotated[
        Secret | None,
        Field(description="Of Stripe's event destination; opens POST on `webhook_path`."),
    ] = None
    webhook_path: Annotated[
        str, Field(pattern=r"^/[^?#\s]*$", description="Where Stripe sends its error reports.")
    ] = "/webhooks/stripe"
    late: Annotated[
        Literal["hold", "carry_forward"],
        Field(
            description="Usage older than 35 days, or of a period whose invoice is final: hold it, "
            "or bill it now under today's date (the true time stays in the ledger)."
        ),
    ] = "hold"
    period_day: Annotated[
        int | Literal["none"],
        BeforeValidator(_period),
        Field(
            description="The day of the month, 1 to 28, UTC, on which billing periods begin; none "
            "when they differ: then only the 35 days count."
        ),
    ] = 1
    invoice_grace: Annotated[
        Duration, Field(description="How long after a period its invoice stays open at Stripe.")
    ] = timedelta(hours=1)
    api: Annotated[Literal["v1", "v2"], Field(description="Stripe's API for meter events.")] = "v1"
    max_per_second: Annotated[
        float | None,
        Field(
            gt=0, le=1000, description="Most calls a second. Default: 100 live, 20 in test mode."
        ),
    ] = None
    concurrency: Annotated[
        int, Field(ge=1, le=64, description="Most calls at a time, each for another customer.")
    ] = 32
    verify: Annotated[
        bool,
        Field(description="Compare Stripe's summaries with the ledger once a day, on its own."),
    ] = True
    reads_per_month: Annotated[
        int, Field(ge=100, description="Most reads a month for that comparison.")
    ] = 10_000
    guard: Annotated[
        bool,
        Field(
            description="On start, ask Stripe whether it already counts usage that this journal "
            "does not know of in the hours that are about to be sent, and park the sink if so."
        ),
    ] = True
    create_missing: Annotated[
        bool,
        Field(description="Make meters that Stripe lacks on start; the key must be allowed to."),
    ] = False
    base_url: Annotated[
        str, AfterValidator(_address), Field(description="Where Stripe's API is.")
    ] = BASE_URL

    @model_validator(mode="after")
    def _sound(self) -> StripeOptions:
        names = [meter.event_name for meter in self.meters]
        if len(set(names)) != len(names):
            raise ValueError("meters: each event_name stands once; join their selections")
        return self

    @property
    def mode(self) -> Literal["live", "test"] | None:
        """Which mode the key is for; None when it is no API key (then the sink parks on open).

        No rule of this model, because commands that only look at the journal need no keys.
        """
        return key_mode(self.api_key.get_secret_value())

    @property
    def calls_per_second(self) -> float:
        """The pace: below Stripe's limits (live 1,000 a second, test 25)."""
        if self.max_per_second is not None:
            return self.max_per_second
        return 100.0 if self.mode == "live" else 20.0
