"""Lists of events, of those that are stuck, and of sessions; none reads much more than it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter.journal import Wanted
from meter.streaming import upper_bound

if TYPE_CHECKING:
    from meter.events import Event
    from meter.journal import ExceptionRow, Session, StoredEvent
    from meter.server.desk.sources import Sources

__all__ = [
    "LETTERS",
    "EventsView",
    "LettersView",
    "SessionView",
    "SessionsView",
    "events_of",
    "letters_of",
    "session_of",
    "sessions_of",
]

PAGE: Final = 50
LETTERS: Final = {
    "dead": "Dead letters",
    "held": "Held",
    "retrying": "Retrying",
    "discarded": "Given up",
}
"""The states that events can be listed by, and what their lists are called."""
_PORTION: Final = 20_000
_PORTIONS: Final = 5
"""How many events are looked at, at the most, for those of one customer."""


@dataclass(frozen=True, slots=True)
class EventsView:
    """Events, the newest first.

    Attributes:
        before: the offset before which the next page begins; 0 when there is none.
        looked: how many events were looked at, where not all were; else 0.
    """

    events: Sequence[StoredEvent]
    before: int
    looked: int = 0


@dataclass(frozen=True, slots=True)
class LettersView:
    """Events that a sink refused, holds, or is offered again.

    Attributes:
        sink: whose; empty for all.
        after: where the next page begins; None when there is none.
    """

    now: datetime
    state: str
    sink: str
    rows: Sequence[ExceptionRow]
    after: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class SessionsView:
    """Sessions, the newest first."""

    now: datetime
    state: str
    sessions: Sequence[Session]
    more: bool


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session.

    Attributes:
        lasted: from its Begin until it ended, or until now.
        at_most: it lasted at most so long, in seconds.
        events: what became of it.
    """

    now: datetime
    session: Session
    lasted: timedelta
    at_most: Decimal
    events: Sequence[Event]


def events_of(sources: Sources, *, customer: str | None, before: int) -> EventsView:
    """List the newest events, of all or of one customer, below an offset."""
    search = sources.journal.search
    if customer is None:
        found = search.newest(Wanted(), PAGE + 1, before=before or None)
        return EventsView(found[:PAGE], found[PAGE - 1].offset if len(found) > PAGE else 0)
    wanted, kept = Wanted(customer_id=customer), list[tuple[int, "StoredEvent"]]()
    top = end = before or sources.journal.head() + 1
    for _ in range(_PORTIONS):
        if end <= 1 or len(kept) > PAGE:
            break
        start = max(0, end - 1 - _PORTION)
        portion, _ = search.after(wanted, start, end - 1 - start)
        kept = [(e.offset, e) for e in portion if e.offset < end] + kept
        end = start + 1
    kept = sorted(kept, reverse=True)
    if len(kept) > PAGE:
        return EventsView([e for _, e in kept[:PAGE]], kept[PAGE - 1][0])
    rest = end if end > 1 else 0
    return EventsView([e for _, e in kept], rest, looked=top - end if rest else 0)


def letters_of(sources: Sources, *, state: str, sink: str, after: tuple[str, int]) -> LettersView:
    """List what stands in one state for a sink, or for all."""
    rows = sources.journal.exceptions.rows(
        sinks=[sink] if sink else list(sources.config.sinks),
        states=[state],
        after=after,
        limit=PAGE + 1,
    )
    more = len(rows) > PAGE
    rows = rows[:PAGE]
    return LettersView(
        sources.clock.now(),
        state,
        sink,
        rows,
        after=(rows[-1].sink, rows[-1].offset) if more else None,
    )


def sessions_of(sources: Sources, *, only_open: bool) -> SessionsView:
    """List sessions: those that are open, or the newest of all."""
    found = sources.journal.sessions.list(states=("open",) if only_open else (), limit=PAGE * 2 + 1)
    return SessionsView(
        sources.clock.now(),
        "open" if only_open else "all",
        found[: PAGE * 2],
        more=len(found) > PAGE * 2,
    )


def session_of(sources: Sources, session: Session) -> SessionView:
    """Collect everything about one session."""
    journal, now = sources.journal, sources.clock.now()
    upper = session.upper_seconds
    if upper is None:
        upper = upper_bound(session.started_at, session.expires_at, session.lower_seconds)
    ids = [f"assemblyai:session:{session.provider_id}"]
    ids.append(f"{ids[0]}:abandoned")
    events = [event for event in map(journal.find, ids) if event is not None]
    ended = session.ended_at or now
    return SessionView(now, session, max(timedelta(0), ended - session.started_at), upper, events)
