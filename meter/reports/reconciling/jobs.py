"""What one job of AssemblyAI's is to the journal, once it was asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from meter.collectors.attribution import attribution_of_url
from meter.collectors.transcripts import NotYet, Unusable, meaning_of, possible_ids
from meter.errors import InvalidEvent
from meter.events import AsyncCompleted, AsyncFailed, exact_seconds
from meter.reports.reconciling.records import GIVEN_UP, Difference, exact

if TYPE_CHECKING:
    from meter.collectors.jobs import OurJobs
    from meter.collectors.transcripts import Transcript
    from meter.events import Event
    from meter.journal import Journal
    from meter.reports.reconciling.records import Side, What
    from meter.reports.reconciling.scratch import Scratch

__all__ = ["Asked", "Judge"]

YOUNG: Final = timedelta(minutes=5)
"""AssemblyAI sends a webhook for up to 3.3 minutes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was answered; None: there is no such job for this key."""

    transcript: Transcript | None


class Judge:
    """Judges the jobs of one key, and notes what differs.

    Attributes:
        seconds: what AssemblyAI bills for those that were judged.
    """

    def __init__(
        self,
        scratch: Scratch,
        journal: Journal,
        side: Side,
        collectors: Mapping[str, OurJobs],
        *,
        now: datetime,
    ) -> None:
        """Know whose jobs they may be."""
        self._scratch = scratch
        self._journal = journal
        self._side = side
        self._collectors = collectors
        self._now = now
        self.seconds = Decimal(0)

    def judge(
        self, job_id: str, asked: Asked, created: datetime | None, done: datetime | None
    ) -> None:
        """Note what differs about a job; the journal is asked now, after AssemblyAI.

        Args:
            job_id: the transcript's id.
            asked: what AssemblyAI answered.
            created, done: as the list says; None where it is not there.
        """
        completed, failed = (self._journal.find(each) for each in possible_ids(job_id))
        event = completed or failed
        transcript = asked.transcript
        if transcript is None:
            if event is not None and event.collector in self._collectors:
                self._note("missing_there", event, journal=_told(event), seconds=_less(event))
        elif event is None:
            self._unrecorded(job_id, transcript, created, done)
        else:
            self._recorded(event, transcript)

    def _recorded(self, event: Event, transcript: Transcript) -> None:
        seconds = _seconds(transcript)
        ours = event.billed_seconds
        if (transcript.status == "completed") != (ours is not None):
            more = _number(seconds) - (ours or 0)
            self._note(
                *("differs", event),
                field="status",
                journal=_told(event),
                there=_state(transcript),
                seconds=more,
            )
        elif isinstance(seconds, str):
            self._note("unreadable", event, journal=_told(event), there=seconds)
        elif seconds is not None and ours is not None and seconds != ours:
            self._note(
                *("differs", event),
                field="seconds",
                journal=exact(ours),
                there=exact(seconds),
                seconds=seconds - ours,
            )
        self.seconds += _number(seconds)
        customer = attribution_of_url(transcript.webhook_url).customer_id
        if customer is not None and customer != event.customer_id:
            self._note(
                "differs", event, field="customer", journal=event.customer_id, there=customer
            )

    def _unrecorded(
        self,
        job_id: str,
        transcript: Transcript,
        created: datetime | None,
        done: datetime | None,
    ) -> None:
        """Judge a job that the journal has not as an event."""
        mine = [n for n, ours in self._collectors.items() if ours.takes(transcript.webhook_url)]
        if not mine:
            self._side.left_out["jobs of others"] += 1
            return
        self._side.entries += 1
        if any(self._journal.waiting(name, job_id) for name in mine):
            self._side.in_flight["in quarantine"] += 1
            return
        if self._given_up(job_id, mine):
            self._side.left_out[GIVEN_UP] += 1
            return
        at = done or created or self._now
        meaning = meaning_of(
            transcript,
            attribution_of_url(transcript.webhook_url),
            transcript_id=job_id,
            collector=mine[0],
            occurred_at=at,
            now=self._now,
        )
        if isinstance(meaning, NotYet):
            self._side.in_flight["unfinished at AssemblyAI"] += 1
        elif at > self._now - YOUNG or self._received(meaning):
            self._side.in_flight["its webhook is under way"] += 1
        elif isinstance(meaning, Unusable):
            found = Difference(
                self._side.name,
                "missing_here",
                possible_ids(job_id)[0],
                occurred_at=at,
                there=f"{_state(transcript)}; {meaning.reason}",
                seconds=_number(_seconds(transcript)),
            )
            self._scratch.note(self._side, found)
            self.seconds += _number(_seconds(transcript))
        else:
            more = meaning.billed_seconds
            self._note("missing_here", meaning, there=_told(meaning), seconds=more)
            self.seconds += more or 0

    def _given_up(self, job_id: str, collectors: Collection[str]) -> bool:
        found = self._journal.aside.entries(states=("discarded",), provider_id=job_id, limit=10)
        return any(entry.collector in collectors for entry in found)

    def _received(self, meaning: AsyncCompleted | AsyncFailed | Unusable) -> bool:
        """Tell whether a receipt waits to be understood."""
        return not isinstance(meaning, Unusable) and any(
            came.outcome == "open" for came in self._journal.search.receipts(meaning)
        )

    def _note(self, what: What, event: Event, **told: Any) -> None:
        found = Difference(
            self._side.name,
            what,
            event.event_id,
            event.customer_id,
            event.kind,
            event.occurred_at,
            **told,
        )
        self._scratch.note(self._side, found)


def _seconds(transcript: Transcript) -> Decimal | str | None:
    """Return the billed seconds; why they cannot be read; or None where there are none."""
    if transcript.status != "completed" or transcript.audio_duration is None:
        return None
    try:
        return exact_seconds(transcript.audio_duration)
    except InvalidEvent as error:
        return f"audio_duration: {error}"


def _number(seconds: Decimal | str | None) -> Decimal:
    return seconds if isinstance(seconds, Decimal) else Decimal(0)


def _state(transcript: Transcript) -> str:
    """Say how a job stands at AssemblyAI."""
    seconds = _seconds(transcript)
    if transcript.status == "error":
        return "failed, not billed"
    said = f", {exact(seconds)} s" if isinstance(seconds, Decimal) else ""
    return f"{str(transcript.status)[:40]}{said}"


def _told(event: Event) -> str:
    """Say how a job stands in the journal."""
    seconds = event.billed_seconds
    return "failed, not billed" if seconds is None else f"completed, {exact(seconds)} s"


def _less(event: Event) -> Decimal | None:
    return None if event.billed_seconds is None else -event.billed_seconds
