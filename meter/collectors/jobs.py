"""Take jobs of the transcript list: those that are ours and final become events.

Both walks of the list do it by this: the one at an interval (backfill.py), and the one of a window
that a person asks for (window.py).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec

from meter.collectors.assemblyai_client import ApiError, Malformed, NotThere
from meter.collectors.attribution import attribution_of_url
from meter.collectors.transcripts import (
    NotYet,
    Unusable,
    facts_of,
    meaning_of,
    possible_ids,
    read_transcript,
)
from meter.errors import InvalidEvent
from meter.events import AsyncCompleted, AsyncFailed, Event
from meter.journal import Quarantined, Recorded, Watched

if TYPE_CHECKING:
    from meter.collectors.assemblyai_client import Api, ListItem
    from meter.collectors.interface import CollectorContext
    from meter.collectors.transcripts import Transcript

__all__ = ["Job", "Jobs", "OurJobs", "Patience", "Walk"]

_Found: TypeAlias = AsyncCompleted | AsyncFailed | NotYet | Quarantined | ApiError | None
Patience: TypeAlias = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Asks until there is an answer, or the asking is given up: then it raises the last `ApiError`."""

AT_ONCE: Final = 8
HOPELESS: Final = 24
"""So many fetches failing with none answered end a walk."""
DELETED_HOST: Final = "deleted_by_user"
"""What `webhook_url` names after a `DELETE`; the duration survives, the customer does not."""


@dataclass(frozen=True, slots=True)
class OurJobs:
    """Tells whose webhooks a job was submitted with, so that environments can share a key.

    Attributes:
        path: the collector's path.
        public_url: what the world calls this server, if the host matters too.
    """

    path: str
    public_url: str | None

    @property
    def words(self) -> list[str | None]:
        """What decides, as the cursor keeps it: another rule judges every job afresh."""
        return [self.path, self.public_url]

    def takes(self, webhook_url: object) -> bool:
        """Tell whether a job is this collector's; a deleted one might be, so it is."""
        if not isinstance(webhook_url, str):
            return False
        try:
            url = urlsplit(webhook_url)
        except ValueError:
            return False
        if url.netloc == DELETED_HOST:
            return True
        if self.public_url is None:
            return url.path.rstrip("/") == self.path.rstrip("/")
        public = urlsplit(self.public_url)
        path = public.path.rstrip("/") + self.path
        return url.netloc.lower() == public.netloc.lower() and url.path.rstrip("/") == path.rstrip(
            "/"
        )


class Job(NamedTuple):
    """One job to fetch; times in UTC."""

    id: str
    created: datetime
    completed: datetime | None


@dataclass(slots=True)
class Walk:
    """What one walk has seen.

    Attributes:
        known: what the journal remembered of earlier walks, by the job's id.
        counts: what became of the jobs.
        keep: what is to be remembered from now on; `forget` what is not.
        answered: fetches that said something; `failed` those that did not.
        failed_jobs: how many of those recorded will never be billed.
        unanswered: how many of the unfinished ones could not be fetched.
    """

    known: dict[str, Watched]
    seen: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    keep: list[Watched] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    answered: int = 0
    failed: int = 0
    failed_jobs: int = 0
    unanswered: int = 0

    def judge(self, error: ApiError) -> None:
        """Give up when nothing at all is answered: then it is not about single transcripts."""
        if self.failed >= HOPELESS and not self.answered:
            raise error


