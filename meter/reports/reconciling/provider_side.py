"""AssemblyAI: the transcript list of each key against the journal.

The list has ids, states and times, and neither seconds nor customers: those cost a request each.
So they are asked for where the list and the journal do not agree, and of every job only if somebody
wants that. Nothing is accused on the word of the list alone, which is no snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from meter.collectors.assemblyai_client import ApiError, Malformed, NotThere, Refused, Unavailable
from meter.collectors.backfill import LISTED
from meter.collectors.transcripts import read_transcript
from meter.collectors.window import LONGEST_JOB, Patient
from meter.errors import InvalidEvent
from meter.reports.reconciling.jobs import Asked, Judge
from meter.reports.reconciling.records import Entry, micros, moment_of
from meter.reports.reconciling.scratch import merged

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.collectors.assemblyai_client import Api
    from meter.collectors.jobs import OurJobs
    from meter.journal import Journal
    from meter.reports.reconciling.records import Side, Tell, Window
    from meter.reports.reconciling.scratch import Pile, Scratch

__all__ = ["Key", "TranscriptList"]

AT_ONCE: Final = 8
HOPELESS: Final = 24
"""So many fetches failing with none answered end the comparison."""
_KINDS: Final = ("async_completed", "async_failed")
_FINAL: Final = {"completed": "async_completed", "error": "async_failed"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key on one host, and the collectors that have it.

    Attributes:
        collectors: by name, which jobs are theirs.
    """

    api: Api
    collectors: dict[str, OurJobs]


class _Listed(NamedTuple):
    """A job of the list; times in microseconds since 1970."""

    id: str
    status: str
    created: int
    completed: int | None


class _Suspect(NamedTuple):
    """A job to ask for; the times of the list where it is there."""

    id: str
    created: int | None
    completed: int | None


