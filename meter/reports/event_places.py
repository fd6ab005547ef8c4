"""Where one event stands for each sink, and what the journal says about why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from meter.reports.moments import age, moment

if TYPE_CHECKING:
    from datetime import datetime

    from meter.config import SinkConfig
    from meter.events import Event
    from meter.journal import Delivered, ExceptionRow, Journal, Place, StoredEvent

__all__ = ["SinkPlace", "fields_of", "places_of", "standing_of", "state_of"]


@dataclass(frozen=True, slots=True)
class SinkPlace:
    """Where one event stands for one sink.

    Attributes:
        type: of the sink; None when nothing tells.
        place: None when the sink never ran.
        parked: why the sink stopped until a person acts, or None.
        skipped: it was recorded before the sink started, so that it was never given it.
    """

    sink: str
    type: str | None
    place: Place | None
    parked: str | None = None
    skipped: bool = False
    deliveries: Sequence[Delivered] = ()


def places_of(
    reference: str,
    stored: StoredEvent | None,
    sinks: Mapping[str, SinkConfig],
    journal: Journal,
) -> list[SinkPlace]:
    """Tell where an event stands: for the file's sinks first, in its order, then for others.

    Args:
        reference: the event's id, or what is none.
        stored: the event; None when the reference is none.
        sinks: those of the pipelines file.
        journal: what the event is in.
    """
    places = {place.sink: place for place in journal.exceptions.places(reference)}
    found = []
    for name in [*sinks, *sorted(places.keys() - sinks.keys())]:
        row = journal.exceptions.sink(name)
        entry = sinks.get(name)
        found.append(
            SinkPlace(
                sink=name,
                type=entry.type if entry is not None else row.type if row is not None else None,
                place=places.get(name),
                parked=None if row is None else row.parked,
                skipped=stored is not None and stored.offset <= journal.exceptions.start(name),
                deliveries=()
                if stored is None
                else journal.exceptions.deliveries(name, stored.offset),
            )
        )
    return found


_NOT_ADMITTED: Final = (
    "no pipeline admitted it (what is never billed, such as a failed job, goes only where a "
    "pipeline's `kinds:` names it)"
)


def state_of(place: Place | None) -> str:
    """Say in a word or a few how an event stands for a sink."""
    if place is None:
        return "not started yet"
    waits = place.state == "retrying" and place.row is not None and place.row.put_off
    return "waiting for its time" if waits else place.state


def standing_of(at: SinkPlace, place: Place, now: datetime) -> list[str]:
    """Say what the state alone does not, a line each."""
    row = place.row
    if place.state == "filtered":
        return ["recorded before the sink started" if at.skipped else _NOT_ADMITTED]
    if row is None:
        return [f"the sink is parked: {at.parked}"] if at.parked else []
    if place.state == "delivered":
        return [f"at {moment(row.changed_at)}"]
    if place.state == "discarded":
        return [row.reason, f"given up at {moment(row.changed_at)}; see below by whom, and why"]
    since = row.changed_at if place.state == "dead" else row.first_at
    times = [f"since {moment(since)}, {age(now, since)} ago"]
    if row.attempts:
        times.append(f"failed attempts: {row.attempts}")
    if row.next_at is not None:
        times.append(f"offered again {_when(row, now)}")
    parked = [f"the sink is parked: {at.parked}"] if at.parked else []
    return [row.reason, "; ".join(times), *parked]


def _when(row: ExceptionRow, now: datetime) -> str:
    return "now" if row.next_at is None or row.next_at <= now else f"at {moment(row.next_at)}"


def fields_of(event: Event) -> dict[str, Any]:
    """Return an event's fields as JSON has them; exact decimals are text."""
    import msgspec

    from meter.events import format_seconds

    told: dict[str, Any] = {"event_id": event.event_id, "kind": event.kind}
    plain: dict[str, Any] = msgspec.to_builtins(event, builtin_types=(Decimal,))
    told |= {n: format_seconds(v) if isinstance(v, Decimal) else v for n, v in plain.items()}
    return told
