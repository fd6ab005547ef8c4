"""Webhooks are delivered, repeated and given up by AssemblyAI's rules."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest

from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults, JobPlan
from meter.sandbox.webhooks import WebhookRules
from sandbox.conftest import FAST, Api
from sandbox.receiver import HANG, Receiver, eventually


def codes(double: AssemblyAISandbox) -> list[int | None]:
    return [attempt.status_code for row in double.truth() for attempt in row.attempts]


def test_the_rules_are_the_documented_ones_by_default() -> None:
    rules = WebhookRules()
    assert (rules.attempts, rules.retry_wait, rules.timeout) == (10, 10.0, 10.0)


@pytest.mark.parametrize("status", ["completed", "error"])
def test_the_webhook_names_the_transcript_and_carries_the_secret(
    double: AssemblyAISandbox,
    api: Api,
    receiver: Receiver,
    conforms: Callable[[str, Any], None],
    status: Any,
) -> None:
    double.plan_next(JobPlan(status=status))
    transcript_id = api.submit(
        webhook_url=f"{receiver.url}?customer_id=a%2Bb+c&project_id=%E4%BC%9A",
        webhook_auth_header_name="X-Meter-Secret",
        webhook_auth_header_value="s3cret",
    )["id"]
    eventually(lambda: codes(double) == [200])
    (request,) = receiver.received
    conforms("TranscriptReadyNotification", request.body)
    assert request.body == {"transcript_id": transcript_id, "status": status}
    assert request.path == "/hook?customer_id=a%2Bb+c&project_id=%E4%BC%9A"
    assert request.headers["x-meter-secret"] == "s3cret"
    assert request.headers["content-type"] == "application/json"
    assert api.get(transcript_id)["webhook_status_code"] == 200


def test_what_get_shows_is_final_when_the_webhook_comes(
    double: AssemblyAISandbox, api: Api, receiver: Receiver
) -> None:
    receiver.answers.append(HANG)
    transcript_id = api.submit(webhook_url=receiver.url)["id"]
    eventually(lambda: len(receiver.received) == 1)
    assert api.status(transcript_id) == "completed"
    assert codes(double) == [], "the first delivery was still unanswered"


@pytest.mark.parametrize("failure", [500, 503, 302])
def test_any_failure_but_4xx_is_tried_again_after_the_wait(
    double: AssemblyAISandbox, api: Api, receiver: Receiver, failure: int
) -> None:
    receiver.answers.extend([failure, failure])
    transcript_id = api.submit(webhook_url=receiver.url)["id"]
    eventually(lambda: codes(double) == [failure, failure, 200])
    times = [request.at for request in receiver.received]
    assert all(later - earlier >= FAST.retry_wait for earlier, later in pairwise(times))
    assert api.get(transcript_id)["webhook_status_code"] == 200


@pytest.mark.parametrize("refusal", [400, 401, 404, 429])
def test_any_4xx_ends_the_retries_for_ever(refusal: int, receiver: Receiver) -> None:
    receiver.answers.append(refusal)
    with AssemblyAISandbox(latency=0, rules=WebhookRules(retry_wait=0)) as double:
        api_submit(double, receiver)
        eventually(lambda: codes(double) == [refusal])
        # With no wait between attempts, a second job's whole delivery leaves ample room for one.
        api_submit(double, receiver)
        eventually(lambda: codes(double) == [refusal, 200])
    assert len(receiver.received) == 2


def test_no_answer_in_time_counts_as_an_attempt(
    double: AssemblyAISandbox, api: Api, receiver: Receiver
) -> None:
    receiver.answers.append(HANG)
    api.submit(webhook_url=receiver.url)
    eventually(lambda: codes(double) == [None, 200])


def test_nobody_listening_is_given_up_after_the_last_attempt(
    double: AssemblyAISandbox, api: Api
) -> None:
    with Receiver() as gone:
        url = gone.url
    transcript_id = api.submit(webhook_url=url)["id"]
    eventually(lambda: codes(double) == [None] * FAST.attempts)
    assert api.get(transcript_id)["webhook_status_code"] is None


def test_redacted_audio_is_a_second_delivery_without_an_id(
    double: AssemblyAISandbox,
    api: Api,
    receiver: Receiver,
    conforms: Callable[[str, Any], None],
) -> None:
    receiver.answers.extend([200, 503])
    transcript_id = api.submit(
        webhook_url=f"{receiver.url}?customer_id=acme",
        webhook_auth_header_name="X-Meter-Secret",
        webhook_auth_header_value="s3cret",
        redact_pii=True,
        redact_pii_audio=True,
    )["id"]
    eventually(lambda: codes(double) == [200, 503, 200])
    ready, redacted, again = receiver.received
    conforms("RedactedAudioResponse", redacted.body)
    assert redacted.body["status"] == "redacted_audio_ready"
    assert "transcript_id" not in redacted.body
    assert again.body == redacted.body
    assert ready.path == redacted.path
    assert redacted.headers["x-meter-secret"] == "s3cret"
    kinds = [attempt.kind for attempt in double.truth()[0].attempts]
    assert kinds == ["transcript", "redacted_audio", "redacted_audio"]
    assert api.get(transcript_id)["webhook_status_code"] == 200


def test_a_duplicate_is_the_same_body_twice(
    double: AssemblyAISandbox, api: Api, receiver: Receiver
) -> None:
    double.faults = Faults(webhook_twice=1)
    api.submit(webhook_url=receiver.url)
    eventually(lambda: codes(double) == [200, 200])
    assert receiver.received[0].body == receiver.received[1].body


def test_a_lost_webhook_never_comes_and_the_job_completes(
    double: AssemblyAISandbox, api: Api, receiver: Receiver
) -> None:
    double.faults = Faults(webhook_lost=1)
    lost = api.submit("https://audio.example/lost.mp3", webhook_url=receiver.url)["id"]
    eventually(lambda: api.status(lost) == "completed")
    double.faults = Faults()
    api.submit("https://audio.example/sent.mp3", webhook_url=receiver.url)
    eventually(lambda: codes(double) == [200])
    assert lost not in {request.body["transcript_id"] for request in receiver.received}


def test_an_early_webhook_precedes_what_get_shows(
    double: AssemblyAISandbox, api: Api, receiver: Receiver
) -> None:
    double.faults = Faults(webhook_early=1, webhook_early_seconds=0.3)
    transcript_id = api.submit(webhook_url=receiver.url)["id"]
    eventually(lambda: codes(double) == [200])
    assert receiver.received[0].body["status"] == "completed"
    early = api.get(transcript_id)
    assert (early["status"], early["audio_duration"]) == ("processing", None)
    eventually(lambda: api.status(transcript_id) == "completed")


def api_submit(double: AssemblyAISandbox, receiver: Receiver) -> None:
    httpx.post(
        f"{double.base_url}/v2/transcript",
        json={"audio_url": "https://audio.example/a.mp3", "webhook_url": receiver.url},
        headers={"authorization": "k"},
        trust_env=False,
    ).raise_for_status()
