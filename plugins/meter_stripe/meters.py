"""Stripe's meters: found by event name, and fit for what the sink does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meter.errors import FatalSinkError

if TYPE_CHECKING:
    from meter_stripe.client import MeterInfo, StripeApi
    from meter_stripe.ledger import Ledger
    from meter_stripe.options import MeterOptions, StripeOptions

__all__ = ["find_meters", "fit_meters", "same_unit", "unfit"]


def find_meters(api: StripeApi, options: StripeOptions) -> dict[str, MeterInfo]:
    """Return those of the wanted meters that Stripe has, by event name; the active one first.

    Raises:
        SinkError: as `StripeApi.meters`.
    """
    wanted = {meter.event_name for meter in options.meters}
    found: dict[str, MeterInfo] = {}
    for info in api.meters():
        if info.event_name in wanted and (info.active or info.event_name not in found):
            found[info.event_name] = info
    return found


def unfit(info: MeterInfo | None) -> str | None:
    """Say what is wrong with a meter; None when nothing is."""
    if info is None:
        return "Stripe has no such meter: `meter stripe setup --apply` makes it"
    if not info.active:
        return (
            "it is deactivated at Stripe: reactivate it there, or with `meter stripe setup --apply "
            "--reactivate`"
        )
    if info.formula != "sum":
        return (
            f"it aggregates by {info.formula}, and only sum adds usage up; give the sink a meter "
            "of another event_name"
        )
    return None


def fit_meters(api: StripeApi, options: StripeOptions) -> dict[str, MeterInfo]:
    """Return every wanted meter, by event name; with `create_missing`, made where it was missing.

    Raises:
        FatalSinkError: one is missing or unfit; the text names them all.
        SinkError: as `StripeApi.meters`.
    """
    found = find_meters(api, options)
    if options.create_missing:
        for meter in options.meters:
            if meter.event_name not in found:
                found[meter.event_name] = api.create_meter(
                    event_name=meter.event_name,
                    display_name=meter.event_name,
                    idempotency_key=f"meter-create-{meter.event_name}",
                )
    faults = {
        meter.event_name: fault
        for meter in options.meters
        if (fault := unfit(found.get(meter.event_name))) is not None
    }
    if faults:
        raise FatalSinkError("; ".join(f"meter {name!r}: {why}" for name, why in faults.items()))
    return found


def same_unit(ledger: Ledger, options: MeterOptions) -> None:
    """Refuse another unit than the one that a meter was fed in: Stripe would add both up.

    Raises:
        FatalSinkError: the unit was changed.
    """
    record = ledger.record()
    if record is not None and record.unit != options.unit:
        raise FatalSinkError(
            f"meter {options.event_name!r}: it was fed in units of one {record.unit}, and the file "
            f"says {options.unit} now; put `unit: {record.unit}` back, or give the new unit a "
            "meter of another event_name"
        )
