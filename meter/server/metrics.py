"""`GET /metrics`: what this process counted, and how the journal stands, for Prometheus.

Nothing of a plugin is called for it, and nothing on the way of an event waits for it: counters
are copied in the event loop, the journal is read in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from meter.collectors.backfill import walked_at
from meter.collectors.ingest import IngestCollector
from meter.collectors.relay.collector import StreamingCollector
from meter.collectors.webhook import WebhookCollector
from meter.errors import JournalError
from meter.events import KINDS
from meter.http import Response
from meter.journal import Recorded
from meter.server import catalogue as all_
from meter.server.access import Bearer, wrong_secret
from meter.server.page import NANOS, Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meter.clock import Clock
    from meter.collectors.intake import Intake
    from meter.collectors.interface import Collector
    from meter.config import ServerOptions
    from meter.delivery.figures import SinkFigures
    from meter.http import Request
    from meter.journal import Journal, Standing
    from meter.server.app import App

__all__ = ["Metrics"]

_log = logging.getLogger("meter.server")

_OFF: Final = Response(
    403,
    b'{"error":"only for this machine: set server.metrics_secret in the pipelines file, and send '
    b'it as Authorization: Bearer <secret>"}',
)
_ZERO: Final = timedelta(0)


class Metrics:
    """The metrics of one run.

    Attributes:
        app: the application whose answers are counted; set once it is made.
    """

    app: App | None = None

    def __init__(
        self,
        *,
        options: ServerOptions,
        collectors: Mapping[str, Collector],
        sinks: Mapping[str, SinkFigures],
        intake: Intake,
        journal: Journal,
        clock: Clock,
    ) -> None:
        """Read these; the age of what never happened counts from now."""
        self._collectors = collectors
        self._sinks = sinks
        self._intake = intake
        self._journal = journal
        self._clock = clock
        self._started_at = clock.now()
        self._metrics_secret = options.metrics_secret
        self._bearer = Bearer(
            options.metrics_secret, options.admin_secret, options.previous_admin_secret
        )
        self._one = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="meter-metrics")

    async def answer(self, request: Request) -> Response:
        """Answer a scrape; one at a time, so that asking often costs no more."""
        free = self._metrics_secret is None and request.is_local
        if not free and not self._bearer.is_set:
            return _OFF
        if not free and not self._bearer.admits(request):
            return wrong_secret("server.metrics_secret")
        accept = (request.header(b"accept") or b"").decode("latin-1")
        async with self._one:
            page = Page()
            await self._put_process(page)
            self._put_http(page)
            self._put_collectors(page)
            for name, figures in self._sinks.items():
                _put_sink(page, name, figures)
            work = asyncio.get_running_loop().run_in_executor(
                self._thread, self._finished, page, accept
            )
            body, content_type = await work
        return Response(200, body, content_type.encode())

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    # -- in the event loop -------------------------------------------------------------------

    async def _put_process(self, page: Page) -> None:
        page.put(all_.BUILD, 1, version("usage-meter"), platform.python_version())
        if self.app is not None:
            page.put(all_.DRAINING, int(self.app.draining))
            page.put(all_.WRITABLE, int(await self.app.health.unwritable() is None))
        commits = self._journal.commits
        page.put_histogram(all_.COMMITS, commits.nanos, per=NANOS)
        page.put_histogram(all_.GROUPS, commits.writes)
        page.put(all_.COMMITS_FAILED, commits.failed)

    def _put_http(self, page: Page) -> None:
        if self.app is None:
            return
        for (path, status), times in self.app.answered.items():
            page.put(all_.HTTP_ANSWERS, times, path, str(status))
        page.put(all_.HTTP_RUNNING, self.app.running)

    def _put_collectors(self, page: Page) -> None:
        counted = self._intake.counted
        for name, collector in self._collectors.items():
            for kind in KINDS:
                page.put(all_.RECORDED, counted[name, kind, Recorded.RECORDED], name, kind)
                page.put(all_.DUPLICATES, counted[name, kind, Recorded.DUPLICATE], name, kind)
            received = sum(counted[name, kind, what] for kind in KINDS for what in Recorded)
            page.put(all_.RECEIVED, received, name)
            for reason, times in self._refused(name, collector).items():
                page.put(all_.REFUSED, times, name, reason)
            if isinstance(collector, StreamingCollector):
                page.put(all_.RELAYED, collector.relay.opened, name)
                page.put(all_.RELAYING, collector.relay.open_now, name)
            if isinstance(collector, WebhookCollector):
                page.put(all_.BACKFILL_EVERY, collector.options.backfill.every, name)

    def _refused(self, name: str, collector: Collector) -> dict[str, int]:
        """Count what a collector did not take, by reason; reasons that may come start at 0."""
        if isinstance(collector, StreamingCollector):
            reasons = ("unauthorized", "too_many", "unavailable", "draining")
            return {reason: collector.relay.refused[reason] for reason in reasons}
        if self.app is None or f"collectors.{name}" not in self.app.owners.values():
            return {}
        refused = dict.fromkeys(all_.REFUSED_FOR.values(), 0)
        for (path, status), times in self.app.answered.items():
            reason = all_.REFUSED_FOR.get(status)
            if reason is not None and self.app.owners.get(path) == f"collectors.{name}":
                refused[reason] += times
        if isinstance(collector, IngestCollector):
            refused["invalid"] = collector.invalid
        return refused

    # -- in the thread -----------------------------------------------------------------------

    def _finished(self, page: Page, accept: str) -> tuple[bytes, str]:
        """Add what the journal says, and write the page out."""
        try:
            standing = self._journal.standing()
        except (JournalError, sqlite3.Error) as error:
            _log.warning("metrics.no_journal", extra={"error": str(error)})
            page.put(all_.READABLE, 0)
        else:
            page.put(all_.READABLE, 1)
            self._put_standing(page, standing)
        return page.written(accept)

    def _put_standing(self, page: Page, standing: Standing) -> None:
        now = self._clock.now()
        for kind in KINDS:
            page.put(all_.EVENTS, standing.events.get(kind, 0), kind)
        for file, size in standing.file_bytes.items():
            page.put(all_.FILE, size, file)
        for name, collector in self._collectors.items():
            page.put(all_.QUARANTINED, standing.quarantined.get(name, 0), name)
            page.put(all_.CONFLICTS, standing.conflicts.get(name, 0), name)
            page.put(all_.QUARANTINE, standing.quarantine_open.get(name, 0), name)
            page.put(all_.TROUBLE, int(name in standing.troubles), name)
            if isinstance(collector, StreamingCollector | IngestCollector):
                page.put(all_.SESSIONS, standing.sessions_open.get(name, 0), name)
            if isinstance(collector, WebhookCollector):
                waiting = standing.receipts.get(name)
                page.put(all_.RECEIPTS, waiting.count if waiting else 0, name)
                age = max(_ZERO, now - waiting.oldest) if waiting else _ZERO
                page.put(all_.RECEIPT_AGE, age, name)
                cursor = standing.cursors.get(name)
                since = self._started_at if cursor is None else walked_at(cursor)
                page.put(all_.BACKFILL_AGE, max(_ZERO, now - since), name)
        for balance in standing.balances:
            sink = balance.sink
            if sink not in self._sinks:
                continue
            places = {
                "pending": balance.pending,
                "delivered": balance.delivered,
                "filtered": balance.filtered,
                "held": balance.held,
                "retrying": balance.retrying,
                "dead": balance.dead_lettered - balance.discarded,
                "discarded": balance.discarded,
            }
            for state, events in places.items():
                page.put(all_.PLACES, events, sink, state)
            oldest = balance.oldest_unsettled
            page.put(all_.QUEUE_AGE, max(_ZERO, now - oldest) if oldest else _ZERO, sink)
            page.put(all_.PARKED, int(balance.parked is not None), sink)
            page.put(all_.SINK_TROUBLE, int(balance.trouble is not None), sink)
            page.put(all_.UNBALANCED, balance.recorded - balance.accounted, sink)


def _put_sink(page: Page, name: str, figures: SinkFigures) -> None:
    page.put(all_.DELIVERED, figures.delivered, name)
    page.put(all_.FILTERED, figures.filtered, name)
    page.put(all_.HELD, figures.held, name)
    page.put(all_.RETRIED, figures.retried, name)
    page.put(all_.PUT_OFF, figures.put_off, name)
    page.put(all_.REJECTED, figures.rejected, name)
    page.put(all_.FAILURES, figures.failures, name)
    page.put_histogram(all_.BATCHES, figures.batches, name, per=NANOS)
