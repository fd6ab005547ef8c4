"""Walk the transcript list for a window of time that a person asks for (`meter backfill`).

It goes from the newest job of the window to the oldest, page by page, and writes down where it is
once a page is done: interrupted anywhere, it goes on there. The walk at an interval (backfill.py)
has a cursor of its own, which is not touched: what was collected here is known to it, and what is
unfinished it comes back to.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from meter.collectors.assemblyai_client import ApiError, Malformed, NotThere, Refused, Unavailable
from meter.collectors.jobs import Jobs, Walk

if TYPE_CHECKING:
    from meter.collectors.assemblyai_client import Api
    from meter.collectors.interface import CollectorContext
    from meter.collectors.jobs import OurJobs
    from meter.journal import Watched

__all__ = ["Found", "Patient", "Told", "Window", "WindowWalk"]

T = TypeVar("T")

LONGEST_JOB: Final = timedelta(days=1)
"""How long before the window's start a job may have been submitted that was done within it."""
WAITS_SECONDS: Final = (0.2, 0.8, 3.0)
"""Between attempts at one answer, where AssemblyAI does not say how long."""
MOST_WAITS: Final = 60
"""How often it may say so about one answer."""


@dataclass(frozen=True, slots=True)
class Window:
    """From when on, and until when; UTC. No end is the present.

    A job lies within when it was submitted before the end, and submitted or done from the start on.
    """

    since: datetime
    until: datetime | None = None

    @property
    def name(self) -> str:
        """The same window has the same name."""
        return f"{self.since.isoformat()}/{self.until.isoformat() if self.until else ''}"


class Found(msgspec.Struct, kw_only=True):
    """What a walk found so far, with that of the runs it goes on from.

    Attributes:
        walked: jobs of the window that were looked at; each is in one of the next seven.
        known: recorded or in quarantine already.
        recorded: new events; of these, `failed_jobs` are never billed.
        conflict: recorded already, for another customer or quantity: in quarantine.
        quarantined: what cannot become an event yet.
        foreign: not this collector's jobs.
        unfinished: AssemblyAI still works on them; they are come back to.
        unanswered: could not be fetched; they are come back to.
        wanted: in a dry run, what would be fetched.
    """

    walked: int = 0
    known: int = 0
    recorded: int = 0
    failed_jobs: int = 0
    conflict: int = 0
    quarantined: int = 0
    foreign: int = 0
    unfinished: int = 0
    unanswered: int = 0
    wanted: int = 0


class _Place(msgspec.Struct, kw_only=True):
    """Where a walk stopped: go on with what is older than the job `before`."""

    before: str
    reached: datetime
    until: datetime
    ours: list[str | None]
    found: Found


_read: Final = msgspec.json.Decoder(_Place).decode


@dataclass(frozen=True, slots=True)
class Told:
    """How far a walk is.

    Attributes:
        reached: everything of the window that was submitted later has been looked at; UTC.
        until: the window's end, UTC.
        resumed: it went on from where an earlier run stopped.
    """

    found: Found
    reached: datetime
    until: datetime
    resumed: bool


class _ByHand(Walk):
    """A walk with somebody waiting: a refused key ends it at once."""

    def judge(self, error: ApiError) -> None:
        """Give up on a refused key, and when nothing at all is answered."""
        if isinstance(error, Refused):
            raise error
        Walk.judge(self, error)


