"""Simulated customers come through the real SDK with their ids unharmed."""

from urllib.parse import parse_qs, urlsplit

import assemblyai as aai
import pytest

from meter.sandbox.customers import CUSTOMERS, Submitted, submit_jobs
from meter.sandbox.double import AssemblyAISandbox
from sandbox.conftest import FAST
from sandbox.receiver import Receiver, eventually


def submit(base_url: str, webhook_url: str, jobs: int, seed: int = 5) -> list[Submitted]:
    return submit_jobs(
        base_url=base_url,
        api_key="k",
        webhook_url=webhook_url,
        secret_header="X-Meter-Secret",
        secret="s3cret",
        jobs=jobs,
        seed=seed,
        on_progress=lambda _done, _total: None,
    )


def test_there_are_ten_customers_and_some_have_awkward_ids() -> None:
    ids = [customer.customer_id for customer in CUSTOMERS]
    assert len(set(ids)) == len(ids) == 10
    for awkward in (" ", "+", "&"):
        assert any(awkward in customer_id for customer_id in ids)
    assert not all(customer_id.isascii() for customer_id in ids)


def test_every_job_arrives_with_its_customer_and_its_secret(receiver: Receiver) -> None:
    progress: list[tuple[int, int]] = []
    before = aai.settings.dict()
    with AssemblyAISandbox(latency=0.01, rules=FAST) as double:
        submitted = submit_jobs(
            base_url=double.base_url,
            api_key="k",
            webhook_url=f"{receiver.url}?env=test",
            secret_header="X-Meter-Secret",
            secret="s3cret",
            jobs=60,
            seed=5,
            on_progress=lambda done, total: progress.append((done, total)),
        )
        eventually(lambda: all(row.attempts for row in double.truth()))
        kinds = {"transcript", "redacted_audio"}
        eventually(lambda: {a.kind for row in double.truth() for a in row.attempts} == kinds)
        # An attempt that timed out is one as well: the next one brings it.
        ids = {job.transcript_id for job in submitted}
        eventually(
            lambda: ids <= {request.body.get("transcript_id") for request in receiver.received}
        )
        rows = {row.transcript_id: row for row in double.truth()}
    assert progress == [(done, 60) for done in range(1, 61)]
    assert aai.settings.dict() == before
    assert {job.transcript_id for job in submitted} == set(rows)
    assert {job.customer_id for job in submitted} == {c.customer_id for c in CUSTOMERS}
    customers = {customer.customer_id: customer for customer in CUSTOMERS}
    for job in submitted:
        assert job.project_id in customers[job.customer_id].project_ids
        assert rows[job.transcript_id].webhook_url == job.webhook_url
        assert parse_qs(urlsplit(job.webhook_url).query) == {
            "env": ["test"],
            "customer_id": [job.customer_id],
            "project_id": [job.project_id],
        }
    delivered = {
        request.body["transcript_id"]: request
        for request in receiver.received
        if "transcript_id" in request.body
    }
    assert {request.headers["x-meter-secret"] for request in receiver.received} == {"s3cret"}
    for job in submitted:
        path = delivered[job.transcript_id].path
        assert parse_qs(urlsplit(path).query)["customer_id"] == [job.customer_id]


def test_a_seed_repeats_the_whole_run() -> None:
    runs = []
    for seed in (5, 5, 6):
        with AssemblyAISandbox(latency=0, rules=FAST) as double:
            submitted = submit(double.base_url, "http://127.0.0.1:9/hook", 40, seed)
            eventually(lambda: all(row.seconds for row in double.truth()))
            seconds = {row.transcript_id: row.seconds for row in double.truth()}
        runs.append([(job, seconds[job.transcript_id]) for job in submitted])
    assert runs[0] == runs[1] != runs[2]


def test_a_refused_submission_is_raised() -> None:
    with (
        AssemblyAISandbox(keys={"another"}) as double,
        pytest.raises(aai.TranscriptError, match="Authentication error"),
    ):
        submit(double.base_url, "http://127.0.0.1:9/hook", 3)
