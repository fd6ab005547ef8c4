"""What a restricted key must be allowed to do, by what meter is asked to do. One list, printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meter_stripe.options import StripeOptions

__all__ = ["PERMISSIONS", "Permission", "permissions_for"]


class Permission(NamedTuple):
    """One row of Stripe's page for restricted keys.

    Attributes:
        resource: as Stripe calls it there.
        level: `Read` or `Write`; the latter includes the former.
        name: as Stripe's refusals call it.
        needed: for what.
        when: `always`, or the condition.
    """

    resource: str
    level: str
    name: str
    needed: str
    when: str = "always"


METADATA: Final = "with customers: {metadata: …}"
REPORTS: Final = "with webhook_secret"
APPLY: Final = "for setup --apply only"

PERMISSIONS: Final[Sequence[Permission]] = (
    Permission("Meters", "Read", "rak_billing_meter_read", "run, verify, setup"),
    Permission("Meter events", "Write", "rak_billing_meter_event_write", "run"),
    Permission(
        "Meter event summaries",
        "Read",
        "rak_billing_meter_event_summary_read",
        "run (proof after 23 h, nightly check), verify",
    ),
    Permission(
        "Meter event adjustments", "Write", "rak_billing_meter_event_adjustment_write", "cancel"
    ),
    Permission("Customers", "Read", "rak_customer_read", "run, plan", METADATA),
    Permission("Events", "Read", "rak_event_read", "error reports", REPORTS),
    Permission("Meters", "Write", "rak_billing_meter_write", "setup", APPLY),
    Permission("Products", "Write", "rak_product_write", "setup", APPLY),
    Permission("Prices", "Write", "rak_price_write", "setup", APPLY),
)


def permissions_for(options: StripeOptions) -> list[Permission]:
    """Return the permissions that a sink's key needs, setup's own at the end."""
    metadata = options.customers != "passthrough" and options.customers.metadata is not None
    reports = options.webhook_secret is not None
    return [
        each
        for each in PERMISSIONS
        if each.when not in {METADATA, REPORTS}
        or (each.when == METADATA and metadata)
        or (each.when == REPORTS and reports)
    ]