class WindowWalk:
    """Walks one window for one collector."""

    def __init__(
        self,
        api: Api,
        context: CollectorContext,
        ours: OurJobs,
        window: Window,
        *,
        tell: Callable[[Told], None],
        waiting: Callable[[float, str], None],
    ) -> None:
        """Stand ready; `run` walks.

        Args:
            api: one key on one host.
            context: the collector's.
            ours: whose jobs are taken.
            window: the jobs of which time.
            tell: called after each page.
            waiting: called before it waits, with the seconds and the reason.
        """
        self._api = api
        self._context = context
        self._ours = ours
        self._window = window
        self._tell = tell
        self._patient = Patient(waiting)
        self._jobs = Jobs(api, context, ours, self._patient)

    @property
    def _name(self) -> str:
        return f"backfill:{self._context.name}:{self._window.name}"

    async def run(self, *, restart: bool = False, dry_run: bool = False) -> Found:
        """Walk to the end of the window, from where an earlier run stopped.

        Args:
            restart: begin anew instead.
            dry_run: only count; fetch no job and write nothing.

        Raises:
            ApiError: the list could not be read to the window's start, or no job is answered; the
                next run goes on there.
            JournalUnavailable: likewise.
        """
        context = self._context
        place = None if restart or dry_run else self._place()
        resumed = place is not None
        until = self._window.until or (place.until if place else context.clock.now())
        walk = _ByHand(self._known())
        before = place.before if place else None
        base = place.found if place else Found()
        reached = place.reached if place else until
        counted = _Counted(base)
        self._tell(Told(base, reached, until, resumed))
        asked = {before}
        while True:
            page = await self._page(before, resumed=resumed and len(asked) == 1)
            items = [
                item
                for item in page.items
                if item.created < until and (item.completed or item.created) >= self._window.since
            ]
            wanted = self._jobs.wanted(walk, items)
            counted.wanted += len(wanted)
            if not dry_run:
                await self._jobs.fetch_all(walk, wanted)
            found = counted.by(walk, dry_run=dry_run)
            if page.items:
                reached = min(reached, page.items[-1].created)
            oldest = page.items[-1].created if page.items else None
            ended = page.older is None or (
                oldest is not None and oldest < self._window.since - LONGEST_JOB
            )
            if not dry_run:
                await self._write_down(walk, None if ended else page.older, reached, until, found)
            self._tell(Told(found, max(reached, self._window.since), until, resumed))
            if ended:
                context.log.info("backfill.window", extra=msgspec.to_builtins(found))
                return found
            if page.older in asked:
                raise Malformed("the transcript list leads in a circle")
            asked.add(page.older)
            before = page.older

    async def _page(self, before: str | None, *, resumed: bool) -> Any:
        """Ask for a page; say what to do when the place where it stopped is gone."""
        try:
            return await self._patient(partial(self._api.page, before))
        except (Malformed, NotThere) as error:
            if not resumed:
                raise
            raise Malformed(
                f"{error}; it may not know the job any more where the last run stopped: --restart "
                "begins anew"
            ) from None

    def _place(self) -> _Place | None:
        """Return where an earlier run stopped; None where another rule told whose jobs are ours."""
        words = self._context.journal.bookmarks.get(self._name)
        if words is None:
            return None
        place = _read(words)
        return place if place.ours == self._ours.words else None

    def _known(self) -> dict[str, Watched]:
        """Return what the walk at an interval remembers, as far as it judged by the same rule."""
        journal, name = self._context.journal, self._context.name
        text = journal.cursor(name)
        same = text is not None and msgspec.json.decode(text)["ours"] == self._ours.words
        return {
            item.provider_id: item
            for item in journal.watched(name)
            if same or item.state != "foreign"
        }

    async def _write_down(
        self, walk: Walk, older: str | None, reached: datetime, until: datetime, found: Found
    ) -> None:
        """Keep what is unfinished, then where to go on.

        What is not ours is not kept: only the walk at an interval knows how long that is good for.
        """
        journal, name = self._context.journal, self._context.name
        keep = [item for item in walk.keep if item.state == "unfinished"]
        if keep or walk.forget:
            await journal.watch(name, keep, walk.forget)
        walk.keep.clear()
        walk.forget.clear()
        words = None
        if older is not None:
            place = _Place(
                before=older, reached=reached, until=until, ours=self._ours.words, found=found
            )
            words = msgspec.json.encode(place).decode()
        await journal.bookmarks.put(self._name, words)


class _Counted:
    """Adds what this run counted to what was found before it."""

    def __init__(self, base: Found) -> None:
        self._base = base
        self.wanted = 0

    def by(self, walk: Walk, *, dry_run: bool) -> Found:
        base, counts = self._base, Counter(walk.counts)
        return Found(
            walked=base.walked + len(walk.seen),
            known=base.known + counts["known"] + counts["duplicate"],
            recorded=base.recorded + counts["recorded"],
            failed_jobs=base.failed_jobs + walk.failed_jobs,
            conflict=base.conflict + counts["conflict"],
            quarantined=base.quarantined + counts["quarantined"],
            foreign=base.foreign + counts["foreign"],
            unfinished=base.unfinished + counts["unfinished"] - walk.unanswered,
            unanswered=base.unanswered + walk.unanswered,
            wanted=self.wanted if dry_run else 0,
        )


class Patient:
    """Asks again for as long as AssemblyAI says how long to wait, and a few times otherwise."""

    def __init__(
        self,
        waiting: Callable[[float, str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Say so with `waiting`, which gets the seconds and the reason."""
        self._waiting = waiting
        self._sleep = sleep
        self._until = 0.0

    async def __call__(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask; whoever asks meanwhile waits too, since a limit is one for all.

        Raises:
            ApiError: of the last attempt; at once when asking again cannot help.
        """
        loop = asyncio.get_running_loop()
        own, told = 0, 0
        while True:
            await self._sleep(max(0.0, self._until - loop.time()))
            try:
                return await ask()
            except Unavailable as error:
                if error.retry_after is None:
                    if own == len(WAITS_SECONDS):
                        raise
                    own += 1
                    await self._sleep(WAITS_SECONDS[own - 1])
                    continue
                told += 1
                if told > MOST_WAITS:
                    raise
                until = loop.time() + error.retry_after
                if until > self._until:
                    self._until = until
                    self._waiting(error.retry_after, str(error))
