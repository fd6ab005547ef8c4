"""One event as a page shows it: what it says, where it stands, and its whole history."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from meter.reports.event_history import acts_of, deliveries_of, history_of, receipts_of
from meter.reports.event_places import fields_of, places_of, standing_of, state_of
from meter.server.desk.sources import Way

if TYPE_CHECKING:
    from meter.delivery.asking import Answer
    from meter.events import Event
    from meter.journal import Entry, StoredEvent
    from meter.reports.event_places import SinkPlace
    from meter.server.desk.sources import Sources

__all__ = ["EventView", "PlaceView", "event_of", "retry_of"]

EXPLAIN_SECONDS: Final = 1.5
"""How long sinks have to say what they know of an event."""
_SHOWN_ELSEWHERE: Final = frozenset({"event_id", "customer_id", "seconds", "kind", "provider_id"})


@dataclass(frozen=True, slots=True)
class PlaceView:
    """Where the event stands for one sink.

    Attributes:
        state: a word of the balance, or a few.
        lines: what the journal says about why.
        words: what the sink says of it.
        no_words: why the sink could not say more.
        deliveries: the history, a line each.
        ways: what can be done.
        acts: the acts that a form may offer: `retry`, `discard`.
    """

    sink: str
    type: str
    in_file: bool
    state: str
    lines: Sequence[str]
    words: Sequence[str]
    no_words: str
    deliveries: Sequence[str]
    ways: Sequence[Way]
    acts: Sequence[str]


@dataclass(frozen=True, slots=True)
class EventView:
    """One event.

    Attributes:
        fields: what else it says, by name.
        came: how it came in, a line each.
        places: by sink.
        people: what people did, a line each.
        entries: what of it is, or was, in quarantine.
    """

    now: datetime
    offset: int
    event: Event
    fields: Sequence[tuple[str, str]]
    dimensions: Sequence[tuple[str, str]]
    came: Sequence[str]
    places: Sequence[PlaceView]
    people: Sequence[str]
    entries: Sequence[Entry]


def event_of(sources: Sources, stored: StoredEvent) -> EventView:
    """Collect everything about one event; sinks are asked what they know."""
    journal, now = sources.journal, sources.clock.now()
    event = stored.event
    history = history_of(stored, journal)
    places = places_of(event.event_id, stored, sources.config.sinks, journal)
    answers = sources.asked.explain(event.event_id, EXPLAIN_SECONDS)
    fields = fields_of(event)
    dimensions = fields.pop("dimensions")
    return EventView(
        now=now,
        offset=stored.offset,
        event=event,
        fields=[
            (name, ", ".join(value) if isinstance(value, tuple | list) else str(value))
            for name, value in fields.items()
            if name not in _SHOWN_ELSEWHERE and value not in (None, "", (), [])
        ],
        dimensions=sorted(dimensions.items()),
        came=receipts_of(event, history.receipts, history.entries),
        places=[
            _place(at, event.event_id, answers.get(at.sink), now, sources.file) for at in places
        ],
        people=acts_of(history.acts),
        entries=history.entries,
    )


def _place(
    at: SinkPlace, event_id: str, answer: Answer | None, now: datetime, file: str
) -> PlaceView:
    place = at.place
    state = "" if place is None else place.state
    return PlaceView(
        at.sink,
        at.type or "",
        in_file=answer is not None,
        state=state_of(place),
        lines=[] if place is None else standing_of(at, place, now),
        words=() if answer is None else answer.lines,
        no_words="" if answer is None else answer.error or "",
        deliveries=[] if place is None else deliveries_of(at.deliveries, place),
        ways=_ways(at.sink, state, event_id, file) if answer is not None else (),
        acts={"dead": ("retry", "discard"), "discarded": ("retry",)}.get(state, ()),
    )


def retry_of(sink: str, event_id: str, file: str) -> Way:
    """Return the command that offers a dead letter again."""
    command = f"meter dead-letters{file} --sink {sink} --retry {shlex.quote(event_id)}"
    return Way("Put the cause right, then offer it again:", command)


def _ways(sink: str, state: str, event_id: str, file: str) -> list[Way]:
    if state == "discarded":
        return [retry_of(sink, event_id, file)]
    if state != "dead":
        return []
    discard = f"meter dead-letters{file} --sink {sink} --discard {shlex.quote(event_id)}"
    return [
        retry_of(sink, event_id, file),
        Way("Or give it up for good:", f"{discard} --reason TEXT"),
    ]
