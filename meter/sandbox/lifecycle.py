"""A job's life: queued, processing, final, and then its webhooks."""

import asyncio

from meter.sandbox.jobs import Job, JobStore
from meter.sandbox.webhooks import Courier

QUEUED_SHARE = 0.3
"""The part of a job's latency that it spends queued."""


class Lifecycle:
    """Carries every submitted job to its end, one task each; use inside one event loop."""

    def __init__(self, jobs: JobStore, courier: Courier) -> None:
        self._jobs = jobs
        self._courier = courier
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurried: dict[str, asyncio.Event] = {}

    def start(self, job: Job) -> None:
        """Begin a job that was just submitted."""
        self._hurried[job.transcript_id] = asyncio.Event()
        self._tasks.add(asyncio.create_task(self._live(job), name=job.transcript_id))

    def hurry(self, job: Job) -> None:
        """Give a job its final status now, whatever is left of its latency."""
        self._hurried[job.transcript_id].set()

    async def stop(self) -> None:
        """Cancel what is under way, deliveries included.

        Raises:
            ExceptionGroup: Tasks that failed: faults of this double, not of its client.
        """
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        failures = [end for end in ends if isinstance(end, Exception)]
        if failures:
            raise ExceptionGroup("the sandbox failed to carry jobs to their end", failures)

    async def _live(self, job: Job) -> None:
        outcome = job.outcome
        await self._wait(job, outcome.latency_seconds * QUEUED_SHARE)
        job.status = "processing"
        await self._wait(job, outcome.latency_seconds * (1 - QUEUED_SHARE))
        if outcome.webhook_lead_seconds > 0:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._notify(job))
                await asyncio.sleep(outcome.webhook_lead_seconds)
                self._jobs.complete(job)
        else:
            self._jobs.complete(job)
            await self._notify(job)

    async def _wait(self, job: Job, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurried[job.transcript_id].wait()
        except TimeoutError:
            return

    async def _notify(self, job: Job) -> None:
        """Send the job's webhook, in as many copies as its outcome says, then the audio's."""
        url = job.request.get("webhook_url")
        if url is None or job.outcome.webhook_copies == 0:
            return
        name = job.request.get("webhook_auth_header_name")
        headers = {} if name is None else {name: job.request["webhook_auth_header_value"]}
        ready = {"transcript_id": job.transcript_id, "status": job.outcome.status}
        async with asyncio.TaskGroup() as group:
            for _ in range(job.outcome.webhook_copies):
                group.create_task(
                    self._courier.deliver(
                        url,
                        ready,
                        headers,
                        lambda code: self._jobs.record_attempt(job, "transcript", code),
                    )
                )
        if job.request.get("redact_pii_audio") and job.outcome.status == "completed":
            await self._courier.deliver(
                url,
                {
                    "status": "redacted_audio_ready",
                    "redacted_audio_url": f"https://redacted.example/{job.transcript_id}.mp3",
                },
                headers,
                lambda code: self._jobs.record_attempt(job, "redacted_audio", code),
            )
