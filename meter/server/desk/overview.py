"""The first page: what needs somebody, usage, sinks, collectors, open sessions, and what is stuck.

Nothing here grows with the events of the journal: only with what is open or in trouble, with the
customers, and with the days that are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from meter.collectors.backfill import walked_at
from meter.collectors.cases import case_of
from meter.server.desk.sinks_view import REASONS, SinkView, sinks_of
from meter.server.desk.usage_view import UsageView, usage_of
from meter.server.desk.words import address, count, lasting

if TYPE_CHECKING:
    from meter.collectors.cases import Case
    from meter.journal import Act, Entry, Session, Standing
    from meter.server.desk.periods import Period
    from meter.server.desk.sources import Sources

__all__ = ["CollectorView", "Need", "Overview", "Set", "overview_of"]

CUSTOMERS: Final = 10
SESSIONS: Final = 20
ENTRIES: Final = 5
ACTS: Final = 5
LATE: Final = timedelta(minutes=15)
"""After so long, what is not delivered, or not understood, is worth a look."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that somebody should look at.

    Attributes:
        weight: `stopped`, `broken`, `waiting`: how bad it is, and the word for it.
        href: where on the page more of it stands.
    """

    weight: str
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class CollectorView:
    """One collector of the file, or one that the journal knows of.

    Attributes:
        receipts: how many webhooks are received and not understood yet.
        oldest: how long the oldest of those waits.
        walked: when its backfill last came to its end.
    """

    name: str
    type: str
    trouble: str
    receipts: int = 0
    oldest: timedelta | None = None
    walked: datetime | None = None
    sessions: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Set:
    """Something in quarantine, and what it is."""

    entry: Entry
    case: Case


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the first page.

    Attributes:
        recorded: events of all kinds.
        quarantine: how many wait there.
        oldest: how long the oldest event waits that any sink of the file lacks.
    """

    now: datetime
    needs: Sequence[Need]
    usage: UsageView
    sinks: Sequence[SinkView]
    collectors: Sequence[CollectorView]
    sessions: Sequence[Session]
    sessions_open: int
    entries: Sequence[Set]
    quarantine: int
    acts: Sequence[Act]
    recorded: int
    oldest: timedelta | None

    @property
    def dead(self) -> int:
        """How many dead letters wait for somebody."""
        return sum(sink.dead for sink in self.sinks if sink.in_file)


def overview_of(sources: Sources, period: Period) -> Overview:
    """Collect the first page."""
    journal, now = sources.journal, sources.clock.now()
    standing = journal.standing()
    answers = sources.asked.status()
    sinks = sinks_of(sources, standing, journal.exceptions.reasons(REASONS), answers)
    collectors = _collectors(sources, standing, now)
    usage = usage_of(sources, period, most=CUSTOMERS)
    waiting = [sink.oldest for sink in sinks if sink.in_file and sink.oldest is not None]
    return Overview(
        now=now,
        needs=[*_needs(sinks, collectors, usage, sources)],
        usage=usage,
        sinks=sinks,
        collectors=collectors,
        sessions=journal.sessions.list(states=("open",), limit=SESSIONS),
        sessions_open=sum(standing.sessions_open.values()),
        entries=[
            Set(entry, case_of(entry, journal.find))
            for entry in journal.aside.entries(limit=ENTRIES)
        ],
        quarantine=sum(standing.quarantine_open.values()),
        acts=journal.acts.newest(ACTS),
        recorded=sum(standing.events.values()),
        oldest=max(waiting, default=None),
    )


def _collectors(sources: Sources, standing: Standing, now: datetime) -> list[CollectorView]:
    known = {*standing.troubles, *standing.quarantine_open, *standing.sessions_open}
    known |= standing.receipts.keys()
    ours = sources.config.collectors
    found = []
    for name in [*ours, *sorted(known - ours.keys())]:
        waiting, cursor = standing.receipts.get(name), standing.cursors.get(name)
        found.append(
            CollectorView(
                name,
                ours[name].type if name in ours else "",
                standing.troubles.get(name, ""),
                receipts=waiting.count if waiting else 0,
                oldest=max(timedelta(0), now - waiting.oldest) if waiting else None,
                walked=walked_at(cursor)
                if cursor and name in ours and ours[name].type == "webhook"
                else None,
                sessions=standing.sessions_open.get(name, 0),
                quarantined=standing.quarantine_open.get(name, 0),
            )
        )
    return found


def _needs(
    sinks: Sequence[SinkView],
    collectors: Sequence[CollectorView],
    usage: UsageView,
    sources: Sources,
) -> Iterator[Need]:
    """Say what needs somebody, the worst first."""
    ours = [sink for sink in sinks if sink.in_file]
    for sink in sinks:
        if not sink.balanced:
            words = f"{sink.name} does not balance: keep a copy of the journal and report it"
            yield Need("broken", words, f"#sink-{sink.name}")
    for sink in ours:
        if sink.state in {"parked", "hangs"}:
            words = {"parked": "is parked", "hangs": "hangs"}[sink.state]
            yield Need("stopped", f"{sink.name} {words}: {sink.why}", f"#sink-{sink.name}")
    for collector in collectors:
        if collector.trouble:
            words = f"{collector.name} cannot collect: {collector.trouble}"
            yield Need("stopped", words, "#collectors")
    for sink in ours:
        if sink.state == "failing":
            words = f"{sink.name} does not deliver: {sink.why}"
            yield Need("waiting", words, f"#sink-{sink.name}")
        elif sink.state == "working" and sink.oldest and sink.oldest > LATE:
            words = f"{sink.name} is behind: its oldest event waits for {lasting(sink.oldest)}"
            yield Need("waiting", words, f"#sink-{sink.name}")
    yield from _left_over(ours, collectors, usage, sources)


def _left_over(
    sinks: Sequence[SinkView],
    collectors: Sequence[CollectorView],
    usage: UsageView,
    sources: Sources,
) -> Iterator[Need]:
    """Say what waits for a person's word."""
    for sink in sinks:
        if sink.dead:
            words = f"{sink.name} refused {_counted(sink.dead, 'event')} for good"
            yield Need("waiting", words, address("/desk/letters", sink=sink.name, state="dead"))
        if sink.held:
            words = f"{sink.name} holds {_counted(sink.held, 'event')}: it cannot place them yet"
            yield Need("waiting", words, address("/desk/letters", sink=sink.name, state="held"))
    aside = sum(collector.quarantined for collector in collectors)
    if aside:
        words = f"{_counted(aside, 'thing')} in quarantine, billed to nobody until you decide"
        yield Need("waiting", words, "/desk/quarantine")
    for collector in collectors:
        if collector.oldest is not None and collector.oldest > LATE:
            words = (
                f"{collector.name} asks in vain: its oldest webhook waits for "
                f"{lasting(collector.oldest)}"
            )
            yield Need("waiting", words, "#collectors")
    if usage.unrated:
        yield Need("waiting", "Some usage has no rate: no money is shown", "#usage")
    strangers = [c.name for c in collectors if c.name not in sources.config.collectors]
    for name in strangers:
        words = f"the file has no collector {name} any more: no pipeline takes its events"
        yield Need("waiting", words, "#collectors")


def _counted(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
