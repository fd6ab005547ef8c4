"""The double answers as AssemblyAI's API description says, and keeps what it was told."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults, JobPlan
from sandbox.conftest import FAST, Api
from sandbox.receiver import Receiver, eventually

Conforms = Callable[[str, Any], None]

NOBODYS_ID = "9ea68fd3-f953-42c1-9742-976c447fb463"

EVERYTHING = {
    "speaker_labels": True,
    "multichannel": True,
    "language_detection": True,
    "redact_pii": True,
    "redact_pii_audio": True,
    "redact_pii_policies": ["person_name"],
    "redact_pii_sub": "hash",
    "entity_detection": True,
    "keyterms_prompt": ["meter"],
    "prompt": "A phone call.",
    "speech_models": ["universal-3-5-pro", "universal-2"],
    "custom_spelling": [{"from": ["meeter"], "to": "meter"}],
    "speakers_expected": 2,
    "speech_threshold": 0.5,
    "language_confidence_threshold": 0.4,
    "temperature": 0.1,
}


@pytest.mark.parametrize("params", [{}, EVERYTHING], ids=["plain", "everything"])
def test_every_stage_of_a_transcript_conforms(
    double: AssemblyAISandbox, api: Api, conforms: Conforms, params: dict[str, Any]
) -> None:
    double.plan_next(JobPlan(latency_seconds=0.3))
    seen = [api.submit(**params)]
    transcript_id = seen[0]["id"]

    def is_completed() -> bool:
        seen.append(api.get(transcript_id))
        return bool(seen[-1]["status"] == "completed")

    eventually(is_completed)
    assert seen[0]["status"] == "queued"
    assert {document["status"] for document in seen} == {"queued", "processing", "completed"}
    for document in seen:
        conforms("Transcript", document)
    assert seen[0]["audio_duration"] is None
    assert "speech_model_used" not in seen[0]
    done = seen[-1]
    assert isinstance(done["audio_duration"], int)
    assert done["audio_duration"] > 0
    assert {name: done[name] for name in params} == params
    assert done["speech_model_used"] == params.get("speech_models", ["universal"])[0]
    assert done.get("audio_channels") == (2 if params else None)


def test_a_failed_job_conforms_and_bills_nothing(
    double: AssemblyAISandbox, api: Api, conforms: Conforms
) -> None:
    double.plan_next(JobPlan(status="error", error="no speech"))
    transcript_id = api.submit()["id"]
    eventually(lambda: api.status(transcript_id) == "error")
    document = api.get(transcript_id)
    conforms("Transcript", document)
    assert (document["error"], document["audio_duration"]) == ("no speech", None)
    assert double.truth()[0].seconds is None


def test_delete_forgets_the_customer_and_keeps_the_duration(
    double: AssemblyAISandbox, api: Api, conforms: Conforms, receiver: Receiver
) -> None:
    transcript_id = api.submit(webhook_url=f"{receiver.url}?customer_id=acme")["id"]
    eventually(lambda: api.get(transcript_id)["webhook_status_code"] == 200)
    duration = api.get(transcript_id)["audio_duration"]
    answer = api.http.delete(f"/v2/transcript/{transcript_id}")
    document = answer.json()
    assert document == api.get(transcript_id)
    # The description's own example of a DELETE has this null, against its schema.
    assert document.pop("language_code") is None
    conforms("Transcript", document)
    assert document["audio_duration"] == duration
    assert document["webhook_url"] == document["audio_url"] == "http://deleted_by_user"
    assert document["words"] is None
    assert api.http.get("/v2/transcript").json()["transcripts"][0]["audio_url"] == (
        "http://deleted_by_user"
    )
    assert double.truth()[0].webhook_url == f"{receiver.url}?customer_id=acme"
    assert double.truth()[0].deleted


def test_an_unfinished_transcript_is_not_deleted(
    double: AssemblyAISandbox, api: Api, conforms: Conforms
) -> None:
    double.plan_next(JobPlan(latency_seconds=3600))
    answer = api.http.delete(f"/v2/transcript/{api.submit()['id']}")
    assert answer.status_code == 400
    conforms("Error", answer.json())


@pytest.mark.parametrize(
    ("method", "path", "body", "status_code"),
    [
        ("POST", "/v2/transcript", b"{", 400),
        ("POST", "/v2/transcript", b"[]", 400),
        ("POST", "/v2/transcript", b"{}", 400),
        ("POST", "/v2/transcript", b'{"audio_url": "a.mp3"}', 400),
        ("POST", "/v2/transcript", b'{"audio_url": "https://a/b", "format_text": 1}', 400),
        ("POST", "/v2/transcript", b'{"audio_url": "https://a/b", "speakers_expected": true}', 400),
        ("POST", "/v2/transcript", b'{"audio_url": "https://a/b", "speech_models": []}', 400),
        ("POST", "/v2/transcript", b'{"audio_url": "https://a/b", "webhook_url": "hook"}', 400),
        (
            "POST",
            "/v2/transcript",
            b'{"audio_url": "https://a/b", "webhook_auth_header_name": "X-Secret"}',
            400,
        ),
        ("POST", "/v2/transcript", b" " * (1 << 20) + b"{}", 413),
        ("POST", "/v2/upload", b"", 400),
        ("PUT", "/v2/transcript", b"", 405),
        ("GET", f"/v2/transcript/{NOBODYS_ID}", b"", 404),
        ("DELETE", f"/v2/transcript/{NOBODYS_ID}", b"", 404),
        ("GET", "/v2/nothing", b"", 404),
        ("GET", "/v2/transcript?limit=0", b"", 400),
        ("GET", "/v2/transcript?limit=201", b"", 400),
        ("GET", "/v2/transcript?limit=%C2%B2", b"", 400),
        ("GET", "/v2/transcript?status=done", b"", 400),
        ("GET", "/v2/transcript?created_on=yesterday", b"", 400),
        ("GET", f"/v2/transcript?before_id={NOBODYS_ID}", b"", 400),
    ],
)
def test_a_mistake_is_refused_with_the_apis_error_body(
    anyones_http: httpx.Client,
    conforms: Conforms,
    method: str,
    path: str,
    body: bytes,
    status_code: int,
) -> None:
    answer = anyones_http.request(method, path, content=body)
    assert answer.status_code == status_code, answer.text
    conforms("Error", answer.json())


def test_only_a_known_bare_key_is_accepted(conforms: Conforms) -> None:
    with AssemblyAISandbox(keys={"right", "other"}) as double:
        for headers in ({}, {"authorization": "wrong"}, {"authorization": "Bearer right"}):
            answer = httpx.get(f"{double.base_url}/v2/transcript", headers=headers, trust_env=False)
            assert answer.status_code == 401
            conforms("Error", answer.json())
        answer = httpx.get(
            f"{double.base_url}/v2/transcript", headers={"authorization": "right"}, trust_env=False
        )
        assert answer.status_code == 200


def test_a_key_sees_only_its_own_transcripts(api_of: Callable[[str], Api]) -> None:
    ours, theirs = api_of("key-a"), api_of("key-b")
    transcript_id = ours.submit()["id"]
    assert theirs.http.get(f"/v2/transcript/{transcript_id}").status_code == 404
    assert theirs.http.delete(f"/v2/transcript/{transcript_id}").status_code == 404
    assert theirs.http.get("/v2/transcript").json()["transcripts"] == []
    assert theirs.http.get(f"/v2/transcript?after_id={transcript_id}").status_code == 400
    assert len(ours.http.get("/v2/transcript").json()["transcripts"]) == 1


def test_an_upload_gives_a_url_that_can_be_submitted(api: Api, conforms: Conforms) -> None:
    answer = api.http.post("/v2/upload", content=b"\0" * 3_000_000)
    assert answer.status_code == 200
    conforms("UploadedFile", answer.json())
    api.submit(answer.json()["upload_url"])


def test_the_webhook_secret_is_never_shown_and_the_query_is(api: Api) -> None:
    url = "http://127.0.0.1:9/hook?customer_id=M%C3%BCller+%26+S%C3%B6hne"
    answer = api.submit(
        webhook_url=url,
        webhook_auth_header_name="X-Meter-Secret",
        webhook_auth_header_value="hush-hush",
    )
    assert answer["webhook_url"] == url
    assert answer["webhook_auth"] is True
    assert answer["webhook_auth_header_name"] == "X-Meter-Secret"
    assert "hush-hush" not in str(answer)


def test_the_list_walks_every_transcript_back_and_forth(api: Api, conforms: Conforms) -> None:
    submitted = [api.submit(f"https://audio.example/{n}.mp3")["id"] for n in range(23)]
    eventually(
        lambda: (
            len(api.http.get("/v2/transcript?status=completed&limit=200").json()["transcripts"])
            == 23
        )
    )
    pages = [api.http.get("/v2/transcript?status=completed").json()]
    while pages[-1]["page_details"]["prev_url"]:
        pages.append(api.http.get(pages[-1]["page_details"]["prev_url"]).json())
    for page in pages:
        conforms("TranscriptList", page)
    assert [page["page_details"]["result_count"] for page in pages] == [10, 10, 3]
    assert [item["id"] for page in pages for item in page["transcripts"]] == submitted[::-1]
    assert pages[0]["page_details"]["next_url"] is None
    newer = api.http.get(pages[-1]["page_details"]["next_url"]).json()
    assert newer["transcripts"] == pages[1]["transcripts"]
    item = pages[0]["transcripts"][0]
    assert api.http.get(item["resource_url"]).json()["id"] == item["id"]


def test_the_list_filters_by_day_and_forgets_after_90_days() -> None:
    time = datetime(2026, 11, 3, 23, 59, 59, tzinfo=UTC)
    clock = [time]
    with (
        AssemblyAISandbox(latency=0, now=lambda: clock[0]) as double,
        httpx.Client(
            base_url=double.base_url, headers={"authorization": "k"}, trust_env=False
        ) as http,
    ):
        api = Api(http)
        first = api.submit("https://audio.example/1.mp3")["id"]
        clock[0] += timedelta(seconds=1)
        second = api.submit("https://audio.example/2.mp3")["id"]

        def listed(query: str) -> list[str]:
            page = http.get(f"/v2/transcript?{query}").json()
            return [item["id"] for item in page["transcripts"]]

        assert listed("created_on=2026-11-03") == [first]
        assert listed("created_on=2026-11-04") == [second]
        assert listed("throttled_only=true") == []
        clock[0] = time + timedelta(days=90, milliseconds=1)
        assert listed("") == [second]
        assert api.get(first)["id"] == first


def test_unusual_list_items_are_what_the_description_does_not_allow(conforms: Conforms) -> None:
    with (
        AssemblyAISandbox(latency=0, rules=FAST, faults=Faults(unusual_items=1)) as double,
        httpx.Client(
            base_url=double.base_url, headers={"authorization": "k"}, trust_env=False
        ) as http,
    ):
        transcript_id = Api(http).submit()["id"]
        eventually(lambda: Api(http).status(transcript_id) == "completed")
        item = http.get("/v2/transcript").json()["transcripts"][0]
        assert item["error"] == ""
        assert item["created"].endswith("Z")
        with pytest.raises(AssertionError, match="does not match"):
            conforms("TranscriptListItem", item)
