"""A site where everything agrees: AssemblyAI's double, a journal, three sinks, Stripe's double."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from meter.cli.reconcile_sides import Asked, Compared, Sides
from meter.config import Config, load_config
from meter.events import Event
from meter.journal import Journal, open_journal
from meter.plugins import load_plugins
from meter.reports.reconciling import Difference, Window
from meter.reports.reconciling.scratch import Scratch
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import JobPlan
from meter.sandbox.jobs import Job
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox
from meter.testing.bench import SteppedWorker
from support.facts import abandoned, completed, failed, terminated
from support.stripe_desk import RunningClock

KEY = "a-key-of-the-double"
PARQUET = find_spec("pyarrow") is not None
CUSTOMERS = ("acme", "globex", "=SUM(A1)", "ünï", "'=quoted", "@home", "initech", "'plain")
BILLED = CUSTOMERS[:2]
HOOK = "https://meter.example/webhooks/assemblyai?customer_id="
FILE = """
journal: m.db
collectors:
  transcripts: {{type: webhook, api_key: {key}, secret: s, base_url: "{assemblyai}"}}
  apps: {{type: ingest, secret: s}}
sinks:
  ledger: {{type: sqlite, path: usage.db}}
  export: {{type: csv, path: "exports/usage-{{date}}.csv"}}
  {lake}
  billing:
    type: stripe
    start: beginning
    api_key: sk_test_reconcile
    base_url: "{stripe}"
    customers: passthrough
    create_missing: true
    period_day: none
    max_per_second: 1000
    guard: false
    meters:
      - {{event_name: transcription, kinds: [async_completed]}}
      - {{event_name: streaming, kinds: [stream_terminated]}}
pipelines:
  usage: {{from: [transcripts, apps], to: {rows}, where: {{customer_id: {{not_in: [internal]}}}}}}
  billing:
    from: [transcripts, apps]
    where: {{customer_id: {{in: [acme, globex]}}}}
    to: [billing]
