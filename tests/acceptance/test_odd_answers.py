"""Whatever AssemblyAI answers to a fetch, each webhook ends in exactly one counted place."""

import dataclasses
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from acceptance import books
from acceptance.process import API_KEY, HEADER, HOOK, SECRET, Meter, pipelines, wait_until
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Answer, JobPlan
from meter.sandbox.webhooks import WebhookRules

pytestmark = pytest.mark.acceptance

FOR_EVER = 1000
"""More answers than a test can ask for."""
AUDIO = "https://recordings.example/private.mp3"


@dataclasses.dataclass(frozen=True)
class Case:
    """A job that AssemblyAI answers oddly, and the place that it must end in."""

    name: str
    plan: JobPlan
    place: str
    detail: str


def event(name: str, plan: JobPlan, seconds: str) -> Case:
    return Case(name, plan, "event", seconds)


def waits(name: str, reason: str, answer: Answer) -> Case:
    return Case(name, JobPlan(audio_duration=60, answers=(answer,) * FOR_EVER), "open", reason)


def aside(name: str, reason: str, **fields: Any) -> Case:
    answers = (Answer(fields=fields),) * FOR_EVER
    return Case(name, JobPlan(audio_duration=60, answers=answers), "quarantine", reason)


def after(*answers: Answer) -> JobPlan:
    return JobPlan(audio_duration=60, answers=answers)


CASES = (
    event("no fault at all", JobPlan(audio_duration=61), "61"),
    event("zero seconds", JobPlan(audio_duration=0), "0"),
    event("a fraction", JobPlan(audio_duration=Decimal("12.345")), "12.345"),
    event("nine decimals", JobPlan(audio_duration=Decimal("0.123456789")), "0.123456789"),
    event("more decimals", JobPlan(audio_duration=Decimal("1.0000000005")), "1"),
    event("a trailing zero", JobPlan(audio_duration=Decimal("7.10")), "7.1"),
    event("the longest", JobPlan(audio_duration=10**7), "10000000"),
    event("unknown model", JobPlan(audio_duration=5, speech_model_used="universal-99"), "5"),
    event("no model", after(Answer(fields={"speech_model_used": None})), "60"),
    event("a model of another type", after(Answer(fields={"speech_model_used": {"a": 1}})), "60"),
    event("an unknown field", after(Answer(fields={"billing": {"tier": [1, None]}})), "60"),
    event("no such list of channels", after(Answer(fields={"audio_channels": "two"})), "60"),
    event("429", after(Answer(status_code=429, retry_after_seconds=1)), "60"),
    event("500, then 503", after(Answer(status_code=500), Answer(status_code=503)), "60"),
    event("malformed once", after(Answer(malformed=True)), "60"),
    event("an unknown status once", after(Answer(fields={"status": "paused"})), "60"),
    event("null once", after(Answer(fields={"audio_duration": None})), "60"),
    event("another transcript once", after(Answer(fields={"id": "somebody-else"})), "60"),
    event("an early webhook", JobPlan(audio_duration=8, webhook_lead_seconds=0.4), "8"),
    waits("500 for ever", "AssemblyAI answered 500", Answer(status_code=500)),
    waits("a teapot", "AssemblyAI answered 418", Answer(status_code=418)),
    waits("malformed for ever", "not a JSON object", Answer(malformed=True)),
    waits("null for ever", "audio_duration is null", Answer(fields={"audio_duration": None})),
    waits("paused for ever", "unknown transcript status", Answer(fields={"status": "paused"})),
    waits("a status that is no text", "unknown transcript", Answer(fields={"status": ["x"]})),
    waits("processing for ever", "is processing", Answer(fields={"status": "processing"})),
    aside("negative", "expected 0 or more", audio_duration=-60),
    aside("text", "expected a number", audio_duration="sixty"),
    aside("digits in quotes", "expected a number", audio_duration="60"),
    aside("a list", "expected a number", audio_duration=[60]),
    aside("true", "expected a number", audio_duration=True),
    aside("too long", "expected at most", audio_duration=10**7 + 1),
    aside("absurdly long", "expected at most", audio_duration=Decimal("1e400")),
    aside(
        "another customer",
        "different customers",
        webhook_url="http://127.0.0.1/webhooks/assemblyai?customer_id=somebody-else",
    ),
    Case(
        "a failure that names the audio",
        JobPlan(status="error", error=f"Download error, unable to download {AUDIO}"),
        "failed",
        "Download error, unable to download [address removed]",
    ),
)


@pytest.fixture
def double() -> Iterator[AssemblyAISandbox]:
    with AssemblyAISandbox(latency=0, rules=WebhookRules(retry_wait=0.2)) as double:
        yield double


def submit(double: AssemblyAISandbox, meter: Meter, plan: JobPlan) -> str:
    double.plan_next(plan)
    answer = httpx.post(
        f"{double.base_url}/v2/transcript",
        json={
            "audio_url": AUDIO,
            "webhook_url": f"{meter.url}{HOOK}?customer_id=acme",
            "webhook_auth_header_name": HEADER,
            "webhook_auth_header_value": SECRET,
        },
        headers={"authorization": API_KEY},
        trust_env=False,
    )
    return str(answer.raise_for_status().json()["id"])


