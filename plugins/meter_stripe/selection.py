"""Which meters count an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meter.events import Event
    from meter_stripe.options import MeterOptions

__all__ = ["counts", "meters_for"]


def counts(meter: MeterOptions, event: Event) -> bool:
    """Tell whether a meter counts an event. Everything that its options ask for must hold."""
    if event.kind not in meter.kinds:
        return False
    if meter.models is not None and getattr(event, "model", None) not in meter.models:
        return False
    return all(event.dimensions.get(name) in values for name, values in meter.dimensions.items())


def meters_for(meters: Sequence[MeterOptions], event: Event) -> list[MeterOptions]:
    """Return every meter that counts an event; an event may be on several."""
    return [meter for meter in meters if counts(meter, event)]