"""
ROWS = ["ledger", "export", *(["lake"] if PARQUET else [])]


class Site:
    """One folder, with as many events as it is asked for; what it is given later is a difference.

    Attributes:
        made: every event that was recorded, in order.
        double: AssemblyAI; `store` is its state: jobs are put there without a request each.
    """

    def __init__(
        self, folder: Path, clock: RunningClock, double: AssemblyAISandbox, stripe: StripeSandbox
    ) -> None:
        self.folder = folder
        self.double = double
        self.stripe = stripe
        self.store = double._jobs
        self.clock = clock
        self.at: datetime | None = None
        self.made: list[Event] = []
        text = FILE.format(
            key=KEY,
            assemblyai=double.base_url,
            stripe=stripe.base_url,
            lake="lake: {type: parquet, path: lake, every: 0s}" if PARQUET else "",
            rows=f"[{', '.join(ROWS)}]",
        )
        (folder / "pipelines.yaml").write_text(text)
        self.plugins = load_plugins()
        self.config: Config = load_config(folder / "pipelines.yaml", self.plugins, environ={})
        self.journal: Journal = open_journal(str(folder / "m.db"), self.clock)

    def job(
        self, at: datetime, customer: str | None, seconds: int, *, status: str | None = "completed",
        hook: str = HOOK, key: str = KEY,
    ) -> Job:  # fmt: skip
        """Put a job where AssemblyAI has its own; None as the status leaves it queued."""
        self.store.plans.append(JobPlan(status=status or "completed", audio_duration=seconds))  # type: ignore[arg-type]  # because a text stands for the literal
        self.at = at - timedelta(minutes=2)
        number = len(self.store._jobs)
        request = {"audio_url": f"https://a.example/{number}", "webhook_url": f"{hook}{customer}"}
        job = self.store.submit(key, request)
        if status is not None:
            self.at = at
            self.store.complete(job)
        self.at = None
        return job

    def transcript(self, at: datetime, customer: str, seconds: int) -> Event:
        job = self.job(at, customer, seconds)
        return self._about(completed, job.transcript_id, at, customer, seconds=Decimal(seconds))

    def failed(self, at: datetime, customer: str) -> Event:
        job = self.job(at, customer, 0, status="error")
        return self._about(failed, job.transcript_id, at, customer)

    def session(self, name: str, at: datetime, customer: str, seconds: Decimal) -> Event:
        return self._about(terminated, name, at, customer, collector="apps", seconds=seconds)

    def abandoned(self, name: str, at: datetime, customer: str) -> Event:
        return self._about(abandoned, name, at, customer, collector="apps")

    @staticmethod
    def _about(make: Any, name: str, at: datetime, customer: str, **more: Any) -> Event:
        event: Event = make(name, customer_id=customer, occurred_at=at, recorded_at=at, **more)
        return event

    def fill(self, count: int) -> None:
        """Record usage of ten hours that lie more than a day back, newest last."""
        first = self.clock.now() - timedelta(hours=40)
        for number in range(count):
            at = first + timedelta(hours=10) * (number / count)
            customer = CUSTOMERS[number % 7 if number % 40 else 7]
            seconds = 1 + number * 7 % 3600
            if number % 20 == 19:
                event = self.failed(at, customer)
            elif number % 5 < 3:
                event = self.transcript(at, customer, seconds)
            else:
                event = self.session(f"s-{number:07}", at, customer, Decimal(seconds * 8 + 1) / 8)
            self.made.append(event)
        self.record(self.made)

    def record(self, events: Sequence[Event]) -> None:
        for start in range(0, len(events), 5_000):
            self.journal.append(events[start : start + 5_000]).wait()

    def deliver(self) -> None:
        """Have every sink take what there is."""
        for entry in self.config.sinks.values():
            worker = SteppedWorker(
                entry,
                self.config.pipelines.values(),
                journal=self.journal,
                plugins=self.plugins,
                clock=self.clock,
            )
            worker.flush()
            while worker.step():
                pass
            worker.close()

    def usage(self, events: Sequence[Event]) -> Path:
        """Write what AssemblyAI's own tool might print of these; `change` is for what differs."""
        rows = [
            {
                "session_id" if e.kind == "stream_terminated" else "transcript_id": e.provider_id,
                "created_at": e.occurred_at.isoformat(),
                "session_duration_sec": float(e.billed_seconds),
                "metadata": {"customer_id": e.customer_id},
            }
            for e in events
            if e.billed_seconds is not None
        ]
        path = self.folder / "usage.json"
        path.write_text(json.dumps({"sessions": rows, "next": None}))
        return path

    def reconcile(self, usage: Path | None = None, **asked: Any) -> Found:
        given = {
            "window": Window(),
            "collectors": (),
            "sinks": (),
            "usage_file": usage,
            "mapping": None,
            "every": False,
            "per_second": 10_000.0,
            **asked,
        }
        sides = Sides(self.config, self.plugins, self.clock, Asked(**given))
        with Scratch() as scratch:
            compared = sides.compare(scratch, self.journal)
            return Found(compared, list(scratch.differences()))


class Found:
    """What was found, by side."""

    def __init__(self, compared: Sequence[Compared], differences: Sequence[Difference]) -> None:
        self.sides = {each.side.name: each.side for each in compared}
        self.differences = differences

    @property
    def told(self) -> set[tuple[str, str, str, str]]:
        """Side, difference, field and event id of each."""
        told = [(d.side, d.what, d.field, d.event_id) for d in self.differences]
        assert len(told) == len(set(told))
        return set(told)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Site] = []
    clock = RunningClock()

    def now() -> datetime:
        return (made and made[0].at) or clock.now()

    rules = StripeRules(unknown_customers="accepted", test_events_per_second=None)
    with (
        AssemblyAISandbox(keys=[KEY], now=now) as double,
        StripeSandbox(rules=rules, clock=clock.now) as stripe,
    ):
        made.append(Site(folder, clock, double, stripe))
        try:
            yield made[0]
        finally:
            made[0].journal.close()
