"""Collect what no webhook told us: walk AssemblyAI's transcript list (DESIGN §6).

The whole retry window of a webhook is 1.5 to 3.3 minutes, so a longer outage loses deliveries
for ever; the list still has them, for 90 days.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec

from meter.collectors.assemblyai_client import ApiError, Malformed, NotThere, Unavailable
from meter.collectors.attribution import attribution_of_url
from meter.collectors.transcripts import (
    NotYet,
    Unusable,
    facts_of,
    meaning_of,
    possible_ids,
    read_transcript,
)
from meter.errors import InvalidEvent, JournalError
from meter.events import AsyncCompleted, AsyncFailed, Event
from meter.journal import Quarantined, Watched

if TYPE_CHECKING:
    from meter.collectors.assemblyai_client import Api, ListItem
    from meter.collectors.interface import CollectorContext
    from meter.collectors.transcripts import Transcript

__all__ = ["Backfill", "OurJobs", "walked_at"]

T = TypeVar("T")
_Found: TypeAlias = AsyncCompleted | AsyncFailed | NotYet | Quarantined | ApiError | None

AT_ONCE: Final = 8
HOPELESS: Final = 24
"""So many fetches failing with none answered end a walk."""
LISTED: Final = timedelta(days=90)
"""How long AssemblyAI lists a transcript; older ones are not come back to."""
RETRY_SECONDS: Final = 30.0
"""How soon a walk that failed is tried again, unless AssemblyAI asks for longer."""
WAITS_SECONDS: Final = (0.2, 0.8)
"""Between attempts at one answer within a walk."""
LONGEST_WAIT_SECONDS: Final = 60.0
"""What AssemblyAI may ask for within a walk; beyond it the walk is tried again later."""
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


class _Job(NamedTuple):
    """One job to fetch; times in UTC."""

    id: str
    created: datetime
    completed: datetime | None


@dataclass(slots=True)
class _Walk:
    """What one walk has seen."""

    known: dict[str, Watched]
    seen: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    keep: list[Watched] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    answered: int = 0
    failed: int = 0

    def judge(self, error: ApiError) -> None:
        """Give up when nothing at all is answered: then it is not about single transcripts."""
        if self.failed >= HOPELESS and not self.answered:
            raise error


class Backfill:
    """Walks the list for one collector; the cursor is when the last complete walk began."""

    def __init__(
        self,
        api: Api,
        context: CollectorContext,
        ours: OurJobs,
        *,
        every: timedelta,
        lookback: timedelta,
    ) -> None:
        """Stand ready; `run` walks at once and then at the interval."""
        self._api = api
        self._context = context
        self._ours = ours
        self._every = every
        self._lookback = lookback

    async def run(self) -> None:
        """Walk on start and at every interval, until cancelled."""
        context = self._context
        while True:
            wait = self._every.total_seconds()
            try:
                await self.walk()
                await context.journal.set_trouble(context.name, None)
            except (ApiError, JournalError) as error:
                asked = error.retry_after if isinstance(error, Unavailable) else None
                wait = min(wait, max(RETRY_SECONDS, asked or 0.0))
                context.log.warning(
                    "backfill.failed", extra={"error": str(error), "retry_in_seconds": wait}
                )
                with contextlib.suppress(JournalError):
                    await context.journal.set_trouble(context.name, f"backfill: {error}")
            await asyncio.sleep(wait)

    async def walk(self) -> Counter[str]:
        """Walk once, back to before the last complete walk began; count what was found.

        One transcript that cannot be fetched is come back to and stops nothing.

        Raises:
            ApiError: the list could not be read to its end, or nothing at all is answered; the
                cursor stays where it was.
            JournalUnavailable: likewise.
        """
        context = self._context
        began = context.clock.now()
        known = {item.provider_id: item for item in context.journal.watched(context.name)}
        bound = self._bound(began, known)
        walk = _Walk(known)
        before: str | None = None
        asked: set[str] = set()
        while True:
            page = await _patiently(partial(self._api.page, before))
            await self._take(walk, [item for item in page.items if item.created >= bound])
            if page.older is None or (page.items and page.items[-1].created < bound):
                break
            if page.older in asked:
                raise Malformed("the transcript list leads in a circle")
            asked.add(page.older)
            before = page.older
        await self._come_back(walk)
        oldest = began - LISTED
        old = [
            i.provider_id
            for i in known.values()
            if i.created < (bound if i.state == "foreign" else oldest)
        ]
        await context.journal.watch(context.name, walk.keep, [*walk.forget, *old])
        cursor = {"began": began.isoformat(), "ours": self._ours.words}
        await context.journal.set_cursor(context.name, msgspec.json.encode(cursor).decode())
        context.log.info("backfill.walked", extra={"back_to": bound.isoformat(), **walk.counts})
        return walk.counts

    def _bound(self, began: datetime, known: dict[str, Watched]) -> datetime:
        """Return how far back to walk; judge afresh whose jobs they are if the rule changed."""
        text = self._context.journal.cursor(self._context.name)
        if text is None:
            return began - self._lookback
        cursor = msgspec.json.decode(text)
        if cursor["ours"] == self._ours.words:
            return datetime.fromisoformat(cursor["began"]) - self._lookback
        for item in list(known.values()):
            if item.state == "foreign":
                del known[item.provider_id]
        return began - LISTED

    async def _take(self, walk: _Walk, items: list[ListItem]) -> None:
        """Look at the jobs of one page: fetch those that are final and not known yet."""
        wanted: list[_Job] = []
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
                wanted.append(_Job(item.id, item.created, item.completed))
            else:
                walk.counts["unfinished"] += 1
                walk.keep.append(Watched(item.id, "unfinished", item.created))
        await self._fetch_all(walk, wanted)

    async def _come_back(self, walk: _Walk) -> None:
        """Ask after jobs that were unfinished and lie beyond the pages of this walk."""
        await self._fetch_all(
            walk,
            [
                _Job(item.provider_id, item.created, None)
                for item in walk.known.values()
                if item.state == "unfinished" and item.provider_id not in walk.seen
            ],
        )

    async def _fetch_all(self, walk: _Walk, jobs: list[_Job]) -> None:
        for start in range(0, len(jobs), AT_ONCE):
            some = jobs[start : start + AT_ONCE]
            found = await asyncio.gather(*(self._fetch(job) for job in some))
            await self._keep(walk, list(zip(some, found, strict=True)))
            errors = [result for result in found if isinstance(result, ApiError)]
            walk.failed += len(errors)
            walk.answered += len(found) - len(errors)
            for error in errors:
                walk.judge(error)

    async def _keep(self, walk: _Walk, found: list[tuple[_Job, _Found]]) -> None:
        """Record what a few fetches gave; remember what to come back to, and what is not ours."""
        events = [result for _, result in found if isinstance(result, Event)]
        quarantined = [result for _, result in found if isinstance(result, Quarantined)]
        if events:
            for answer in await self._context.intake.record(events):
                walk.counts[answer.value] += 1
        if quarantined:
            await self._context.intake.quarantine(quarantined)
            walk.counts["quarantined"] += len(quarantined)
        for job, result in found:
            if result is None:
                walk.counts["foreign"] += 1
                walk.keep.append(Watched(job.id, "foreign", job.created))
            elif isinstance(result, NotYet | ApiError):
                walk.counts["unfinished"] += 1
                walk.keep.append(Watched(job.id, "unfinished", job.created))
                self._context.log.warning(
                    "backfill.not_yet",
                    extra={"transcript": job.id, "why": str(getattr(result, "reason", result))},
                )
            else:
                walk.forget.append(job.id)

    async def _fetch(self, job: _Job) -> _Found:
        """Fetch one job: its event, quarantine, not ours (None), or why to come back to it."""
        context = self._context
        try:
            raw = await _patiently(partial(self._api.transcript, job.id))
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

    def _quarantined(self, job: _Job, reason: str, transcript: Transcript) -> Quarantined:
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


def walked_at(cursor: str) -> datetime:
    """Return when the last complete walk began, UTC, by what the journal keeps of it."""
    return datetime.fromisoformat(msgspec.json.decode(cursor)["began"])


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask a few times before a walk is given up for one answer of the network.

    Raises:
        ApiError: of the last attempt; at once when asking again cannot help.
    """
    for wait in WAITS_SECONDS:
        try:
            return await ask()
        except Unavailable as error:
            if (error.retry_after or 0.0) > LONGEST_WAIT_SECONDS:
                raise
            await asyncio.sleep(max(wait, error.retry_after or 0.0))
    return await ask()
