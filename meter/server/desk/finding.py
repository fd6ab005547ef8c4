"""What somebody may mean by what they typed: an event, a session, a customer, a thing aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from meter.events import event_id_for
from meter.reports.usage import Question, usage
from meter.server.desk.usage_view import BEHIND
from meter.server.desk.words import address

if TYPE_CHECKING:
    from meter.server.desk.sources import Sources

__all__ = ["Found", "Hit", "found_for"]

ASK_SECONDS: Final = 1.5
_FEW: Final = 10
_NOUNS: Final = (
    ("transcript", ""),
    ("transcript", ":failed"),
    ("session", ""),
    ("session", ":abandoned"),
)
_UTC: Final = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was found: what it is, what it is called, and where it is shown."""

    what: str
    name: str
    href: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found.

    Attributes:
        near: events whose ids begin alike, when nothing was found.
        words: by sink, what it says about it.
    """

    query: str
    hits: Sequence[Hit]
    near: Sequence[str] = ()
    words: Sequence[tuple[str, Sequence[str]]] = ()


def found_for(sources: Sources, query: str) -> Found:
    """Look for a text: an event's id, a provider's, a quarantine number, or a customer.

    What is called exactly so comes first; without any, spaces at the ends mean nothing.
    """
    hits = _hits(sources, query)
    if not hits and query != query.strip():
        query = query.strip()
        hits = _hits(sources, query) if query else []
    if hits or not query:
        return Found(query, hits)
    answers = sources.asked.explain(query, ASK_SECONDS)
    words = [(sink, answer.lines) for sink, answer in answers.items() if answer.lines]
    return Found(query, (), sources.journal.search.nearest(query), words)


def _hits(sources: Sources, query: str) -> list[Hit]:
    journal = sources.journal
    ids = [query, *(event_id_for("assemblyai", noun, query, end) for noun, end in _NOUNS)]
    hits = [
        Hit("event", event_id, address("/desk/event", id=event_id))
        for event_id in ids
        if journal.find(event_id) is not None
    ]
    session = journal.sessions.find(query)
    if session is not None:
        href = address("/desk/session", id=query)
        hits.append(Hit(f"session, {session.state}", query, href))
    entries = list(journal.aside.entries(states=(), provider_id=query, limit=_FEW))
    if query.isascii() and query.isdecimal() and len(query) < len(str(2**63)):
        entry = journal.aside.find(int(query))
        entries += [] if entry is None else [entry]
    hits += [
        Hit(
            f"in quarantine, {entry.state}",
            f"{entry.id}: {entry.reason}",
            address("/desk/entry", id=entry.id),
        )
        for entry in entries
    ]
    if _is_customer(sources, query):
        hits.append(Hit("customer", query, address("/desk/customer", id=query)))
    return hits


def _is_customer(sources: Sources, query: str) -> bool:
    if sources.journal.rollup.behind() > BEHIND:
        return False
    question = Question(by=("customer",), zone=_UTC, customers=frozenset({query}))
    return bool(usage(sources.journal, question))
