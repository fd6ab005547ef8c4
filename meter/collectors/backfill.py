"""Collect what no webhook told us: walk AssemblyAI's transcript list (DESIGN §6).

The whole retry window of a webhook is 1.5 to 3.3 minutes, so a longer outage loses deliveries
for ever; the list still has them, for 90 days.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from meter.collectors.assemblyai_client import ApiError, Malformed, NotThere, Unavailable
from meter.collectors.attribution import attribution_of_url
from meter.collectors.transcripts import (
    NotYet,
    Transcript,
    Unusable,
    facts_of,
    meaning_of,
    possible_ids,
    read_transcript,
)
from meter.errors import InvalidEvent, JournalError
from meter.events import Event
from meter.journal import Quarantined, Watched

if TYPE_CHECKING:
    from meter.collectors.assemblyai_client import Api, ListItem
    from meter.collectors.interface import CollectorContext

__all__ = ["Backfill", "OurJobs"]

T = TypeVar("T")

AT_ONCE: Final = 8
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


@dataclass(slots=True)
class _Walk:
    """What one walk has seen."""

    known: dict[str, Watched]
    seen: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    keep: list[Watched] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)


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
        while True:
            wait = self._every.total_seconds()
            try:
                await self.walk()
            except (ApiError, JournalError) as error:
                asked = error.retry_after if isinstance(error, Unavailable) else None
                wait = min(wait, max(RETRY_SECONDS, asked or 0.0))
                self._context.log.warning(
                    "backfill.failed", extra={"error": str(error), "retry_in_seconds": wait}
                )
            await asyncio.sleep(wait)

    async def walk(self) -> Counter[str]:
        """Walk once, back to before the last complete walk began; count what was found.

        Raises:
            ApiError: the list could not be read to its end; the cursor stays where it was.
            JournalUnavailable: likewise.
        """
        context = self._context
        began = context.clock.now()
        cursor = context.journal.cursor(context.name)
        bound = (datetime.fromisoformat(cursor) if cursor else began) - self._lookback
        known = {item.provider_id: item for item in context.journal.watched(context.name)}
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
        old = [i.provider_id for i in known.values() if i.state == "foreign" and i.created < bound]
        await context.journal.watch(context.name, walk.keep, [*walk.forget, *old])
        await context.journal.set_cursor(context.name, began.isoformat())
        context.log.info("backfill.walked", extra={"back_to": bound.isoformat(), **walk.counts})
        return walk.counts

    async def _take(self, walk: _Walk, items: list[ListItem]) -> None:
        """Look at the jobs of one page: fetch those that are final and not known yet."""
        wanted: list[ListItem] = []
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
                wanted.append(item)
            else:
                walk.counts["unfinished"] += 1
                walk.keep.append(Watched(item.id, "unfinished", item.created))
        await self._fetch_all(walk, [(i.id, i.created, i.completed) for i in wanted])

    async def _come_back(self, walk: _Walk) -> None:
        """Ask after jobs that were unfinished and lie beyond the pages of this walk."""
        await self._fetch_all(
            walk,
            [
                (item.provider_id, item.created, None)
                for item in walk.known.values()
                if item.state == "unfinished" and item.provider_id not in walk.seen
            ],
        )

    async def _fetch_all(
        self, walk: _Walk, jobs: list[tuple[str, datetime, datetime | None]]
    ) -> None:
        for start in range(0, len(jobs), AT_ONCE):
            some = jobs[start : start + AT_ONCE]
            found = await _all_of(
                [self._fetch(identity, completed) for identity, _, completed in some]
            )
            events: list[Event] = []
            quarantined: list[Quarantined] = []
            for (identity, created, _), result in zip(some, found, strict=True):
                if isinstance(result, Event):
                    events.append(result)
                elif isinstance(result, Quarantined):
                    quarantined.append(result)
                    walk.counts["quarantined"] += 1
                elif isinstance(result, NotYet):
                    walk.counts["unfinished"] += 1
                    walk.keep.append(Watched(identity, "unfinished", created))
                    continue
                else:
                    walk.counts["foreign"] += 1
                    walk.keep.append(Watched(identity, "foreign", created))
                    continue
                walk.forget.append(identity)
            if events:
                for answer in await self._context.intake.record(events):
                    walk.counts[answer.value] += 1
            if quarantined:
                await self._context.intake.quarantine(quarantined)

    async def _fetch(
        self, identity: str, completed: datetime | None
    ) -> Event | NotYet | Quarantined | None:
        """Fetch one job: its event, something to come back to, quarantine, or not ours (None)."""
        context = self._context
        try:
            raw = await _patiently(partial(self._api.transcript, identity))
            transcript = read_transcript(raw)
        except InvalidEvent as error:
            return NotYet(str(error), patient=False)
        except NotThere as error:
            return self._quarantined(identity, str(error), Transcript(id=identity))
        except Malformed as error:
            return NotYet(str(error), patient=False)
        if not self._ours.takes(transcript.webhook_url):
            return None
        meaning = meaning_of(
            transcript,
            attribution_of_url(transcript.webhook_url),
            transcript_id=identity,
            collector=context.name,
            occurred_at=completed or context.clock.now(),
            now=context.clock.now(),
        )
        if isinstance(meaning, Unusable):
            return self._quarantined(identity, meaning.reason, transcript)
        if isinstance(meaning, NotYet):
            context.log.info(
                "backfill.not_yet", extra={"transcript": identity, "why": meaning.reason}
            )
        return meaning

    def _quarantined(self, identity: str, reason: str, transcript: Transcript) -> Quarantined:
        self._context.log.warning(
            "backfill.quarantined", extra={"transcript": identity, "reason": reason}
        )
        url = transcript.webhook_url
        query = urlsplit(url).query if isinstance(url, str) else ""
        payload = {"transcript_id": identity, "query": query, "transcript": facts_of(transcript)}
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


async def _all_of(work: list[Coroutine[None, None, T]]) -> list[T]:
    """Wait for all of them, then raise the first failure if there was one."""
    results = await asyncio.gather(*work, return_exceptions=True)
    done: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done


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
