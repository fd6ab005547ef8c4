"""Somebody who has only the commands clears each kind of trouble beside a running meter."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from acceptance import books
from acceptance.process import API_KEY, HEADER, HOOK, SECRET, Meter, pipelines, wait_until
from meter.clock import SystemClock
from meter.journal import Quarantined, open_journal
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import JobPlan

pytestmark = pytest.mark.acceptance

T = "assemblyai:transcript:"


@pytest.fixture
def double() -> Iterator[AssemblyAISandbox]:
    with AssemblyAISandbox(latency=0) as running:
        yield running


@pytest.fixture
def meter(tmp_path: Path, double: AssemblyAISandbox) -> Iterator[Meter]:
    meter = Meter(tmp_path / "site").configure(pipelines(double.base_url))
    meter.start()
    yield meter
    meter.kill()


def submit(double: AssemblyAISandbox, meter: Meter, query: str, seconds: int) -> str:
    double.plan_next(JobPlan(status="completed", audio_duration=seconds))
    answer = httpx.post(
        f"{double.base_url}/v2/transcript",
        headers={"authorization": API_KEY},
        json={
            "audio_url": "https://recordings.example/private.mp3",
            "webhook_url": f"{meter.url}{HOOK}{query}",
            "webhook_auth_header_name": HEADER,
            "webhook_auth_header_value": SECRET,
            "speaker_labels": True,
        },
        trust_env=False,
    )
    return str(answer.raise_for_status().json()["id"])


def listed(meter: Meter, *arguments: str) -> Any:
    done = meter.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(meter: Meter) -> dict[str, tuple[str, str]]:
    if not (meter.folder / "usage.db").exists():
        return {}
    found = books.rows(
        meter.folder / "usage.db", "SELECT provider_id, customer_id, seconds FROM usage"
    )
    return {name: (customer, str(seconds)) for name, customer, seconds in found}


def test_a_job_without_a_customer_is_assigned_and_one_that_was_not_there_is_asked_for_again(
    meter: Meter, double: AssemblyAISandbox
) -> None:
    nobodys = submit(double, meter, "?order=9", 61)
    wait_until(lambda: listed(meter, "quarantine", "list"))
    (entry,) = listed(meter, "quarantine", "list")
    assert (entry["what"], entry["provider_id"], entry["can_assign"]) == ("job", nobodys, True)

    # As the resolver leaves it after half an hour of 404: the key was another project's.
    late = submit(double, meter, "?customer_id=globex", 7)
    wait_until(lambda: late in rows(meter))
    lost = submit(double, meter, "", 8)
    wait_until(lambda: len(listed(meter, "quarantine", "list")) == 2)
    journal = open_journal(str(meter.folder / "meter.db"), SystemClock())
    (first,) = journal.aside.entries(provider_id=lost, limit=1)
    journal.aside.discard(first.id, SystemClock().now(), act("a test makes room")).wait()
    payload = {
        "query": "customer_id=initech",
        "received_at": datetime.now(UTC).isoformat(),
        "transcript_id": lost,
        "status": "completed",
    }
    item = Quarantined(
        "transcripts",
        f"transcript:{lost}:customer_id=initech",
        "404: no such transcript, after 16 attempts",
        json.dumps(payload),
        provider_id=lost,
        fetched=False,
    )
    journal.quarantine([item]).wait()
    journal.close()

    told = meter.command("quarantine", "assign", nobodys, "--customer", "acme", "--reason", "asked")
    assert told.stdout == f"{entry['id']}: {T}{nobodys}, for acme\n", told.stderr
    (asked,) = listed(meter, "quarantine", "list")
    told = meter.command("quarantine", "retry", str(asked["id"]))
    assert told.stdout.endswith("the running `meter run` does it within seconds\n"), told.stderr
    wait_until(lambda: {nobodys, lost} <= rows(meter).keys(), showing=lambda: rows(meter))
    assert rows(meter) == {
        nobodys: ("acme", "61"),
        late: ("globex", "7"),
        lost: ("initech", "8"),
    }
    assert listed(meter, "quarantine", "list") == []
    event = listed(meter, "events", f"{T}{nobodys}")
    assert event["event"]["features"] == ["speaker_labels"]
    assert event["event"]["dimensions"] == {"order": "9"}
    assert [receipt["outcome"] for receipt in event["receipts"]] == ["quarantined"]
    assert [(a["what"], a["reason"]) for a in event["acts"]] == [("assign", "asked")]
    code, status = meter.status()
    assert code == 0
    assert all(balance["balances"] for balance in status["balances"])
    assert meter.stop() == 0
    assert API_KEY not in meter.log.read_text()


def act(reason: str) -> Any:
    from meter.journal import NewAct

    return NewAct("a@test", reason)
