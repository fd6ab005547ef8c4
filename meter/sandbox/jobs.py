"""The transcripts that the double holds, by key and by age: its whole state."""

import dataclasses
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Literal

from meter.sandbox.faults import Answer, Faults, JobPlan
from meter.sandbox.outcome import Outcome, draw_outcome, seeded_chance

LISTED_FOR = timedelta(days=90)
"""How long the list shows a transcript (AssemblyAI docs: listing)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAttempt:
    """One POST to a webhook URL; `status_code` is None when no answer came in time."""

    kind: Literal["transcript", "redacted_audio"]
    status_code: int | None
    at: datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a perfect meter knows about one transcript in the end.

    `seconds` is exact and is None where nothing may be billed: the job failed or is not done,
    or AssemblyAI's `audio_duration` is no quantity. `webhook_url` is the one submitted, also
    after a DELETE.
    """

    transcript_id: str
    key: str
    status: str
    seconds: Decimal | None
    speech_model_used: str
    webhook_url: str | None
    deleted: bool
    attempts: tuple[WebhookAttempt, ...]


@dataclasses.dataclass(slots=True, kw_only=True)
class Job:
    """One transcript: what was asked, how it ends, and how far it is."""

    transcript_id: str
    key: str
    number: int
    request: Mapping[str, Any]
    outcome: Outcome
    created: datetime
    chance: Random
    answers: deque[Answer]
    status: str = "queued"
    completed: datetime | None = None
    deleted: bool = False
    attempts: tuple[WebhookAttempt, ...] = ()

    @property
    def is_final(self) -> bool:
        """Whether the job is completed or failed."""
        return self.status in {"completed", "error"}

    def truth(self) -> Truth:
        """Return this job's row of the ledger as it stands now."""
        return Truth(
            transcript_id=self.transcript_id,
            key=self.key,
            status=self.status,
            seconds=self.outcome.billed_seconds if self.is_final else None,
            speech_model_used=self.outcome.speech_model_used,
            webhook_url=self.request.get("webhook_url"),
            deleted=self.deleted,
            attempts=self.attempts,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the list, newest first, and whether there is more on either side of it."""

    jobs: tuple[Job, ...]
    has_older: bool
    has_newer: bool


class JobStore:
    """Every job of every key. A key never sees another key's.

    What is drawn for a job depends on `seed`, on its audio URL and on how often that URL was
    submitted before, not on the order of submissions: clients that race each other still get the
    same ids, durations and faults in every run. `now` returns aware UTC; `latency` is the mean
    time in seconds from submission to the final status.
    """

    def __init__(
        self, *, seed: int, latency: float, faults: Faults, now: Callable[[], datetime]
    ) -> None:
        self.faults = faults
        self.plans: deque[JobPlan] = deque()
        self.list_chance = seeded_chance(seed, "list")
        self._seed = seed
        self._latency = latency
        self._now = now
        self._jobs: dict[str, Job] = {}
        self._by_key: dict[str, list[Job]] = {}
        self._submissions: Counter[str] = Counter()
        self._lock = threading.Lock()  # the ledger is read from other threads

    def submit(self, key: str, request: Mapping[str, Any]) -> Job:
        """Take a job in as `queued`; the next plan, if there is one, is its."""
        audio_url = request["audio_url"]
        chance = seeded_chance(self._seed, audio_url, self._submissions[audio_url])
        transcript_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        plan = self.plans.popleft() if self.plans else JobPlan()
        outcome = draw_outcome(request, plan, self.faults, self._latency, chance)
        with self._lock:
            self._submissions[audio_url] += 1
            mine = self._by_key.setdefault(key, [])
            job = Job(
                transcript_id=transcript_id,
                key=key,
                number=len(mine),
                request=request,
                outcome=outcome,
                created=self._now(),
                chance=chance,
                answers=deque(plan.answers),
            )
            mine.append(job)
            self._jobs[transcript_id] = job
        return job

    def get(self, key: str, transcript_id: str) -> Job | None:
        """Return the key's own transcript; another key's is None, as if it did not exist."""
        job = self._jobs.get(transcript_id)
        return job if job is not None and job.key == key else None

    def by_id(self, transcript_id: str) -> Job:
        """Return any key's transcript, for the one who runs the double.

        Raises:
            KeyError: There is no such transcript.
        """
        return self._jobs[transcript_id]

    def complete(self, job: Job) -> None:
        """Give a job its final status."""
        job.status = job.outcome.status
        job.completed = self._now()

    def record_attempt(
        self, job: Job, kind: Literal["transcript", "redacted_audio"], status_code: int | None
    ) -> None:
        """Note one POST to the job's webhook."""
        attempt = WebhookAttempt(kind=kind, status_code=status_code, at=self._now())
        job.attempts = (*job.attempts, attempt)

    def page(
        self,
        key: str,
        *,
        limit: int,
        status: str | None = None,
        created_on: date | None = None,
        before: Job | None = None,
        after: Job | None = None,
    ) -> Page:
        """Return up to `limit` of the key's transcripts, newest first.

        `before` asks for the newest ones that are older than it, `after` for the oldest ones that
        are newer. Transcripts of more than 90 days ago are not listed.
        """
        mine = self._by_key.get(key, [])
        since = self._now() - LISTED_FOR
        low = 0 if after is None else after.number + 1
        high = len(mine) if before is None else before.number

        def matching(numbers: Iterator[int] | range) -> Iterator[Job]:
            for number in numbers:
                job = mine[number]
                if (
                    job.created >= since
                    and status in {None, job.status}
                    and created_on in {None, job.created.date()}
                ):
                    yield job

        if after is None:
            jobs = _first(matching(range(high - 1, low - 1, -1)), limit)
        else:
            jobs = _first(matching(range(low, high)), limit)[::-1]
        if not jobs:
            return Page(jobs=(), has_older=False, has_newer=False)
        return Page(
            jobs=tuple(jobs),
            has_older=any(True for _ in matching(range(jobs[-1].number - 1, -1, -1))),
            has_newer=any(True for _ in matching(range(jobs[0].number + 1, len(mine)))),
        )

    def truth(self) -> list[Truth]:
        """Return the ledger, oldest submission first; from any thread."""
        with self._lock:
            jobs = list(self._jobs.values())
        return [job.truth() for job in jobs]


def _first(jobs: Iterator[Job], limit: int) -> list[Job]:
    return [job for job, _ in zip(jobs, range(limit), strict=False)]
