"""Receipts against AssemblyAI's double: each ends in exactly one counted place."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import SecretStr

from collectors.conftest import MakeContext
from meter import hookimpl
from meter.collectors.assemblyai_client import Api
from meter.collectors.interface import CollectorContext
from meter.collectors.resolver import FEW_ATTEMPTS, Resolver
from meter.events import AsyncCompleted, AsyncFailed, Event
from meter.journal import Journal, JournalTotals, NewReceipt
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Answer, JobPlan
from support.clocks import FakeClock

KEY = "key"


class Office:
    """Submits a job to the double, drops a receipt for it, and lets the resolver work."""

    def __init__(
        self, double: AssemblyAISandbox, journal: Journal, clock: FakeClock, folder: Path
    ) -> None:
        self.double, self.journal, self.clock, self.folder = double, journal, clock, folder

    def submit(self, plan: JobPlan | None = None, **query: str) -> str:
        self.double.plan_next(plan or JobPlan(status="completed", audio_duration=60))
        url = "http://127.0.0.1:9/hook" + ("?" + urlencode(query) if query else "")
        answer = httpx.post(
            f"{self.double.base_url}/v2/transcript",
            headers={"authorization": KEY},
            json={"audio_url": "https://audio.example/a.mp3", "webhook_url": url},
        )
        identity = str(answer.raise_for_status().json()["id"])
        if plan is None or plan.status in ("completed", "error"):
            self.double.finish(identity)
        return identity

    def receive(self, query: str, **fields: Any) -> None:
        body = httpx.Request("POST", "http://x", json=fields).content.decode()
        self.journal.add_receipt(NewReceipt("transcripts", self.clock.now(), query, body)).wait()

    def work(self, context: CollectorContext, key: str = KEY) -> int:
        async def settle(resolver: Resolver) -> int:
            return await resolver.settle_all()

        return self.with_resolver(settle, context, key)

    def with_resolver(
        self,
        use: Callable[[Resolver], Awaitable[int]],
        context: CollectorContext,
        key: str = KEY,
    ) -> int:
        async def run() -> int:
            api = Api(SecretStr(key), self.double.base_url)
            try:
                return await use(Resolver(api, context))
            finally:
                await api.close()

        return asyncio.run(run())

    def totals(self) -> JournalTotals:
        totals = self.journal.totals()
        assert sum(totals.receipts.values()) == self._count("receipts")
        return totals

    def quarantined(self) -> list[str]:
        with closing(sqlite3.connect(self.folder / "m.db")) as reader:
            return [r for (r,) in reader.execute("SELECT reason FROM quarantine ORDER BY id")]

    def last_error(self) -> str:
        with closing(sqlite3.connect(self.folder / "m.db")) as reader:
            return str(reader.execute("SELECT last_error FROM receipts").fetchone()[0])

    def _count(self, table: str) -> int:
        with closing(sqlite3.connect(self.folder / "m.db")) as reader:
            return int(reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture
def office(double: AssemblyAISandbox, journal: Journal, clock: FakeClock, tmp_path: Path) -> Office:
    return Office(double, journal, clock, tmp_path)


def only_event(journal: Journal) -> Event:
    (entry,) = journal.read(0, 10)
    return entry.event


def test_a_completed_job_becomes_its_event(
    office: Office, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    identity = office.submit(customer_id="acme", project_id="p")
    office.receive("customer_id=acme&project_id=p", transcript_id=identity, status="completed")
    arrived = clock.now()
    clock.advance(seconds=5)
    assert office.work(context()) == 0
    event = only_event(journal)
    assert isinstance(event, AsyncCompleted)
    assert (event.customer_id, event.dimensions, event.seconds) == (
        "acme",
        {"project_id": "p"},
        Decimal(60),
    )
    assert (event.occurred_at, event.recorded_at) == (arrived, clock.now())
    assert office.totals().receipts == {"recorded": 1}


def test_a_failed_job_is_in_the_journal_and_not_billed(
    office: Office, context: MakeContext, journal: Journal
) -> None:
    identity = office.submit(JobPlan(status="error", error="no audio"), customer_id="acme")
    office.receive("customer_id=acme", transcript_id=identity, status="error")
    office.work(context())
    event = only_event(journal)
    assert isinstance(event, AsyncFailed)
    assert (event.error, event.billed_seconds) == ("no audio", None)


def test_a_repeated_delivery_is_settled_without_another_fetch(
    office: Office, context: MakeContext
) -> None:
    identity = office.submit(
        JobPlan(
            status="completed",
            audio_duration=60,
            answers=(Answer(), Answer(status_code=500), Answer(status_code=500)),
        ),
        customer_id="acme",
    )
    for _ in range(3):
        office.receive("customer_id=acme", transcript_id=identity, status="completed")
        office.work(context())
    assert office.totals().receipts == {"recorded": 1, "duplicate": 2}


def test_the_same_job_for_another_customer_is_a_conflict_and_the_first_stands(
    office: Office, context: MakeContext, journal: Journal
) -> None:
    identity = office.submit()
    office.receive("customer_id=acme", transcript_id=identity, status="completed")
    office.work(context())
    office.receive("customer_id=other", transcript_id=identity, status="completed")
    office.work(context())
    assert only_event(journal).customer_id == "acme"
    assert office.totals().receipts == {"recorded": 1, "conflict": 1}
    assert "another customer" in office.quarantined()[0]


@pytest.mark.parametrize(
    ("submitted", "delivered", "reason"),
    [
        ({}, "", "no customer_id in the webhook URL"),
        ({}, "customer_id=", "customer_id is empty"),
        ({}, "customer_id=a&customer_id=b", "customer_id is given twice"),
        ({"customer_id": "b"}, "customer_id=a", "the webhook's query and the transcript's"),
    ],
)
def test_without_one_customer_it_waits_in_quarantine_with_all_it_has(
    office: Office,
    context: MakeContext,
    journal: Journal,
    submitted: dict[str, Any],
    delivered: str,
    reason: str,
) -> None:
    identity = office.submit(**submitted)
    office.receive(delivered, transcript_id=identity, status="completed")
    office.work(context())
    assert office.quarantined()[0].startswith(reason)
    assert journal.head() == 0
    with closing(sqlite3.connect(office.folder / "m.db")) as reader:
        provider_id, payload = reader.execute(
            "SELECT provider_id, payload FROM quarantine"
        ).fetchone()
    assert provider_id == identity
    assert '"audio_duration":60' in payload


def test_the_transcript_may_name_the_customer_that_the_webhook_lost(
    office: Office, context: MakeContext, journal: Journal
) -> None:
    identity = office.submit(customer_id="acme", project_id="p")
    office.receive("", transcript_id=identity, status="completed")
    office.work(context())
    assert only_event(journal).customer_id == "acme"
    assert only_event(journal).dimensions == {"project_id": "p"}


@pytest.mark.parametrize(
    ("fields", "outcome", "quarantined"),
    [
        ({"status": "redacted_audio_ready", "fields": ["status"]}, "redacted audio", 0),
        ({"session_id": "s1", "fields": ["session_id", "messages"]}, "streaming notice", 0),
        ({"fields": ["hello"]}, "quarantined", 1),
        ({"transcript_id": 5, "fields": ["transcript_id"]}, "quarantined", 1),
        ({"transcript_id": "", "fields": ["transcript_id"]}, "quarantined", 1),
    ],
)
def test_every_other_body_has_its_place(
    office: Office,
    context: MakeContext,
    fields: dict[str, Any],
    outcome: str,
    quarantined: int,
) -> None:
    office.receive("customer_id=acme", **fields)
    assert office.work(context()) == 0
    assert office.totals().receipts == {outcome: 1}
    assert sum(office.totals().quarantined.values()) == quarantined


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(status_code=429, retry_after_seconds=1), "429"),
        (Answer(status_code=500), "500"),
        (Answer(status_code=503), "503"),
        (Answer(malformed=True), "not a JSON object"),
        (Answer(fields={"audio_duration": None}), "audio_duration is null"),
        (Answer(fields={"status": "levitating"}), "unknown transcript status"),
        (Answer(fields={"status": "processing"}), "is processing"),
    ],
)
def test_a_fetch_that_fails_is_retried_and_then_recorded(
    office: Office,
    context: MakeContext,
    journal: Journal,
    clock: FakeClock,
    answer: Answer,
    words: str,
) -> None:
    plan = JobPlan(status="completed", audio_duration=60, answers=(answer,))
    identity = office.submit(plan, customer_id="acme")
    office.receive("customer_id=acme", transcript_id=identity, status="completed")
    assert office.work(context()) == 1
    assert words in office.last_error()
    assert journal.due_receipts("transcripts", clock.now(), skip=(), limit=9) == []
    assert office.work(context()) == 0
    assert only_event(journal).billed_seconds == 60


@pytest.mark.parametrize(
    "fields", [{"audio_duration": -5}, {"audio_duration": "60"}, {"audio_duration": 10**8}]
)
def test_an_unbelievable_duration_goes_to_quarantine_at_once(
    office: Office, context: MakeContext, fields: dict[str, Any]
) -> None:
    plan = JobPlan(status="completed", answers=(Answer(fields=fields),))
    identity = office.submit(plan, customer_id="acme")
    office.receive("customer_id=acme", transcript_id=identity, status="completed")
    assert office.work(context()) == 0
    assert office.quarantined()[0].startswith("audio_seconds: expected")


def test_fractions_and_unknown_models_are_recorded_exactly(
    office: Office, context: MakeContext, journal: Journal
) -> None:
    plan = JobPlan(
        status="completed",
        answers=(
            Answer(fields={"audio_duration": Decimal("12.345"), "speech_model_used": "new-9"}),
        ),
    )
    identity = office.submit(plan, customer_id="acme")
    office.receive("customer_id=acme", transcript_id=identity, status="completed")
    office.work(context())
    event = only_event(journal)
    assert isinstance(event, AsyncCompleted)
    assert (event.seconds, event.model) == (Decimal("12.345"), "new-9")


def test_an_unknown_transcript_is_asked_for_a_few_times_and_then_quarantined(
    office: Office, context: MakeContext
) -> None:
    office.receive("customer_id=acme", transcript_id="no-such", status="completed")
    for _ in range(FEW_ATTEMPTS - 1):
        assert office.work(context()) == 1
    assert office.work(context()) == 0
    assert "another project, key or region" in office.quarantined()[0]


def test_a_job_that_the_provider_works_on_is_waited_for_a_day(
    office: Office, context: MakeContext, clock: FakeClock
) -> None:
    identity = office.submit(JobPlan(latency_seconds=10**6), customer_id="acme")
    office.receive("customer_id=acme", transcript_id=identity, status="completed")
    for _ in range(FEW_ATTEMPTS * 2):
        assert office.work(context()) == 1
    clock.advance(hours=25)
    assert office.work(context()) == 0
    assert "after" in office.quarantined()[0]


def test_a_refused_key_parks_fetching_says_so_and_keeps_everything(
    double: AssemblyAISandbox, office: Office, context: MakeContext, journal: Journal
) -> None:
    identity = office.submit(customer_id="acme")
    office.receive("customer_id=acme", transcript_id=identity, status="completed")
    with AssemblyAISandbox(keys=("another",)) as strict:
        office.double = strict
        assert office.work(context()) == 1
    assert "check api_key" in journal.totals().collectors["transcripts"]
    assert KEY not in journal.totals().collectors["transcripts"].split()
    office.double = double
    assert office.work(context()) == 0


def test_one_refused_transcript_does_not_park_the_others(
    office: Office, context: MakeContext, journal: Journal
) -> None:
    refused = JobPlan(status="completed", audio_duration=5, answers=(Answer(status_code=403),) * 2)
    bad = office.submit(refused, customer_id="bad")
    good = office.submit(customer_id="good")

    async def settle(resolver: Resolver) -> int:
        left = 0
        for who, identity in (("good", good), ("bad", bad)):
            query = f"customer_id={who}"
            await asyncio.to_thread(
                office.receive, query, transcript_id=identity, status="completed"
            )
            left = await resolver.settle_all()
        return left

    assert office.with_resolver(settle, context(), KEY) == 1
    assert journal.totals().collectors == {}
    (waiting,) = journal.due_receipts(
        "transcripts", office.clock.now() + timedelta(minutes=2), skip=(), limit=9
    )
    assert waiting.attempts == 0
    assert journal.due_receipts("transcripts", office.clock.now(), skip=(), limit=9) == []


def test_nobody_answering_is_retried(office: Office, context: MakeContext) -> None:
    office.receive("customer_id=acme", transcript_id="t1", status="completed")
    office.double = type("Gone", (), {"base_url": "http://127.0.0.1:9"})()
    assert office.work(context()) == 1
    assert "no answer" in office.last_error()


def test_plugins_enrich_before_and_watch_after_the_recording(
    office: Office, context: MakeContext, journal: Journal
) -> None:
    seen: list[Event] = []

    class Plugin:
        @hookimpl
        def meter_enrich_event(self) -> dict[str, str]:
            return {"team": "blue", "project_id": "never replaced"}

        @hookimpl
        def meter_event_recorded(self, event: Event) -> None:
            seen.append(event)
            raise RuntimeError("an observer's own trouble")

    class Broken:
        @hookimpl
        def meter_enrich_event(self) -> dict[str, str]:
            raise RuntimeError("a plugin's own trouble")

    identity = office.submit(customer_id="acme", project_id="p")
    for _ in range(2):
        office.receive("customer_id=acme&project_id=p", transcript_id=identity, status="completed")
    office.work(context(Plugin(), Broken()))
    assert only_event(journal).dimensions == {"team": "blue", "project_id": "p"}
    assert seen == [only_event(journal)]