class Jobs:
    """The jobs of one collector: told apart, fetched, and recorded or set aside."""

    def __init__(
        self, api: Api, context: CollectorContext, ours: OurJobs, patiently: Patience
    ) -> None:
        """Know whose jobs they are; nothing is asked yet."""
        self._api = api
        self._context = context
        self._ours = ours
        self._patiently = patiently

    def wanted(self, walk: Walk, items: list[ListItem]) -> list[Job]:
        """Return the jobs of one page that are final and not known yet; the others are counted."""
        wanted: list[Job] = []
        for item in items:
            if item.id in walk.seen:
                continue
            walk.seen.add(item.id)
            watched = walk.known.get(item.id)
            if watched is not None and watched.state == "foreign":
                walk.counts["foreign"] += 1
            elif self._is_recorded(item):
                walk.counts["known"] += 1
                if watched is not None:
                    walk.forget.append(item.id)
            elif item.status in ("completed", "error"):
                wanted.append(Job(item.id, item.created, item.completed))
            else:
                walk.counts["unfinished"] += 1
                walk.keep.append(Watched(item.id, "unfinished", item.created))
        return wanted

    async def fetch_all(self, walk: Walk, jobs: list[Job]) -> None:
        """Fetch jobs, a few at a time, and record what they are.

        Raises:
            ApiError: the walk finds that it is not about single transcripts.
            JournalUnavailable: what was fetched last is not stored.
        """
        for start in range(0, len(jobs), AT_ONCE):
            some = jobs[start : start + AT_ONCE]
            found = await asyncio.gather(*(self._fetch(job) for job in some))
            await self._keep(walk, list(zip(some, found, strict=True)))
            errors = [result for result in found if isinstance(result, ApiError)]
            walk.failed += len(errors)
            walk.answered += len(found) - len(errors)
            for error in errors:
                walk.judge(error)

    async def _keep(self, walk: Walk, found: list[tuple[Job, _Found]]) -> None:
        """Record what a few fetches gave; remember what to come back to, and what is not ours."""
        events = [result for _, result in found if isinstance(result, Event)]
        quarantined = [result for _, result in found if isinstance(result, Quarantined)]
        if events:
            answers = await self._context.intake.record(events)
            for event, answer in zip(events, answers, strict=True):
                walk.counts[answer.value] += 1
                if answer is Recorded.RECORDED and isinstance(event, AsyncFailed):
                    walk.failed_jobs += 1
        if quarantined:
            await self._context.intake.quarantine(quarantined)
            walk.counts["quarantined"] += len(quarantined)
        for job, result in found:
            if result is None:
                walk.counts["foreign"] += 1
                walk.keep.append(Watched(job.id, "foreign", job.created))
            elif isinstance(result, NotYet | ApiError):
                walk.counts["unfinished"] += 1
                walk.unanswered += not (isinstance(result, NotYet) and result.patient)
                walk.keep.append(Watched(job.id, "unfinished", job.created))
                self._context.log.warning(
                    "backfill.not_yet",
                    extra={"transcript": job.id, "why": str(getattr(result, "reason", result))},
                )
            else:
                walk.forget.append(job.id)

    async def _fetch(self, job: Job) -> _Found:
        """Fetch one job: its event, quarantine, not ours (None), or why to come back to it."""
        context = self._context
        try:
            raw = await self._patiently(partial(self._api.transcript, job.id))
            transcript = read_transcript(raw)
        except InvalidEvent as error:
            return NotYet(str(error), patient=False)
        except (NotThere, Malformed) as error:
            return NotYet(str(error), patient=False)
        except ApiError as error:
            return error
        if not self._ours.takes(transcript.webhook_url):
            return None
        meaning = meaning_of(
            transcript,
            attribution_of_url(transcript.webhook_url),
            transcript_id=job.id,
            collector=context.name,
            occurred_at=job.completed or job.created,
            now=context.clock.now(),
        )
        if isinstance(meaning, Unusable):
            return self._quarantined(job, meaning.reason, transcript)
        return meaning

    def _quarantined(self, job: Job, reason: str, transcript: Transcript) -> Quarantined:
        identity = job.id
        self._context.log.warning(
            "backfill.quarantined", extra={"transcript": identity, "reason": reason}
        )
        url = transcript.webhook_url
        query = urlsplit(url).query if isinstance(url, str) else ""
        payload = {
            "transcript_id": identity,
            "query": query,
            "occurred_at": job.completed or job.created,
            "transcript": facts_of(transcript),
        }
        return Quarantined(
            collector=self._context.name,
            key=f"transcript:{identity}:{query}",
            reason=reason,
            payload=msgspec.json.encode(payload).decode(),
            provider_id=identity,
        )

    def _is_recorded(self, item: ListItem) -> bool:
        """Tell whether the journal has this job in its final state, as an event or aside."""
        completed, failed = possible_ids(item.id)
        journal = self._context.journal
        if journal.find(completed) is not None:
            return True
        if item.status == "error" and journal.find(failed) is not None:
            return True
        return journal.is_quarantined(self._context.name, item.id)
