"""The history of an event: how it came in, its deliveries, and what people did to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from meter.reports.moments import moment

if TYPE_CHECKING:
    from meter.events import Event
    from meter.journal import Act, Came, Delivered, Entry, Journal, Place, StoredEvent

__all__ = [
    "History",
    "acts_of",
    "deliveries_of",
    "describe",
    "history_of",
    "plain",
    "receipts_of",
]

_MOST_ENTRIES: Final = 20


@dataclass(frozen=True, slots=True)
class History:
    """How an event came in, and what people did to it; each list the oldest first."""

    receipts: Sequence[Came]
    entries: Sequence[Entry]
    acts: Sequence[Act]


def history_of(stored: StoredEvent, journal: Journal) -> History:
    """Collect what the journal knows of how an event came in, and of what people did to it."""
    aside = journal.aside
    entries = {
        entry.id: entry
        for entry in aside.entries(
            states=(), provider_id=stored.event.provider_id, limit=_MOST_ENTRIES
        )
    }
    acts = list(journal.acts.of_event(stored.offset))
    # What was assigned may have named no transcript or session itself.
    for number in {act.entry for act in acts if act.entry is not None} - entries.keys():
        if (entry := aside.find(number)) is not None:
            entries[number] = entry
    acts = [act for act in acts if act.entry is None]
    acts += [act for number in entries for act in journal.acts.of_entry(number)]
    return History(
        receipts=journal.search.receipts(stored.event),
        entries=[entry for _, entry in sorted(entries.items())],
        acts=sorted(acts, key=lambda act: act.at),
    )


def receipts_of(event: Event, receipts: Sequence[Came], entries: Sequence[Entry]) -> list[str]:
    """Say how an event came in, a line each."""
    lines = []
    for came in receipts:
        failed = (
            f"; asked in vain {came.attempts} times, at last: {came.error}" if came.error else ""
        )
        lines.append(
            f"{moment(came.received_at)}: webhook to {came.collector} (receipt {came.id}): "
            f"{came.outcome}{failed}"
        )
    lines += [
        f"{moment(entry.first_at)}: quarantine {entry.id} ({entry.state}), {_times(entry.times)}: "
        f"{entry.reason}"
        for entry in entries
    ]
    if not receipts and not entries:
        lines.append(f"no webhook: {event.collector} had it in another way")
    return [*lines, f"{moment(event.recorded_at)}: recorded"]


def deliveries_of(deliveries: Sequence[Delivered], place: Place) -> list[str]:
    """Say in which deliveries to a sink an event was, a line each."""
    if place.state == "filtered":
        return []
    lines = []
    for delivery in deliveries:
        among = f"with others of offsets {delivery.first} to {delivery.last}"
        if delivery.first == delivery.last:
            among = "alone"
        aside = delivery.purpose == "new" and _was_set_aside(delivery, deliveries, place)
        became = "set aside" if aside else "delivered"
        lines.append(f"{moment(delivery.at)}: offered {among} ({delivery.purpose}): {became}")
    return lines


def _was_set_aside(new: Delivered, deliveries: Sequence[Delivered], place: Place) -> bool:
    """Tell whether the first delivery failed for an event; it may have been recalled much later."""
    row = place.row
    if row is None:
        return False
    if row.first_at <= new.at:
        return True
    return any(d.purpose == "retry" and d.at < row.first_at for d in deliveries)


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def acts_of(acts: Sequence[Act]) -> list[str]:
    """Say what people did, a line each."""
    return [f"{moment(act.at)}: {describe(act)}" for act in acts]


def describe(act: Act) -> str:
    """Say what somebody did, without when."""
    words = {"retry": "offered again", "discard": "gave up", "replay": "replayed"}
    done = words.get(act.what, act.what)
    if act.entry is not None:
        done = {"retry": "asked again for", "discard": "discarded"}.get(act.what, "assigned")
        done += f" quarantine {act.entry}"
    of = f" for {act.sink}" if act.sink is not None else ""
    return f"{act.who} {done}{of}" + (f": {act.reason}" if act.reason else "")


def plain(record: Any) -> dict[str, Any]:
    """Return a record's fields as JSON has them; times are text."""
    return {
        name: moment(value) if isinstance(value, datetime) else value
        for name, value in asdict(record).items()
    }
