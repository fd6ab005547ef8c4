"""200 jobs of the real SDK on a bad day, and every one of them ends where it belongs."""

import json
from collections import Counter

import pytest

from acceptance import books
from acceptance.process import API_KEY, HEADER, HOOK, SECRET, Meter, pipelines, wait_until
from meter.sandbox.customers import submit_jobs
from meter.sandbox.documents import SPOKEN_TEXT
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults
from meter.sandbox.jobs import Truth
from meter.sandbox.webhooks import WebhookRules

pytestmark = pytest.mark.acceptance

JOBS = 200
BAD_DAY = Faults(
    failed_jobs=0.15,
    webhook_lost=0.15,
    webhook_twice=0.2,
    webhook_early=0.05,
    webhook_early_seconds=0.2,
    duration_fractional=0.1,
    unknown_model=0.05,
    unusual_items=0.2,
    get_server_error=0.02,
    get_malformed=0.01,
)
RULES = WebhookRules(retry_wait=0.3)


def test_each_completed_job_is_billed_once_and_nothing_else_is(meter: Meter) -> None:
    with AssemblyAISandbox(faults=BAD_DAY, rules=RULES, latency=0.3, seed=11) as double:
        meter.configure(pipelines(double.base_url, every="1s")).start()
        submitted = submit_jobs(
            base_url=double.base_url,
            api_key=API_KEY,
            webhook_url=meter.url + HOOK,
            secret_header=HEADER,
            secret=SECRET,
            jobs=JOBS,
            seed=11,
            on_progress=lambda _done, _total: None,
        )
        wait_until(lambda: at_rest(meter, double), seconds=60, showing=lambda: meter.status()[1])
        truth = double.truth()
        code, status = meter.status()
        assert meter.stop() == 0

    outcomes = Counter(row.status for row in truth)
    lost = [row for row in truth if not row.attempts]
    assert outcomes["error"] > 10
    assert len([row for row in lost if row.seconds is not None]) > 10

    expected = books.billed(truth)
    assert len(expected) == outcomes["completed"]
    assert books.in_sqlite(meter.folder / "usage.db") == expected
    assert books.in_csv(meter.folder / "exports") == expected
    whose = {job.transcript_id: (job.customer_id, job.project_id) for job in submitted}
    assert {f"assemblyai:transcript:{i}": who for i, who in whose.items()}.items() >= {
        (row.event_id, (row.customer_id, project(row))) for row in expected
    }

    journal = meter.folder / "meter.db"
    failed = books.rows(journal, "SELECT event_id FROM usage_events WHERE kind = 'async_failed'")
    assert {event_id for (event_id,) in failed} == {
        f"assemblyai:transcript:{row.transcript_id}:failed"
        for row in truth
        if row.status == "error"
    }

    assert code == 0
    assert status["events"] == {
        "async_completed": outcomes["completed"],
        "async_failed": outcomes["error"],
    }
    assert sum(status["receipts"].values()) == len(answered(truth))
    assert not status["quarantined"]
    for balance in status["balances"]:
        assert balance["balances"]
        assert (balance["recorded"], balance["delivered"], balance["filtered"]) == (
            JOBS,
            outcomes["completed"],
            outcomes["error"],
        )
    assert kept_of(meter, SPOKEN_TEXT, "https://recordings.example/", API_KEY, SECRET) == []


def at_rest(meter: Meter, double: AssemblyAISandbox) -> bool:
    """Tell whether all is delivered, and every acknowledged webhook is one receipt."""
    _, status = meter.status()
    return (
        sum(status["events"].values()) == JOBS
        and sum(status["receipts"].values()) == len(answered(double.truth()))
        and not status["receipts"].get("open")
        and not any(b["pending"] or b["retrying"] for b in status["balances"])
    )


def answered(truth: list[Truth]) -> list[int]:
    codes = [attempt.status_code for row in truth for attempt in row.attempts]
    assert set(codes) == {200}
    return [code for code in codes if code is not None]


def project(row: books.Usage) -> str:
    return str(json.loads(row.dimensions)["project_id"])


def kept_of(meter: Meter, *texts: str) -> list[tuple[str, str]]:
    """Name each file that holds one of the texts, with the text."""
    files = [path for path in meter.folder.rglob("*") if path.is_file()]
    assert {"meter.db", "usage.db", "run.log"} <= {path.name for path in files}
    return [(p.name, text) for p in files for text in texts if text.encode() in p.read_bytes()]
