"""Settle receipts: fetch what each speaks of, and close it together with the event.

A receipt stays open until its event, its quarantine or its meaninglessness is durable; a
crash at any point only means that it is looked at again.
"""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.collectors.assemblyai_client import ApiError, Refused, Unavailable
from meter.collectors.attribution import agree, attribution_of, attribution_of_url
from meter.collectors.transcripts import (
    NotYet,
    Unusable,
    facts_of,
    meaning_of,
    possible_ids,
    read_transcript,
)
from meter.errors import InvalidEvent, JournalError
from meter.events import Event
from meter.journal import Quarantined, Recorded, Watched

if TYPE_CHECKING:
    from meter.collectors.assemblyai_client import Api
    from meter.collectors.interface import CollectorContext
    from meter.journal import Receipt

__all__ = ["Resolver"]

AT_ONCE: Final = 16
"""Fetches under way at the same time; far below 20,000 requests per 5 minutes."""
FEW_ATTEMPTS: Final = 16
"""For answers that should not happen: 34 to 67 minutes of waiting, then quarantine."""
PATIENCE: Final = timedelta(hours=24)
"""For a job that the provider still works on."""
REFUSED_PAUSE_SECONDS: Final = 60.0
POLL_SECONDS: Final = 5.0
LONGEST_WAIT_SECONDS: Final = 600.0


