"""The journal: every event of the window, and where it stands for each sink, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter.journal import Wanted
from meter.reports.reconciling.records import Entry, exact, micros

if TYPE_CHECKING:
    from meter.events import Event
    from meter.journal import ExceptionRow, Journal, StoredEvent
    from meter.reports.reconciling.records import Side, Tell, Window
    from meter.reports.reconciling.scratch import Pile, Scratch

__all__ = ["STATES", "entry_of", "laid_out", "looked_up"]

PAGE: Final = 5_000
"""How many events are in memory at a time."""
STATES: Final = {
    "d": "delivered",
    "a": "being replayed",
    "p": "pending",
    "w": "waiting for its time",
    "r": "retrying",
    "h": "held",
    "x": "dead letter",
    "g": "discarded dead letter",
    "f": "filtered out",
}
"""Where an event stands for a sink, by the letter that says so here."""
_LETTERS: Final = {word: letter for letter, word in STATES.items()} | {
    "dead": "x",
    "discarded": "g",
    "filtered": "f",
}


def laid_out(
    scratch: Scratch,
    journal: Journal,
    side: Side,
    window: Window,
    sinks: Sequence[str],
    tell: Tell,
) -> Pile[Entry]:
    """Read the window's events once, with where each stands for every sink.

    What is recorded after the beginning is left out. Checkpoints are read first: whatever counts
    as delivered here was written to its destination before that is read.

    Args:
        scratch: where they are laid out.
        journal: to be read; short transactions, a page each.
        side: is told how many events there are.
        window: which time.
        sinks: the names of those that are compared, in the order of the letters.
        tell: told how many events were read.
    """
    pile = scratch.pile(Entry._make, len(Entry._fields))
    places = [_Places(journal, name) for name in sinks]
    wanted = Wanted(since=window.since, until=window.until)
    head, at, seconds = journal.head(), 0, Decimal(0)
    while at < head:
        found, end = journal.search.after(wanted, at, PAGE)
        letters = [place.letters(found, at, end) for place in places]
        for number, stored in enumerate(found):
            event = stored.event
            if stored.offset <= head and window.has(event.occurred_at):
                pile.add(entry_of(stored, "".join(some[number] for some in letters)))
                side.entries += 1
                seconds += event.billed_seconds or 0
        at = end
        tell(f"journal: {side.entries} events")
    side.seconds = Decimal(exact(seconds))
    return pile


def entry_of(stored: StoredEvent, states: str) -> Entry:
    """Return what a comparison needs of an event."""
    event: Event = stored.event
    seconds = event.billed_seconds
    started = getattr(event, "started_at", None)
    return Entry(
        event.event_id,
        stored.offset,
        event.kind,
        event.customer_id,
        None if seconds is None else exact(seconds),
        micros(event.occurred_at),
        event.provider,
        event.provider_id,
        event.collector,
        None if started is None else micros(started),
        states,
    )


def looked_up(journal: Journal, sink: str, event_ids: Iterator[str]) -> Iterator[Entry]:
    """Yield some events as they stand for one sink now; those that the journal has."""
    for event_id in event_ids:
        stored = journal.locate(event_id)
        if stored is None:
            continue
        letter = "p"
        for place in journal.exceptions.places(event_id):
            if place.sink == sink:
                letter = _letter(place.row) if place.row else _LETTERS[place.state]
        yield entry_of(stored, letter)


class _Places:
    """Where events stand for one sink."""

    def __init__(self, journal: Journal, sink: str) -> None:
        self._exceptions = journal.exceptions
        self._sink = sink
        row = self._exceptions.sink(sink)
        self._checkpoint = 0 if row is None else row.checkpoint
        self._start = 0 if row is None else self._exceptions.start(sink)

    def letters(self, found: Sequence[StoredEvent], after: int, end: int) -> list[str]:
        """Return the letters of a page's events, which lie beyond an offset and up to another."""
        if not found:
            return []
        # More than the page may be set aside beyond its end, never within it.
        rows = self._exceptions.rows(sinks=[self._sink], after=(self._sink, after), limit=PAGE)
        aside = {row.offset: _letter(row) for row in rows}
        filtered = {
            offset
            for some in self._exceptions.filtered(self._sink, after + 1, end)
            for offset in some
        }
        return [self._letter(stored.offset, aside, filtered) for stored in found]

    def _letter(self, offset: int, aside: dict[int, str], filtered: set[int]) -> str:
        if offset <= self._start:
            return "f"
        if offset > self._checkpoint:
            return "p"
        return aside.get(offset) or ("f" if offset in filtered else "d")


def _letter(row: ExceptionRow) -> str:
    if row.state == "delivered":
        return "d"
    if row.replay:
        return "a"
    return "w" if row.put_off and row.state == "retrying" else _LETTERS[row.state]
