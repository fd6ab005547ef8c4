"""Stripe's limits as numbers; tests change them, the defaults are reference/stripe.md's."""

import dataclasses
from typing import Literal, TypeAlias

UnknownCustomers: TypeAlias = Literal["refused", "reported", "accepted"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StripeRules:
    """What the double holds its clients to.

    Attributes:
        identifier_seconds: How long an identifier stays taken, from its event's receipt.
        idempotency_seconds: How long a v1 answer is stored under its key.
        past_seconds, future_seconds: How far a timestamp may lie from now.
        cancel_seconds: How long after its receipt an event can be cancelled.
        digits: Significant digits that a value may have.
        test_events_per_second, live_events_per_second: Meter events in any second of the
            clock, v1 and v2 together; None is no limit.
        lock_status: What the second of two calls for one customer and meter gets in v1:
            429 or 409. In v2 it is 429.
        summary_lag_seconds: From receipt until an event counts in summaries; the same from a
            cancellation until it no longer counts.
        report_lag_seconds: From receipt until an event that is rejected later is reported.
        report_samples: How many errors of each code a report lists.
        unknown_customers: An event of a customer that does not exist is refused at once,
            reported later, or accepted, for a sandbox whose customers are made up.
        zero_summaries: A window without usage has a row of 0, rather than no row.
    """

    identifier_seconds: float = 86_400
    idempotency_seconds: float = 86_400
    past_seconds: float = 35 * 86_400
    future_seconds: float = 300
    cancel_seconds: float = 86_400
    digits: int = 15
    test_events_per_second: int | None = 25
    live_events_per_second: int | None = 1000
    lock_status: Literal[429, 409] = 429
    summary_lag_seconds: float = 0.0
    report_lag_seconds: float = 0.0
    report_samples: int = 5
    unknown_customers: UnknownCustomers = "refused"
    zero_summaries: bool = False
