"""A window of the transcript list by hand: walked once, resumed anywhere, beside the automatic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from collectors.conftest import MakeContext
from collectors.test_backfill import HOOK, customers, walk
from collectors.test_backfill import submit as submitted
from meter.collectors.assemblyai_client import Api, Malformed, Refused, Unavailable
from meter.collectors.interface import CollectorContext
from meter.collectors.jobs import OurJobs
from meter.collectors.window import Found, Patient, Told, Window, WindowWalk
from meter.journal import Journal
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Answer, Faults, JobPlan
from support.clocks import FakeClock
from support.waiting import eventually


class Interrupted(BaseException):
    """Ctrl-C, at the worst moment."""


def submit(double: AssemblyAISandbox, *given: Any, **more: Any) -> str:
    """Submit a job, and wait until it is done: the clock may move then."""
    identity = submitted(double, *given, **more)
    if "plan" not in more:
        eventually(lambda: double.truth()[-1].status == "completed")
    return identity


def submit_many(double: AssemblyAISandbox, count: int) -> None:
    """Submit jobs over one connection, and wait until they are done."""
    plan = JobPlan(status="completed", audio_duration=60, webhook_copies=0, latency_seconds=0)
    body = {"audio_url": "https://audio.example/a.mp3", "webhook_url": f"{HOOK}?customer_id=acme"}
    with httpx.Client(trust_env=False, headers={"authorization": "key"}) as client:
        for _ in range(count):
            double.plan_next(plan)
            client.post(f"{double.base_url}/v2/transcript", json=body).raise_for_status()
    eventually(lambda: all(t.status == "completed" for t in double.truth()))


def finish(double: AssemblyAISandbox, identity: str) -> None:
    double.finish(identity)
    eventually(
        lambda: {t.transcript_id: t.status for t in double.truth()}[identity] != "processing"
    )


def by_hand(
    double: AssemblyAISandbox,
    context: CollectorContext,
    window: Window,
    *,
    path: str = "/hook",
    tell: Callable[[Told], None] = lambda _told: None,
    waiting: Callable[[float, str], None] = lambda _seconds, _why: None,
    **how: Any,
) -> Found:
    async def run() -> Found:
        api = Api(SecretStr("key"), double.base_url)
        ours = OurJobs(path, None)
        try:
            return await WindowWalk(api, context, ours, window, tell=tell, waiting=waiting).run(
                **how
            )
        finally:
            await api.close()

    return asyncio.run(run())


def test_a_window_takes_its_own_jobs_however_long_ago_and_nothing_else(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    start = clock.now()
    for day in range(6):
        submit(double, customer_id=f"day-{day}")
        clock.advance(days=1)
    clock.advance(days=30)
    window = Window(start + timedelta(days=2), start + timedelta(days=4))
    assert by_hand(double, context(), window) == Found(walked=2, recorded=2)
    assert customers(journal) == {"day-2": 1, "day-3": 1}
    assert by_hand(double, context(), window) == Found(walked=2, known=2)
    assert by_hand(double, context(), Window(start)) == Found(walked=6, known=2, recorded=4)


def test_a_job_that_was_submitted_before_the_window_and_done_within_it_is_taken(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    identity = submit(double, plan=JobPlan(latency_seconds=10**7), customer_id="over-midnight")
    clock.advance(hours=2)
    midnight = clock.now()
    finish(double, identity)
    clock.advance(hours=2)
    assert by_hand(double, context(), Window(midnight)).recorded == 1
    assert customers(journal) == {"over-midnight": 1}


def test_such_a_job_is_found_on_a_page_that_lies_before_the_window(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    slow = submit(double, plan=JobPlan(latency_seconds=10**7), customer_id="over-midnight")
    clock.advance(minutes=1)
    submit(double, customer_id="before midnight")
    clock.advance(hours=2)
    midnight = clock.now()
    finish(double, slow)
    submit_many(double, 199)
    clock.advance(hours=2)
    assert by_hand(double, context(), Window(midnight)).recorded == 200
    assert customers(journal) == {"acme": 199, "over-midnight": 1}


def test_the_automatic_walk_goes_on_as_if_nobody_had_walked_by_hand(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    walk(double, context())
    cursor = journal.cursor("transcripts")
    start = clock.now()
    clock.advance(days=10)
    submit(double, customer_id="lost")
    late = submit(double, plan=JobPlan(latency_seconds=10**7), customer_id="late")
    clock.advance(days=10)
    last_days = Window(start + timedelta(days=15))
    assert by_hand(double, context(), last_days) == Found()
    assert journal.cursor("transcripts") == cursor
    assert by_hand(double, context(), Window(start)) == Found(walked=2, recorded=1, unfinished=1)
    assert journal.cursor("transcripts") == cursor
    finish(double, late)
    assert walk(double, context()) == {"known": 1, "recorded": 1}
    assert customers(journal) == {"lost": 1, "late": 1}


def test_an_interrupted_walk_goes_on_where_it_stopped_and_counts_as_one(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    start = clock.now()
    submit_many(double, 203)
    clock.advance(seconds=1)
    window = Window(start)
    seen: list[Told] = []

    def stop_after_a_page(told: Told) -> None:
        seen.append(told)
        if told.found.walked:
            raise Interrupted

    with pytest.raises(Interrupted):
        by_hand(double, context(), window, tell=stop_after_a_page)
    assert (seen[-1].found.walked, customers(journal)["acme"]) == (200, 200)
    clock.advance(hours=1)
    submit(double, customer_id="after the first run")
    resumed: list[Told] = []
    assert by_hand(double, context(), window, tell=resumed.append) == Found(
        walked=203, recorded=203
    )
    assert resumed[0].resumed
    assert resumed[0].until == seen[0].until
    assert customers(journal) == {"acme": 203}
    again: list[Told] = []
    assert by_hand(double, context(), window, tell=again.append).known == 203
    assert not again[0].resumed, "a walk that came to its end begins anew"


def test_another_window_another_rule_and_restart_begin_anew(
    double: AssemblyAISandbox, context: MakeContext, clock: FakeClock
) -> None:
    start = clock.now()
    submit_many(double, 201)
    clock.advance(seconds=1)
    window = Window(start)

    def stop(told: Told) -> None:
        if told.found.walked:
            raise Interrupted

    def resumed(window: Window, **how: Any) -> bool:
        told: list[Told] = []

        def tell(so_far: Told) -> None:
            told.append(so_far)
            stop(so_far)

        with suppress(Interrupted):
            by_hand(double, context(), window, tell=tell, **how)
        return told[0].resumed

    assert not resumed(window)
    assert not resumed(Window(start - timedelta(days=1)))
    assert not resumed(window, path="/other")
    assert not resumed(window, path="/other", restart=True)
    assert by_hand(double, context(), window, path="/other").walked == 201


def test_where_it_stopped_may_be_gone_and_it_says_what_to_do(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    start = clock.now()
    submit_many(double, 201)
    clock.advance(seconds=1)

    def stop(told: Told) -> None:
        if told.found.walked:
            raise Interrupted

    with pytest.raises(Interrupted):
        by_hand(double, context(), Window(start), tell=stop)
    name = f"backfill:transcripts:{Window(start).name}"
    words = journal.bookmarks.get(name)
    assert words is not None
    before = words.split('"before":"')[1].split('"')[0]
    journal.bookmarks.put(name, words.replace(before, "of-another-project")).wait()
    with pytest.raises(Malformed, match="--restart begins anew"):
        by_hand(double, context(), Window(start))
    assert by_hand(double, context(), Window(start), restart=True).walked == 201


def test_a_rate_limit_is_waited_out_as_it_asks_and_told(
    double: AssemblyAISandbox, context: MakeContext, clock: FakeClock
) -> None:
    submit(double, customer_id="acme")
    double.faults = Faults(get_rate_limited=1.0, retry_after_seconds=1)
    waits: list[tuple[float, str]] = []

    def waiting(seconds: float, why: str) -> None:
        waits.append((seconds, why))
        double.faults = Faults()

    window = Window(clock.now() - timedelta(hours=1), clock.now() + timedelta(hours=1))
    assert by_hand(double, context(), window, waiting=waiting).recorded == 1
    assert waits == [(1.0, "AssemblyAI answered 429")]


def test_it_waits_as_long_as_it_is_asked_to_and_whoever_asks_meanwhile_too() -> None:
    slept: list[float] = []
    answers = [Unavailable("429", 60.0), Unavailable("no answer"), Unavailable("500", 0.0)]

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds))

    async def ask() -> str:
        if answers:
            raise answers.pop(0)
        return "answered"

    async def run() -> list[str]:
        told: list[float] = []
        patient = Patient(lambda seconds, _why: told.append(seconds), sleep)
        first = await patient(ask)
        assert told == [60.0], "a shorter wait than the one under way is none"
        return [first, await patient(ask)]

    assert asyncio.run(run()) == ["answered", "answered"]
    assert slept[:2] == [0, 60]
    assert slept[-1] == 60, "the limit is one for all"


def test_a_list_that_only_ever_asks_to_wait_is_given_up() -> None:
    async def sleep(_seconds: float) -> None:
        pass

    async def ask() -> str:
        raise Unavailable("AssemblyAI answered 429", 1.0)

    with pytest.raises(Unavailable):
        asyncio.run(Patient(lambda _seconds, _why: None, sleep)(ask))


def test_a_refused_key_ends_it_at_once_and_a_list_without_answer_soon(
    context: MakeContext, clock: FakeClock, double: AssemblyAISandbox
) -> None:
    window = Window(clock.now() - timedelta(hours=1), clock.now() + timedelta(hours=1))
    with (
        AssemblyAISandbox(latency=0, keys=["another"], now=clock.now) as strict,
        pytest.raises(Refused, match="check api_key"),
    ):
        by_hand(strict, context(), window)
    plan = JobPlan(
        status="completed", audio_duration=1, webhook_copies=0, answers=(Answer(status_code=401),)
    )
    finish(double, submit(double, plan=plan, customer_id="acme"))
    with pytest.raises(Refused):
        by_hand(double, context(), window)
    double.faults = Faults(get_server_error=1.0)
    with pytest.raises(Unavailable):
        by_hand(double, context(), window)
    double.faults = Faults()
    assert by_hand(double, context(), window).recorded == 1


def test_every_job_is_counted_in_one_place(
    double: AssemblyAISandbox, context: MakeContext, journal: Journal, clock: FakeClock
) -> None:
    start = clock.now()
    submit(double, customer_id="known")
    walk(double, context())
    submit(double, customer_id="new")
    failing = JobPlan(status="error", error="no audio", webhook_copies=0)
    finish(double, submit(double, plan=failing, customer_id="failing"))
    submit(double)
    submit(double, "https://staging.example/other", customer_id="theirs")
    submit(double, plan=JobPlan(latency_seconds=10**7), customer_id="late")
    sick = JobPlan(
        status="completed", audio_duration=7, webhook_copies=0, answers=(Answer(malformed=True),)
    )
    finish(double, submit(double, plan=sick, customer_id="sick"))
    clock.advance(seconds=1)
    tried = by_hand(double, context(), Window(start), dry_run=True)
    assert tried == Found(walked=7, known=1, unfinished=1, wanted=5)
    assert customers(journal) == {"known": 1}, "a dry run records nothing"
    found = by_hand(double, context(), Window(start))
    assert found == Found(
        walked=7,
        known=1,
        recorded=2,
        failed_jobs=1,
        quarantined=1,
        foreign=1,
        unfinished=1,
        unanswered=1,
    )
    assert {w.state for w in journal.watched("transcripts")} == {"unfinished"}
    assert journal.totals().foreign == {}, "what is not ours, the walk at an interval remembers"