class Resolver:
    """Works off one collector's receipts, a few at a time."""

    def __init__(self, api: Api, context: CollectorContext) -> None:
        """Stand ready; `run` starts."""
        self._api = api
        self._context = context
        self._journal = context.journal
        self._chance = random.Random()  # noqa: S311  because jitter needs no security
        self._wake = asyncio.Event()
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._pause_until = 0.0
        self._trouble: str | None = None
        self._works = False  # the last fetch that says anything about the key succeeded

    def wake(self) -> None:
        """Look now: a receipt has come in."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled; what is in hand then stays open in the journal."""
        try:
            while True:
                self._wake.clear()
                try:
                    started = self._start_due(self._context.clock.now())
                except JournalError as error:
                    self._context.log.warning("resolver.failed", extra={"error": str(error)})
                    started = False
                if not started:
                    await self._wait()
        finally:
            for task in self._busy.values():
                task.cancel()

    async def settle_all(self) -> int:
        """Try every open receipt once, due or not; answers how many stay open."""
        far = datetime.max.replace(tzinfo=self._context.clock.now().tzinfo) - timedelta(days=1)
        tried: set[int] = set()
        while receipts := self._journal.due_receipts(
            self._context.name, far, skip=tried, limit=AT_ONCE
        ):
            tried.update(receipt.id for receipt in receipts)
            await asyncio.gather(*(self._work(receipt) for receipt in receipts))
        return self._journal.open_receipts(self._context.name)

    def _start_due(self, now: datetime) -> bool:
        """Start what is due and has room; tell if anything was."""
        room = AT_ONCE - len(self._busy)
        if room <= 0 or self._context.clock.monotonic() < self._pause_until:
            return False
        if self._trouble is not None:
            room = min(room, 1)  # one knock is enough to find out whether the key works again
        receipts = self._journal.due_receipts(self._context.name, now, skip=self._busy, limit=room)
        for receipt in receipts:
            task = asyncio.create_task(self._work(receipt))
            self._busy[receipt.id] = task
            task.add_done_callback(partial(self._done, receipt.id))
        return bool(receipts)

    def _done(self, receipt_id: int, _task: asyncio.Task[None]) -> None:
        del self._busy[receipt_id]
        self._wake.set()

    async def _wait(self) -> None:
        pause = self._pause_until - self._context.clock.monotonic()
        try:
            async with asyncio.timeout(pause if pause > 0 else POLL_SECONDS):
                if pause > 0:
                    await asyncio.Event().wait()
                await self._wake.wait()
        except TimeoutError:
            pass

    # -- one receipt -----------------------------------------------------------------------

    async def _work(self, receipt: Receipt) -> None:
        try:
            await self._resolve(receipt)
        except JournalError as error:  # nothing was stored: the receipt is still open
            self._context.log.warning("receipt.unsaved", extra={"error": str(error)})
            self._pause(1.0)
        except Exception as error:  # a fault of ours or of a plugin must not lose a receipt
            self._context.log.exception("receipt.failed", extra={"receipt": receipt.id})
            await self._retry(receipt, f"{type(error).__name__}: {error}", None)

    async def _resolve(self, receipt: Receipt) -> None:
        fields: dict[str, Any] = msgspec.json.decode(receipt.fields)
        transcript_id = fields.get("transcript_id")
        if isinstance(transcript_id, str) and transcript_id:
            await self._resolve_transcript(receipt, fields, transcript_id)
        elif fields.get("status") == "redacted_audio_ready":
            await self._context.intake.settle(receipt.id, "redacted audio")
        elif isinstance(fields.get("session_id"), str):
            await self._context.intake.settle(receipt.id, "streaming notice")
        else:
            await self._quarantine(receipt, "a webhook of unknown shape", fields, None)

    async def _resolve_transcript(
        self, receipt: Receipt, fields: dict[str, Any], transcript_id: str
    ) -> None:
        context = self._context
        delivered = attribution_of(receipt.query)
        kind = self._known_kind(transcript_id, fields, delivered.customer_id)
        if kind is not None:
            about = possible_ids(transcript_id)[0]
            await context.intake.settle(receipt.id, "duplicate", about=about)
            context.intake.counted[context.name, kind, Recorded.DUPLICATE] += 1
            return
        try:
            transcript = read_transcript(await self._api.transcript(transcript_id))
        except ApiError as error:
            await self._fetch_failed(receipt, fields, transcript_id, error)
            return
        except InvalidEvent as error:
            await self._again(receipt, fields, transcript_id, NotYet(str(error), patient=False))
            return
        await self._fetching_works()
        attribution = agree(delivered, attribution_of_url(transcript.webhook_url))
        meaning = meaning_of(
            transcript,
            attribution,
            transcript_id=transcript_id,
            collector=context.name,
            occurred_at=receipt.received_at,
            now=context.clock.now(),
        )
        if isinstance(meaning, Event):
            answer = await context.intake.settle(receipt.id, "", event=meaning)
            context.log.info(
                "receipt.settled",
                extra={"event_id": meaning.event_id, "outcome": answer.value if answer else ""},
            )
        elif isinstance(meaning, Unusable):
            facts = {
                **fields,
                "dimensions": attribution.dimensions,
                "transcript": facts_of(transcript),
            }
            await self._quarantine(receipt, meaning.reason, facts, transcript_id)
        else:
            await self._again(receipt, fields, transcript_id, meaning)

    def _known_kind(
        self, transcript_id: str, fields: dict[str, Any], customer_id: str | None
    ) -> str | None:
        """Return the kind of this very fact if it is recorded already: no fetch is needed."""
        completed, failed = possible_ids(transcript_id)
        event = self._journal.find(failed if fields.get("status") == "error" else completed)
        return event.kind if event is not None and event.customer_id == customer_id else None

    async def _fetch_failed(
        self, receipt: Receipt, fields: dict[str, Any], transcript_id: str, error: ApiError
    ) -> None:
        if isinstance(error, Refused):
            await self._retry(receipt, str(error), REFUSED_PAUSE_SECONDS, counted=False)
            if self._works:  # others were answered: perhaps it is this one; the next will tell
                self._works = False
                return
            self._pause(REFUSED_PAUSE_SECONDS)
            if self._trouble is None:
                self._trouble = str(error)
                self._context.log.error("fetching.parked", extra={"reason": str(error)})
                await self._journal.set_trouble(self._context.name, str(error))
            return
        if isinstance(error, Unavailable):
            if error.retry_after is not None:
                self._pause(error.retry_after)
            await self._retry(receipt, str(error), error.retry_after)
            return
        await self._again(receipt, fields, transcript_id, NotYet(str(error), patient=False))

    async def _fetching_works(self) -> None:
        self._works = True
        if self._trouble is not None:
            self._trouble = None
            self._context.log.info("fetching.resumed")
            await self._journal.set_trouble(self._context.name, None)

    async def _again(
        self, receipt: Receipt, fields: dict[str, Any], transcript_id: str, why: NotYet
    ) -> None:
        """Ask again later; after enough of it, quarantine with the reason."""
        since = receipt.first_error_at or self._context.clock.now()
        spent = (
            self._context.clock.now() - since > PATIENCE
            if why.patient
            else receipt.attempts + 1 >= FEW_ATTEMPTS
        )
        if spent:
            reason = f"{why.reason}, after {receipt.attempts + 1} attempts"
            watched = Watched(transcript_id, "unfinished", receipt.received_at)
            await self._journal.watch(self._context.name, [watched], ())
            await self._quarantine(receipt, reason, fields, transcript_id, fetched=False)
        else:
            await self._retry(receipt, why.reason, None)

    async def _retry(
        self, receipt: Receipt, error: str, at_least: float | None, *, counted: bool = True
    ) -> None:
        ceiling = min(LONGEST_WAIT_SECONDS, 2.0 ** min(receipt.attempts, 30))
        seconds = max(self._chance.uniform(ceiling / 2, ceiling), at_least or 0.0)
        self._context.log.info(
            "receipt.retry", extra={"receipt": receipt.id, "error": error, "in_seconds": seconds}
        )
        await self._journal.retry_receipt(
            receipt.id,
            error,
            self._context.clock.now() + timedelta(seconds=seconds),
            counted=counted,
        )

    async def _quarantine(
        self,
        receipt: Receipt,
        reason: str,
        facts: dict[str, Any],
        transcript_id: str | None,
        *,
        fetched: bool = True,
    ) -> None:
        self._context.log.warning(
            "receipt.quarantined", extra={"receipt": receipt.id, "reason": reason}
        )
        payload = {"query": receipt.query, "received_at": receipt.received_at, **facts}
        item = Quarantined(
            collector=self._context.name,
            key=f"transcript:{transcript_id}:{receipt.query}"
            if transcript_id
            else f"receipt:{receipt.id}",
            reason=reason,
            payload=msgspec.json.encode(payload).decode(),
            provider_id=transcript_id,
            fetched=fetched,
        )
        about = possible_ids(transcript_id)[0] if transcript_id else None
        await self._context.intake.settle(receipt.id, "quarantined", quarantined=item, about=about)

    def _pause(self, seconds: float) -> None:
        self._pause_until = max(self._pause_until, self._context.clock.monotonic() + seconds)
