"""AssemblyAI's list against the journal: what is asked for, what is left out, and what waits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meter.journal import NewReceipt, Watched
from meter.reports.reconciling import Window
from meter.sandbox.faults import Answer
from reports.reconcile_site import KEY, Site, site
from support.facts import completed, failed

T = "assemblyai:transcript:"
LIST = "transcripts"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with site(tmp_path) as ready:
        yield ready


def compared(made: Site, **asked: Any) -> tuple[set[tuple[str, str, str]], Any]:
    found = made.reconcile(collectors=(LIST,), **asked)
    told = {(what, field, event_id) for _, what, field, event_id in found.told}
    return told, found.sides[LIST]


def ago(made: Site, **span: float) -> datetime:
    return made.clock.now() - timedelta(**span)


def asked_for(made: Site) -> int:
    """Return how many answers about single jobs were planned and are used up."""
    return sum(not job.answers for job in made.store._jobs.values())


def test_a_job_that_agrees_is_not_asked_for_unless_somebody_wants_its_seconds(made: Site) -> None:
    made.record([made.transcript(ago(made, hours=5), "acme", 60)])
    (job,) = made.store._jobs.values()
    job.answers.append(Answer())
    assert compared(made)[0] == set()
    assert asked_for(made) == 0
    told, side = compared(made, every=True)
    assert told == set()
    assert asked_for(made) == 1
    assert (side.entries, side.seconds) == (1, 60)


def test_what_is_older_than_the_list_is_not_accused(made: Site) -> None:
    old, lost = (
        completed(name, occurred_at=ago(made, days=days), recorded_at=ago(made, days=days))
        for name, days in (("old", 91), ("lost", 89))
    )
    made.record([old, lost])
    told, side = compared(made)
    assert told == {("missing_there", "", lost.event_id)}
    assert side.left_out == {"older than the list, 90 days": 1}


def test_a_job_belongs_to_the_time_at_which_it_was_done(made: Site) -> None:
    border = ago(made, hours=30)
    before = made.job(border - timedelta(minutes=1), "acme", 60)
    after = made.job(border + timedelta(minutes=1), "acme", 60)  # submitted before
    for window, job in ((Window(border), after), (Window(None, border), before)):
        assert compared(made, window=window)[0] == {("missing_here", "", T + job.transcript_id)}


def test_a_job_that_took_long_is_found_behind_those_submitted_after_it(made: Site) -> None:
    border = ago(made, hours=30)
    slow = made.job(border - timedelta(hours=1), "acme", 60)
    for _ in range(200):  # a whole page of the list
        made.job(border - timedelta(minutes=30), "acme", 60)
    slow.completed = border + timedelta(minutes=1)
    assert compared(made, window=Window(border))[0] == {
        ("missing_here", "", T + slow.transcript_id)
    }


def test_an_event_of_another_time_than_the_lists_is_looked_up(made: Site) -> None:
    job = made.job(ago(made, hours=30), "acme", 60)
    late = completed(job.transcript_id, occurred_at=ago(made, hours=10), seconds=Decimal(60))
    made.record([late])  # its webhook came when the outage was over
    for window in (Window(ago(made, hours=20)), Window(None, ago(made, hours=20))):
        assert compared(made, window=window)[0] == set()


def test_an_event_of_another_collector_is_no_jobs_loss(made: Site) -> None:
    imported = completed("imported", collector="apps", occurred_at=ago(made, hours=9))
    made.record([imported])
    assert compared(made)[0] == set()
    found = made.reconcile()
    assert found.sides["journal"].left_out == {"of the collector apps, which has no list": 1}


def test_a_job_whose_webhook_is_received_is_on_its_way(made: Site) -> None:
    job = made.job(ago(made, hours=9), "acme", 60)
    assert len(compared(made)[0]) == 1
    fields = msgspec.json.encode({"transcript_id": job.transcript_id, "status": "completed"})
    receipt = NewReceipt(LIST, made.clock.now(), "customer_id=acme", fields.decode())
    made.journal.add_receipt(receipt).wait()
    told, side = compared(made)
    assert told == set()
    assert side.in_flight == {"its webhook is under way": 1}


def test_jobs_of_others_are_not_asked_for_again_once_backfill_knows_them(made: Site) -> None:
    job = made.job(ago(made, hours=9), "acme", 60, hook="https://else.example/?customer_id=")
    job.answers.extend([Answer(), Answer()])
    for _ in range(2):
        assert compared(made)[1].left_out == {"jobs of others": 1}
    assert not job.answers
    cursor = {"began": made.clock.now().isoformat(), "ours": ["/webhooks/assemblyai", None]}
    made.journal.set_cursor(LIST, msgspec.json.encode(cursor).decode()).wait()
    seen = [Watched(job.transcript_id, "foreign", job.created)]
    made.journal.watch(LIST, seen, []).wait()
    job.answers.append(Answer())
    assert compared(made)[1].left_out == {"jobs of others": 1}
    assert job.answers


def test_a_job_that_cannot_be_asked_for_leaves_the_comparison_undone(made: Site) -> None:
    good, bad = (made.job(ago(made, hours=9), "acme", 60) for _ in range(2))
    bad.answers.append(Answer(malformed=True))
    told, side = compared(made)
    assert told == {("missing_here", "", T + good.transcript_id)}
    assert side.state == "failed"
    assert side.reason.startswith("1 of 2 jobs could not be asked for")


def test_a_limit_is_waited_for(made: Site) -> None:
    job = made.job(ago(made, hours=9), "acme", 60)
    job.answers.append(Answer(status_code=429, retry_after_seconds=0))
    assert compared(made)[0] == {("missing_here", "", T + job.transcript_id)}


def test_a_late_truth_that_is_taken_back_is_found(made: Site) -> None:
    event = made.transcript(ago(made, hours=9), "acme", 60)
    failure = failed(event.provider_id, occurred_at=event.occurred_at)
    made.record([failure, event])
    assert compared(made)[0] == set()
    made.store._jobs[event.provider_id].status = "error"
    assert compared(made)[0] == {("differs", "status", event.event_id)}


def test_a_refused_key_is_said_to_be_refused(made: Site) -> None:
    made.config.collectors[LIST].options.api_key._secret_value = f"{KEY}-of-another"
    told, side = compared(made)
    assert (told, side.state) == (set(), "failed")
    assert "AssemblyAI answered 401: check api_key" in side.reason
