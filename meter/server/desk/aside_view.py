"""What is in quarantine as a page shows it: what it is, what it lacks, and its ways out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from meter.collectors.cases import case_of
from meter.reports.event_history import acts_of
from meter.server.desk.overview import Set
from meter.server.desk.sources import Way

if TYPE_CHECKING:
    from meter.collectors.cases import Case
    from meter.journal import Entry
    from meter.journal.aside import EntryState
    from meter.server.desk.sources import Sources

__all__ = ["STATES", "EntriesView", "EntryView", "entries_of", "entry_of"]

STATES: Final[tuple[EntryState, ...]] = ("open", "recorded", "assigned", "discarded")
PAGE: Final = 50
MOST: Final = 1000
_MOST_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class EntriesView:
    """A list of what is in quarantine, the newest first.

    Attributes:
        further: how many to ask for to see more; 0 when these are all, or the most.
    """

    now: datetime
    state: str
    entries: Sequence[Set]
    further: int


@dataclass(frozen=True, slots=True)
class EntryView:
    """One thing in quarantine.

    Attributes:
        kept: what was kept of it, as JSON.
        acts: those that a form may offer: `assign`, `ask`, `drop`.
    """

    now: datetime
    entry: Entry
    case: Case
    kept: str
    people: Sequence[str]
    ways: Sequence[Way]
    acts: Sequence[str]


def entries_of(sources: Sources, state: EntryState, limit: int) -> EntriesView:
    """List what is in quarantine in one state."""
    journal = sources.journal
    limit = max(PAGE, min(MOST, limit))
    found = journal.aside.entries(states=(state,), limit=limit + 1)
    return EntriesView(
        sources.clock.now(),
        state,
        [Set(entry, case_of(entry, journal.find)) for entry in found[:limit]],
        further=min(MOST, limit * 4) if len(found) > limit and limit < MOST else 0,
    )


def entry_of(sources: Sources, entry: Entry) -> EntryView:
    """Collect everything about one thing in quarantine."""
    case = case_of(entry, sources.journal.find)
    can = entry.state == "open"
    asks = can and case.retryable is None and _is_asked_for(sources, entry)
    acts = [
        *(["assign"] if can and case.assignable is None else []),
        *(["ask"] if asks else []),
        *(["drop"] if can else []),
    ]
    kept = json.dumps(_parsed(entry.payload), indent=2, ensure_ascii=False)
    return EntryView(
        sources.clock.now(),
        entry,
        case,
        kept[:_MOST_KEPT],
        acts_of(sources.journal.acts.of_entry(entry.id)),
        _ways(entry, acts, sources.file),
        acts,
    )


def _is_asked_for(sources: Sources, entry: Entry) -> bool:
    """Tell whether a collector of the file would ask for it."""
    ours = sources.config.collectors.get(entry.collector)
    return ours is not None and ours.type == "webhook"


def _parsed(payload: str) -> object:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload


def _ways(entry: Entry, acts: Sequence[str], file: str) -> list[Way]:
    command = "meter quarantine"
    ways = {
        "assign": Way("Say whose it is:", f"{command} assign {entry.id}{file} --customer CUSTOMER"),
        "ask": Way("Ask the provider again:", f"{command} retry {entry.id}{file}"),
        "drop": Way("It is nobody's usage:", f"{command} discard {entry.id}{file} --reason TEXT"),
    }
    return [way for act, way in ways.items() if act in acts]
