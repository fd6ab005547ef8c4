"""Backfill against AssemblyAI's double: what no webhook told is collected, once, and only ours."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import SecretStr

from collectors.conftest import MakeContext
from meter.collectors.assemblyai_client import Api, Unavailable
from meter.collectors.backfill import Backfill, OurJobs
from meter.collectors.interface import CollectorContext
from meter.journal import Journal, Quarantined, Watched
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Answer, Faults, JobPlan
from support.clocks import FakeClock

HOOK = "https://meter.example/hook"


def submit(
    double: AssemblyAISandbox, url: str | None = HOOK, plan: JobPlan | None = None, **query: str
) -> str:
    double.plan_next(plan or JobPlan(status="completed", audio_duration=60, webhook_copies=0))
    body = {"audio_url": "https://audio.example/a.mp3"}
    if url is not None:
        body["webhook_url"] = url + ("?" + urlencode(query) if query else "")
    answer = httpx.post(
        f"{double.base_url}/v2/transcript", headers={"authorization": "key"}, json=body
    )
    identity = str(answer.raise_for_status().json()["id"])
    if plan is None:
        double.finish(identity)
    return identity


def walk(
    double: AssemblyAISandbox, context: CollectorContext, public_url: str | None = None
) -> Counter[str]:
    async def run() -> Counter[str]:
        api = Api(SecretStr("key"), double.base_url)
        backfill = Backfill(
            api,
            context,
            OurJobs("/hook", public_url),
            every=timedelta(minutes=15),
            lookback=timedelta(hours=24),
        )
        try:
            return await backfill.walk()
        finally:
            await api.close()

    return asyncio.run(run())


def customers(journal: Journal) -> Counter[str]:
    return Counter(entry.event.customer_id for entry in journal.read(0, 10_000))


def test_what_no_webhook_told_is_collected_once(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    for number in range(5):
        submit(double, customer_id=f"c{number}", project_id="p")
    assert walk(double, context())["recorded"] == 5
    clock.advance(minutes=15)
    assert walk(double, context()) == {"known": 5}
    assert customers(journal) == {f"c{n}": 1 for n in range(5)}
    assert journal.read(0, 1)[0].event.dimensions == {"project_id": "p"}


def test_many_pages_are_walked_to_the_end(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    for _ in range(203):
        submit(double, customer_id="acme")
        clock.advance(seconds=1)
    assert walk(double, context())["recorded"] == 203
    assert customers(journal) == {"acme": 203}


def test_only_jobs_with_this_collectors_path_are_taken(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal
) -> None:
    submit(double, customer_id="ours")
    submit(double, "https://staging.example/other", customer_id="theirs")
    submit(double, None)
    assert walk(double, context()) == {"recorded": 1, "foreign": 2}
    assert customers(journal) == {"ours": 1}
    double.faults = Faults(get_malformed=0)
    assert walk(double, context()) == {"known": 1, "foreign": 2}


@pytest.mark.parametrize(
    ("public_url", "url", "taken"),
    [
        (None, "https://anything.example/hook", True),
        (None, "https://anything.example/hook/", True),
        (None, "https://anything.example/prefix/hook", False),
        ("https://meter.example", "https://METER.example/hook?x=1", True),
        ("https://meter.example", "https://staging.example/hook", False),
        ("https://meter.example/prefix/", "https://meter.example/prefix/hook", True),
        ("https://meter.example/prefix/", "https://meter.example/hook", False),
        (None, "http://deleted_by_user", True),
        (None, None, False),
        (None, 5, False),
        (None, "http://[broken", False),
    ],
)
def test_whose_job_it_is_reads_from_its_webhook_url(
    public_url: str | None,
    url: object,
    taken: bool,  # noqa: FBT001  because a table gives it
) -> None:
    assert OurJobs("/hook", public_url).takes(url) is taken


def test_unfinished_jobs_are_come_back_to_however_old_they_are(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    identity = submit(double, plan=JobPlan(latency_seconds=10**7), customer_id="late")
    assert walk(double, context()) == {"unfinished": 1}
    assert [w.provider_id for w in journal.watched("transcripts")] == [identity]
    for _ in range(4):
        clock.advance(hours=20)
        walk(double, context())
    double.finish(identity)
    assert walk(double, context())["recorded"] == 1
    assert customers(journal) == {"late": 1}
    assert journal.watched("transcripts") == []


def test_a_walk_reaches_back_to_where_the_last_complete_one_began(
    double: AssemblyAISandbox, context: MakeContext, clock: FakeClock
) -> None:
    assert walk(double, context()) == {}
    clock.advance(days=10)
    submit(double, customer_id="while-meter-was-down")
    clock.advance(days=20)
    assert walk(double, context())["recorded"] == 1


def test_the_first_walk_reaches_back_as_far_as_lookback(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    submit(double, customer_id="too-old")
    clock.advance(hours=25)
    submit(double, customer_id="young")
    walk(double, context())
    assert customers(journal) == {"young": 1}


def test_a_walk_that_fails_leaves_the_cursor_and_the_next_one_finds_all(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    submit(double, customer_id="acme")
    double.faults = Faults(get_server_error=1.0)
    with pytest.raises(Unavailable):
        walk(double, context())
    assert journal.cursor("transcripts") is None
    double.faults = Faults()
    clock.advance(hours=1)
    assert walk(double, context())["recorded"] == 1


def test_one_transcript_that_cannot_be_fetched_stops_no_other(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal
) -> None:
    for number in range(12):
        submit(double, customer_id=f"c{number}")
    sick = JobPlan(
        status="completed",
        audio_duration=7,
        webhook_copies=0,
        answers=(Answer(status_code=500),) * 6,
    )
    double.finish(submit(double, plan=sick, customer_id="sick"))
    assert walk(double, context()) == {"recorded": 12, "unfinished": 1}
    assert walk(double, context())["unfinished"] == 1
    assert walk(double, context())["recorded"] == 1
    assert customers(journal)["sick"] == 1


def test_when_the_rule_for_whose_jobs_they_are_is_corrected_all_are_judged_afresh(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    submit(double, customer_id="acme")
    assert walk(double, context(), "https://wrong.example") == {"foreign": 1}
    assert journal.totals().foreign == {"transcripts": 1}
    for _ in range(2):
        clock.advance(days=15)
        walk(double, context(), "https://wrong.example")
    assert journal.totals().foreign == {}
    assert walk(double, context(), "https://meter.example") == {"recorded": 1}


def test_a_job_that_is_come_back_to_keeps_the_month_it_was_made_in(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    identity = submit(double, plan=JobPlan(latency_seconds=10**7), customer_id="late")
    made = clock.now()
    walk(double, context())
    clock.advance(days=40)
    walk(double, context())
    double.finish(identity)
    walk(double, context())
    assert journal.read(0, 1)[0].event.occurred_at == made


def test_what_could_not_be_fetched_is_billed_once_it_can_be_and_leaves_quarantine(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    identity = submit(double, customer_id="acme")
    item = Quarantined(
        "transcripts", f"transcript:{identity}:", "404", "{}", identity, fetched=False
    )
    journal.quarantine([item]).wait()
    clock.advance(days=30)
    journal.watch("transcripts", [Watched(identity, "unfinished", clock.now())], ()).wait()
    assert walk(double, context())["recorded"] == 1
    assert journal.totals().quarantined == {}


def test_a_job_without_a_customer_is_quarantined_once(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    submit(double)
    assert walk(double, context()) == {"quarantined": 1}
    clock.advance(minutes=15)
    assert walk(double, context()) == {"known": 1}
    assert journal.totals().quarantined == {"transcripts": 1}


def test_a_deleted_job_is_shown_in_quarantine_rather_than_lost(
    double: AssemblyAISandbox, context: MakeContext
) -> None:
    identity = submit(double, customer_id="acme")
    httpx.delete(
        f"{double.base_url}/v2/transcript/{identity}", headers={"authorization": "key"}
    ).raise_for_status()
    assert walk(double, context()) == {"quarantined": 1}


def test_an_answer_that_should_not_be_is_come_back_to(
    double: AssemblyAISandbox, context: MakeContext
) -> None:
    plan = JobPlan(
        status="completed", audio_duration=9, webhook_copies=0, answers=(Answer(malformed=True),)
    )
    double.finish(submit(double, plan=plan, customer_id="acme"))
    assert walk(double, context()) == {"unfinished": 1}
    assert walk(double, context())["recorded"] == 1


def test_times_with_a_z_and_empty_errors_are_understood(
    double: AssemblyAISandbox, context: MakeContext
) -> None:
    double.faults = Faults(unusual_items=1.0)
    submit(double, customer_id="acme")
    assert walk(double, context())["recorded"] == 1


def test_foreign_jobs_are_remembered_only_as_long_as_the_list_shows_them(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    identity = submit(double, "https://staging.example/other", customer_id="theirs")
    walk(double, context())
    assert [(w.provider_id, w.state) for w in journal.watched("transcripts")] == [
        (identity, "foreign")
    ]
    for _ in range(2):
        clock.advance(days=2)
        walk(double, context())
    assert journal.watched("transcripts") == []
