"""An outage longer than AssemblyAI's retries: backfill brings in what no webhook told us."""

from collections.abc import Iterator

import httpx
import pytest

from acceptance import books
from acceptance.process import API_KEY, HOOK, Meter, pipelines, wait_until
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults, JobPlan

pytestmark = pytest.mark.acceptance

OURS = f"http://meter.example.com{HOOK}"
THEIRS = "http://staging.example.com/hooks/another"
NO_WEBHOOK = JobPlan(webhook_copies=0, latency_seconds=0)


@pytest.fixture
def double() -> Iterator[AssemblyAISandbox]:
    with AssemblyAISandbox(latency=0, faults=Faults(webhook_lost=1)) as double:
        yield double


@pytest.fixture
def api(double: AssemblyAISandbox) -> Iterator[httpx.Client]:
    headers = {"authorization": API_KEY}
    with httpx.Client(base_url=double.base_url, headers=headers, trust_env=False) as api:
        yield api


def submit(api: httpx.Client, url: str) -> str:
    body = {"audio_url": "https://recordings.example/a.mp3", "webhook_url": url}
    return str(api.post("/v2/transcript", json=body).raise_for_status().json()["id"])


def delete(api: httpx.Client, transcript_id: str) -> None:
    """Delete a job as soon as it is done: AssemblyAI refuses it before."""
    address = f"/v2/transcript/{transcript_id}"
    wait_until(lambda: api.delete(address).status_code == httpx.codes.OK)


def test_one_walk_over_many_pages_brings_in_all_that_is_ours(
    meter: Meter, double: AssemblyAISandbox, api: httpx.Client
) -> None:
    for number in range(450):
        if number % 9 == 0:
            double.plan_next(JobPlan(webhook_copies=0, latency_seconds=0, status="error"))
        submit(api, f"{THEIRS if number % 5 == 0 else OURS}?customer_id=c{number % 7}&project_id=p")
    double.plan_next(NO_WEBHOOK)
    deleted = submit(api, f"{OURS}?customer_id=gone")
    double.finish(deleted)
    delete(api, deleted)
    double.plan_next(JobPlan(webhook_copies=0, latency_seconds=3600))
    unfinished = submit(api, f"{OURS}?customer_id=late")

    meter.configure(pipelines(double.base_url))
    done = meter.once()
    assert done.returncode == 1, done.stderr
    assert "1 more in quarantine" in done.stderr
    ours = [row for row in double.truth() if row.webhook_url and row.webhook_url.startswith(OURS)]
    expected = books.billed(row for row in ours if not row.deleted)
    assert len(expected) > 300
    assert books.in_sqlite(meter.folder / "usage.db") == expected
    assert books.in_csv(meter.folder / "exports") == expected
    _, status = meter.status()
    assert status["quarantined"] == {"transcripts": 1}
    assert status["events"]["async_failed"] == sum(row.status == "error" for row in ours)

    double.finish(unfinished)
    shown = f"/v2/transcript/{unfinished}"
    wait_until(lambda: api.get(shown).json()["status"] == "completed")
    assert meter.once().returncode == 0
    ours = [row for row in double.truth() if row.webhook_url and row.webhook_url.startswith(OURS)]
    expected = books.billed(row for row in ours if not row.deleted)
    assert unfinished in {row.event_id.rsplit(":", 1)[1] for row in expected}
    assert books.in_sqlite(meter.folder / "usage.db") == expected
    assert books.in_csv(meter.folder / "exports") == expected


def test_a_deleted_job_is_billed_when_its_webhook_still_names_the_customer(
    meter: Meter, double: AssemblyAISandbox, api: httpx.Client
) -> None:
    meter.configure(pipelines(double.base_url, lookback="1s")).start()
    deleted = submit(api, f"{OURS}?customer_id=acme")
    delete(api, deleted)
    body = {"transcript_id": deleted, "status": "completed"}
    assert meter.post("customer_id=acme", body).status_code == 200
    assert meter.stop() == 0
    assert meter.once().returncode == 0
    expected = books.billed(double.truth())
    assert len(expected) == 1
    assert books.in_sqlite(meter.folder / "usage.db") == expected


@pytest.mark.parametrize(
    "faults",
    [Faults(get_rate_limited=1), Faults(get_server_error=1), Faults(get_malformed=1)],
    ids=["429", "5xx", "malformed"],
)
def test_a_list_that_cannot_be_read_exits_1_says_so_and_is_walked_next_time(
    meter: Meter, double: AssemblyAISandbox, api: httpx.Client, faults: Faults
) -> None:
    submit(api, f"{OURS}?customer_id=acme")
    double.faults = faults
    meter.configure(pipelines(double.base_url))
    done = meter.once()
    assert done.returncode == 1
    assert "collector transcripts: backfill" in done.stderr
    assert "Traceback" not in done.stderr

    double.faults = Faults()
    assert meter.once().returncode == 0
    assert books.in_sqlite(meter.folder / "usage.db") == books.billed(double.truth())
    assert not meter.status()[1]["collectors"]