def places(journal: Path) -> dict[str, list[tuple[str, str]]]:
    """Return where each transcript stands, with the detail; more than one place is a fault."""
    found: dict[str, list[tuple[str, str]]] = {}
    for (body,) in books.rows(journal, "SELECT body FROM events"):
        known = json.loads(body, parse_float=Decimal)
        failed = known["kind"] == "async_failed"
        place = ("failed", known["error"]) if failed else ("event", str(known["seconds"]))
        found.setdefault(known["provider_id"], []).append(place)
    for provider_id, reason in books.rows(journal, "SELECT provider_id, reason FROM quarantine"):
        found.setdefault(provider_id, []).append(("quarantine", reason))
    tried = "SELECT fields, last_error FROM receipts WHERE state = 'open' AND attempts > 0"
    for fields, error in books.rows(journal, tried):
        found.setdefault(json.loads(fields)["transcript_id"], []).append(("open", error))
    return found


def test_each_odd_answer_ends_in_exactly_one_counted_place(
    meter: Meter, double: AssemblyAISandbox
) -> None:
    meter.configure(pipelines(double.base_url)).start()
    cases = {submit(double, meter, case.plan): case for case in CASES}
    journal = meter.folder / "meter.db"

    def astray() -> dict[str, object]:
        stands = places(journal)
        return {
            case.name: stands.get(i)
            for i, case in cases.items()
            if [place for place, _ in stands.get(i, [])] != [case.place]
        }

    wait_until(lambda: not astray(), showing=astray)
    stands = places(journal)
    for transcript_id, case in cases.items():
        ((_, detail),) = stands[transcript_id]
        exact = case.place in {"event", "failed"}
        assert detail == case.detail if exact else case.detail in detail, case.name

    expected = sorted(
        books.usage(i, "acme", case.detail) for i, case in cases.items() if case.place == "event"
    )
    wait_until(lambda: books.rows_delivered(meter.folder) == (len(expected),) * 2)
    code, status = meter.status()
    assert code == 0
    counted = {
        place: sum(case.place == place for case in CASES) for place in ("open", "quarantine")
    }
    assert status["receipts"] == {
        "recorded": len(CASES) - sum(counted.values()),
        "quarantined": counted["quarantine"],
        "open": counted["open"],
    }
    assert meter.stop() == 0
    assert books.in_sqlite(meter.folder / "usage.db") == expected
    assert books.in_csv(meter.folder / "exports") == expected
    assert not any("traceback" in line for line in meter.logs())
    for path in meter.folder.iterdir():
        assert not path.is_file() or AUDIO.encode() not in path.read_bytes(), path.name


def test_a_webhook_about_a_job_that_is_not_there_is_asked_for_again(
    meter: Meter, double: AssemblyAISandbox
) -> None:
    meter.configure(pipelines(double.base_url)).start()
    for odd in ("0000-not-there", "../../v2/upload", "a b?c#d", "é" * 100, "x" * 5000):
        assert meter.post("customer_id=acme", {"transcript_id": odd}).status_code == 200
    journal = meter.folder / "meter.db"
    tried = "SELECT last_error FROM receipts WHERE state = 'open' AND attempts > 0"
    wait_until(lambda: len(books.rows(journal, tried)) == 5)
    assert all("AssemblyAI answered 4" in error for (error,) in books.rows(journal, tried))
    assert meter.stop() == 0
    once = meter.once()
    assert once.returncode == 1
    assert "5 webhook receipts are still open" in once.stderr


def test_a_refused_key_parks_fetching_says_so_and_loses_nothing(meter: Meter) -> None:
    with AssemblyAISandbox(latency=0, keys={"another-key"}) as refusing:
        meter.configure(pipelines(refusing.base_url)).start()
        for number in range(3):
            body = {"transcript_id": f"t-{number}", "status": "completed"}
            assert meter.post("customer_id=acme", body).status_code == 200
        wait_until(lambda: meter.logs("fetching.parked"))
        code, status = meter.status()
        assert (code, status["receipts"]) == (0, {"open": 3})
        assert "401" in status["collectors"]["transcripts"]
        assert meter.stop() == 0


def test_a_duplicate_is_no_news_and_a_conflict_is_set_aside_loudly(
    meter: Meter, double: AssemblyAISandbox
) -> None:
    meter.configure(pipelines(double.base_url)).start()
    double.plan_next(JobPlan(audio_duration=60))
    made = httpx.post(
        f"{double.base_url}/v2/transcript",
        json={"audio_url": AUDIO},
        headers={"authorization": API_KEY},
        trust_env=False,
    ).json()
    body = {"transcript_id": made["id"], "status": "completed"}
    assert meter.post("customer_id=acme", body).status_code == 200
    wait_until(lambda: books.rows_delivered(meter.folder) == (1, 1))
    assert meter.post("customer_id=acme&project_id=late", body).status_code == 200
    assert meter.post("customer_id=globex", body).status_code == 200
    wait_until(
        lambda: meter.status()[1]["receipts"] == {"recorded": 1, "duplicate": 1, "conflict": 1},
        showing=lambda: meter.status()[1],
    )
    assert meter.status()[1]["quarantined"] == {"transcripts": 1}
    assert meter.stop() == 0
    expected = [books.usage(made["id"], "acme", 60)]
    assert books.in_sqlite(meter.folder / "usage.db") == expected
    assert books.in_csv(meter.folder / "exports") == expected
