"""Usage added up another way: from the events themselves, one by one, with fractions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from meter.events import Event

Group = tuple[str | None, ...]
Books = dict[Group, tuple[int, Fraction, int]]
"""By group: billed events, billed seconds, and events that are never billed."""


def kept(events: Iterable[Event], by: Sequence[str], zone: str) -> Books:
    books: dict[Group, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 3)
    for event in events:
        there = event.occurred_at.astimezone(ZoneInfo(zone))
        values = {
            "customer": event.customer_id,
            "kind": event.kind,
            "model": getattr(event, "model", None),
            "day": there.date().isoformat(),
            "month": there.date().isoformat()[:7],
        }
        group = tuple(
            event.dimensions.get(key.removeprefix("dimension."))
            if key.startswith("dimension.")
            else values[key]
            for key in by
        )
        entry = books[group]
        if event.billed_seconds is None:
            entry[2] += 1
        else:
            entry[0] += 1
            entry[1] += Fraction(event.billed_seconds)
    return {group: (int(n), seconds, int(rest)) for group, (n, seconds, rest) in books.items()}


def within(
    events: Iterable[Event], zone: str, since: date | datetime | None, until: date | datetime | None
) -> list[Event]:
    """Return the events between two bounds, each a local date or a moment."""

    def before(event: Event, bound: date | datetime) -> bool:
        if isinstance(bound, datetime):
            return event.occurred_at < bound
        return event.occurred_at.astimezone(ZoneInfo(zone)).date() < bound

    return [
        event
        for event in events
        if (since is None or not before(event, since)) and (until is None or before(event, until))
    ]
