"""Collect what no webhook told us: walk AssemblyAI's transcript list (DESIGN §6).

The whole retry window of a webhook is 1.5 to 3.3 minutes, so a longer outage loses deliveries
for ever; the list still has them, for 90 days.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from meter.collectors.assemblyai_client import ApiError, Malformed, Unavailable
from meter.collectors.jobs import Job, Jobs, OurJobs, Walk
from meter.errors import JournalError

if TYPE_CHECKING:
    from meter.collectors.assemblyai_client import Api
    from meter.collectors.interface import CollectorContext
    from meter.journal import Watched

__all__ = ["LISTED", "Backfill", "OurJobs", "walked_at"]

T = TypeVar("T")

LISTED: Final = timedelta(days=90)
"""How long AssemblyAI lists a transcript; older ones are not come back to."""
RETRY_SECONDS: Final = 30.0
"""How soon a walk that failed is tried again, unless AssemblyAI asks for longer."""
WAITS_SECONDS: Final = (0.2, 0.8)
"""Between attempts at one answer within a walk."""
LONGEST_WAIT_SECONDS: Final = 60.0
"""What AssemblyAI may ask for within a walk; beyond it the walk is tried again later."""


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
        self._jobs = Jobs(api, context, ours, _patiently)
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
        walk = Walk(known)
        before: str | None = None
        asked: set[str] = set()
        while True:
            page = await _patiently(partial(self._api.page, before))
            items = [item for item in page.items if item.created >= bound]
            await self._jobs.fetch_all(walk, self._jobs.wanted(walk, items))
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

    async def _come_back(self, walk: Walk) -> None:
        """Ask after jobs that were unfinished and lie beyond the pages of this walk."""
        await self._jobs.fetch_all(
            walk,
            [
                Job(item.provider_id, item.created, None)
                for item in walk.known.values()
                if item.state == "unfinished" and item.provider_id not in walk.seen
            ],
        )


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
