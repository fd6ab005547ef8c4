"""What a destination holds, and how it differs from what it should hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meter.events import Event

__all__ = ["Row", "differences", "missing"]

SHOWN: Final = 8
"""So many differences are told; more of the same help nobody."""
LONGEST: Final = 120
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """One usage record as the destination holds it. What is None is not compared.

    Attributes:
        event_id: the event's id, if the destination keeps one.
        customer_id: whose usage it is.
        seconds: the billed quantity as the destination holds it; a sum, if it only keeps sums.
        occurred_at: when the usage happened, aware.
        kind: `async_completed` or `stream_terminated`.
        model: the speech model.
        dimensions: further text by name.

    Raises:
        TypeError: `seconds` is no Decimal, or `occurred_at` has no zone: what a float or a
            naive time lost can be compared with nothing.
        ValueError: neither `event_id`, nor `customer_id` with `seconds`.
    """

    event_id: str | None = None
    customer_id: str | None = None
    seconds: Decimal | None = None
    occurred_at: datetime | None = None
    kind: str | None = None
    model: str | None = None
    dimensions: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be compared exactly."""
        if self.seconds is not None and not isinstance(self.seconds, Decimal):
            raise TypeError(
                f"Row.seconds: expected a Decimal, got {type(self.seconds).__name__}; read it as "
                "text or as an integer of a small unit"
            )
        if self.occurred_at is not None and self.occurred_at.tzinfo is None:
            raise TypeError("Row.occurred_at: expected a time with a zone")
        if self.event_id is None and (self.customer_id is None or self.seconds is None):
            raise ValueError("Row: expected an event_id, or a customer_id with seconds")


def differences(
    rows: Iterable[Row],
    there: Collection[Event],
    absent: Collection[Event] = (),
    given: Mapping[str, int] | None = None,
    unit: Decimal | None = None,
) -> list[str]:
    """Say in what way a destination differs from what it should hold; empty when it does not.

    Args:
        rows: what `read_back` returned.
        there: the events that it should hold.
        absent: events that it was never given or that were refused; named in the complaint.
        given: for a sink that delivers at least once: how often it was given each event. It
            may hold a row so often. None: each once.
        unit: the seconds of one unit, for a destination that keeps sums in whole units: what it
            should hold is rounded down to these, once for each sum. None: sums are exact.
    """
    found = list(rows)
    if not found:
        due = there if unit is None else any(_billed(there, unit=unit).values())
        return ["the destination is empty"] if due else []
    nameless = [row for row in found if row.event_id is None]
    if nameless and len(nameless) != len(found):
        return ["read_back gives some rows with event_id and some without; give it to all or none"]
    if nameless:
        return _shortened(_sums(nameless, there, given, unit))
    refused = {event.event_id for event in absent}
    wanted = {event.event_id: event for event in there}
    counts = Counter(row.event_id for row in found if row.event_id is not None)
    told = [f"{_short(i)} is missing" for i in wanted if not counts[i]]
    for event_id, count in counts.items():
        if event_id in refused:
            told.append(f"{_short(event_id)} is there, and was never delivered")
        elif event_id not in wanted:
            told.append(f"{_short(event_id)} is there, and no such event was ever recorded")
        elif count > (1 if given is None else max(1, given.get(event_id, 1))):
            told.append(f"{_short(event_id)} is there {count} times")
    for row in found:
        if row.event_id in wanted:
            told += _unlike(row, wanted[row.event_id])
    return _shortened(told)


def missing(
    rows: Iterable[Row], there: Collection[Event], unit: Decimal | None = None
) -> list[str]:
    """Say which of these events a destination lacks, whatever else it holds.

    Of rows without event ids the sums are compared: a customer has at least so many seconds.

    Args:
        rows: what `read_back` returned.
        there: the events that it should hold.
        unit: as in `differences`.
    """
    found = list(rows)
    if any(row.event_id is None for row in found) or (unit is not None and not found):
        have, want = _held(found), _billed(there, unit=unit)
        return _shortened(
            f"customer {_short(c)} has {have.get(c, Decimal(0))} s, at least {s} were delivered"
            for c, s in want.items()
            if have.get(c, Decimal(0)) < s
        )
    ids = {row.event_id for row in found}
    return _shortened(
        f"{_short(event.event_id)} is missing" for event in there if event.event_id not in ids
    )


def _unlike(row: Row, event: Event) -> list[str]:
    expected = {
        "customer_id": event.customer_id,
        "seconds": event.billed_seconds,
        "occurred_at": event.occurred_at,
        "kind": event.kind,
        "model": getattr(event, "model", None),
        "dimensions": event.dimensions,
    }
    told = []
    for name, value in expected.items():
        held = getattr(row, name)
        if name == "dimensions" and held is not None:
            held = dict(held)
        if held is not None and held != value:
            told.append(
                f"{_short(event.event_id)}: {name} is {_short(held)}, expected {_short(value)}"
            )
    return told


def _sums(
    rows: Sequence[Row],
    there: Collection[Event],
    given: Mapping[str, int] | None,
    unit: Decimal | None,
) -> list[str]:
    have, want, most = _held(rows), _billed(there, unit=unit), _billed(there, given, unit=unit)
    told = []
    for customer in {**want, **have}:
        held, least = have.get(customer, Decimal(0)), want.get(customer, Decimal(0))
        if not least <= held <= most.get(customer, least):
            told.append(f"customer {_short(customer)} has {held} s, expected {least} s")
    return told


def _held(rows: Iterable[Row]) -> dict[str, Decimal]:
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        if row.customer_id is not None and row.seconds is not None:
            sums[row.customer_id] += row.seconds
    return dict(sums)


def _billed(
    events: Iterable[Event],
    given: Mapping[str, int] | None = None,
    *,
    unit: Decimal | None = None,
) -> dict[str, Decimal]:
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for event in events:
        times = 1 if given is None else max(1, given.get(event.event_id, 1))
        sums[event.customer_id] += (event.billed_seconds or Decimal(0)) * times
    if unit is not None:
        return {customer: seconds // unit * unit for customer, seconds in sums.items()}
    return dict(sums)


def _shortened(told: Iterable[str]) -> list[str]:
    told = list(told)
    if len(told) > SHOWN:
        return [*told[:SHOWN], f"… and {len(told) - SHOWN} more"]
    return told


def _short(value: object) -> str:
    text = str(value) if isinstance(value, Decimal | datetime) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