class TranscriptList:
    """Compares the list of one key with the journal."""

    def __init__(
        self,
        scratch: Scratch,
        journal: Journal,
        side: Side,
        key: Key,
        *,
        clock: Clock,
        window: Window,
        tell: Tell,
    ) -> None:
        """Stand ready; `compare` asks.

        Args:
            scratch: where jobs are laid out, and differences noted.
            journal: asked again for what differs.
            side: is told what was found.
            key: what to ask with.
            clock: tells how old a job is.
            window: which time.
            tell: told how far it is.
        """
        self._scratch = scratch
        self._journal = journal
        self._side = side
        self._key = key
        self._window = window
        self._tell = tell
        self._now = clock.now()
        self._oldest = self._now - LISTED
        self._patient = Patient(lambda seconds, why: tell(f"waiting {seconds:.0f} s: {why}"))
        self._judge = Judge(scratch, journal, side, key.collectors, now=self._now)

    async def compare(self, entries: Pile[Entry], *, every: bool, per_second: float) -> None:
        """Walk the list and judge what differs.

        Args:
            entries: the journal's events of the window.
            every: ask for every job, to compare seconds and customers too.
            per_second: how many jobs to ask for a second, at the most.

        Raises:
            ApiError: the list cannot be read, or no job is answered.
        """
        listed = await self._listed()
        suspects = self._scratch.pile(_Suspect._make, len(_Suspect._fields))
        count = 0
        for suspect in self._suspects(entries, listed, every=every):
            suspects.add(suspect)
            count += 1
        self._side.compared = (
            "ids, states, seconds and customers"
            if every
            else "ids and states (the list has no more)"
        )
        await self._ask_all(suspects, count, per_second)
        if every:
            self._side.seconds = self._judge.seconds

    async def _listed(self) -> Pile[_Listed]:
        """Lay out the list, from the newest job back to what may have been done in the window."""
        pile = self._scratch.pile(_Listed._make, len(_Listed._fields))
        since = self._window.since
        bound = self._oldest if since is None else since - LONGEST_JOB
        before: str | None = None
        asked: set[str] = set()
        count = 0
        while True:
            page = await self._patient(partial(self._key.api.page, before))
            for item in page.items:
                done = None if item.completed is None else micros(item.completed)
                pile.add(_Listed(item.id, item.status, micros(item.created), done))
            count += len(page.items)
            self._tell(f"{self._side.name}: {count} jobs listed")
            if page.older is None or (page.items and page.items[-1].created < bound):
                return pile
            if page.older in asked:
                raise Malformed("the transcript list leads in a circle")
            asked.add(page.older)
            before = page.older

    def _suspects(
        self, entries: Pile[Entry], listed: Pile[_Listed], *, every: bool
    ) -> Iterator[_Suspect]:
        """Yield the jobs that have to be asked for."""
        column = Entry._fields.index("provider_id")
        ours = (
            e for e in entries.sorted(column) if e.kind in _KINDS and e.provider == "assemblyai"
        )
        foreign = self._foreign()
        both = merged(ours, lambda entry: entry.provider_id, listed.sorted(0), lambda job: job.id)
        for job_id, known, jobs in both:
            job = jobs[0] if jobs else None
            created = None if job is None else job.created
            done = None if job is None else job.completed
            if known and job is not None:
                self._side.entries += 1
                kinds = {entry.kind for entry in known}
                if every or not self._agree(job.status, kinds):
                    yield _Suspect(job_id, created, done)
            elif known:
                if not any(entry.collector in self._key.collectors for entry in known):
                    continue
                if moment_of(known[0].at) < self._oldest:
                    self._side.left_out[f"older than the list, {LISTED.days} days"] += 1
                else:
                    yield _Suspect(job_id, created, done)
            elif job is not None and self._window.has(moment_of(done or job.created)):
                if job_id in foreign:
                    self._side.left_out["jobs of others"] += 1
                elif job.status in _FINAL:
                    yield _Suspect(job_id, created, done)
                else:
                    self._side.in_flight["unfinished at AssemblyAI"] += 1

    @staticmethod
    def _agree(status: str, kinds: set[str]) -> bool:
        """Tell whether the journal has a job as the list does; a late truth stands beside."""
        return (
            status in _FINAL
            and _FINAL[status] in kinds
            and (status == "completed" or "async_completed" not in kinds)
        )

    def _foreign(self) -> frozenset[str]:
        """Return the jobs that are no collector's of this key, as backfill remembers them."""
        found: frozenset[str] | None = None
        for name, ours in self._key.collectors.items():
            text = self._journal.cursor(name)
            if text is None or msgspec.json.decode(text)["ours"] != ours.words:
                return frozenset()
            here = frozenset(
                item.provider_id for item in self._journal.watched(name) if item.state == "foreign"
            )
            found = here if found is None else found & here
        return found or frozenset()

    # -- asking ----------------------------------------------------------------------------

    async def _ask_all(self, suspects: Pile[_Suspect], count: int, per_second: float) -> None:
        loop = asyncio.get_running_loop()
        free, done, failed = loop.time(), 0, 0
        last: ApiError | None = None
        for some in _by(suspects, AT_ONCE):
            await asyncio.sleep(free - loop.time())
            free = max(free, loop.time()) + len(some) / per_second
            answers = await asyncio.gather(*(self._ask(job) for job in some))
            for job, answer in zip(some, answers, strict=True):
                if isinstance(answer, Refused):
                    raise answer
                if isinstance(answer, ApiError):
                    failed, last = failed + 1, answer
                else:
                    self._judge.judge(job.id, answer, *_times(job))
            done += len(some)
            if last is not None and failed == done >= HOPELESS:
                raise last
            self._tell(f"{self._side.name}: {done} of {count} jobs asked for")
        if last is not None:
            self._side.fail(
                f"{failed} of {count} jobs could not be asked for: {last}; run it again"
            )

    async def _ask(self, job: _Suspect) -> Asked | ApiError:
        try:
            raw = await self._patient(partial(self._key.api.transcript, job.id))
            return Asked(read_transcript(raw))
        except NotThere:
            return Asked(None)
        except InvalidEvent as error:
            return Malformed(str(error))
        except (Refused, Unavailable, Malformed) as error:
            return error


def _by(suspects: Pile[_Suspect], size: int) -> Iterator[Sequence[_Suspect]]:
    some: list[_Suspect] = []
    for suspect in suspects:
        some.append(suspect)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _times(job: _Suspect) -> tuple[datetime | None, datetime | None]:
    created = None if job.created is None else moment_of(job.created)
    return created, None if job.completed is None else moment_of(job.completed)
