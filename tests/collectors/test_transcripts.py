from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.collectors.attribution import Attribution
from meter.collectors.transcripts import (
    NotYet,
    Unusable,
    facts_of,
    meaning_of,
    read_transcript,
    scrubbed,
)
from meter.errors import InvalidEvent
from meter.events import AsyncCompleted, AsyncFailed
from support.facts import NOON

DOCUMENT: dict[str, Any] = {
    "id": "t1",
    "status": "completed",
    "audio_duration": 61,
    "speech_model_used": "universal",
    "speech_model": None,
    "language_code": "en_us",
    "speaker_labels": True,
    "keyterms_prompt": [],
    "prompt": "be brief",
    "multichannel": True,
    "audio_channels": 2,
    "metadata": {"domain_used": "medical"},
    "text": "the secret words",
    "words": [{"text": "secret", "start": 1.5}],
    "audio_url": "https://bucket/secret.mp3",
    "webhook_url": "https://m.example/hook?customer_id=acme",
}


def meaning(raw: bytes | None = None, who: Attribution | None = None, **changes: Any) -> Any:
    raw = raw or json.dumps({**DOCUMENT, **changes}).encode()
    return meaning_of(
        read_transcript(raw),
        who or Attribution("acme", {"project_id": "p"}),
        transcript_id="t1",
        collector="transcripts",
        occurred_at=NOON,
        now=NOON,
    )


def test_a_completed_transcript_is_what_the_design_says() -> None:
    assert meaning() == AsyncCompleted(
        provider_id="t1",
        customer_id="acme",
        dimensions={"project_id": "p"},
        collector="transcripts",
        occurred_at=NOON,
        recorded_at=NOON,
        seconds=Decimal(61),
        model="universal",
        language="en_us",
        features=("domain:medical", "multichannel", "prompt", "speaker_labels"),
        channels=2,
    )


@pytest.mark.parametrize("number", ["0", "61", "12.345678901", "0.1", "1e2", "10000000"])
def test_durations_keep_every_decimal_of_the_json(number: str) -> None:
    raw = json.dumps(DOCUMENT).replace("61", number, 1).encode()
    assert meaning(raw).seconds == Decimal(number)


@pytest.mark.parametrize("duration", [-1, -0.5, "61", True, [61], {"s": 61}, 10_000_001])
def test_a_duration_that_is_no_believable_number_goes_to_quarantine(duration: object) -> None:
    found = meaning(audio_duration=duration)
    assert isinstance(found, Unusable)
    assert found.reason.startswith("audio_seconds: expected")


@pytest.mark.parametrize(
    ("changes", "patient"),
    [
        ({"status": "queued"}, True),
        ({"status": "processing"}, True),
        ({"status": "levitating"}, False),
        ({"status": None}, False),
        ({"audio_duration": None}, False),
        ({"id": "another"}, False),
    ],
)
def test_what_is_not_final_is_asked_for_again(changes: dict[str, Any], patient: bool) -> None:  # noqa: FBT001  because it is a table
    found = meaning(**changes)
    assert isinstance(found, NotYet)
    assert found.patient is patient


def test_a_failed_job_keeps_the_providers_words_without_addresses() -> None:
    found = meaning(status="error", error="Cannot download https://bucket/x.mp3?sig=1 (404)")
    assert isinstance(found, AsyncFailed)
    assert found.error == "Cannot download [address removed] (404)"
    assert len(scrubbed("x" * 9999)) == 500


@pytest.mark.parametrize("who", [Attribution(), Attribution(fault="customer_id is given twice")])
def test_without_a_customer_it_goes_to_quarantine(who: Attribution) -> None:
    assert isinstance(meaning(who=who), Unusable)


@pytest.mark.parametrize(
    "changes",
    [
        {"speech_model_used": "universal-9000"},
        {"speech_model_used": {"new": "shape"}, "speech_model": "best"},
        {"language_code": 7, "audio_channels": "two", "metadata": [], "new_field": {}},
    ],
)
def test_surprises_beside_the_duration_cost_nothing(changes: dict[str, Any]) -> None:
    assert meaning(**changes).seconds == 61


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"<html>", b"\xff"])
def test_what_is_no_json_object_says_so(raw: bytes) -> None:
    with pytest.raises(InvalidEvent, match="not a JSON object"):
        read_transcript(raw)


def test_quarantine_keeps_what_bills_and_nothing_that_was_said() -> None:
    kept = msgspec.json.encode(facts_of(read_transcript(json.dumps(DOCUMENT).encode()))).decode()
    assert '"audio_duration":61' in kept
    assert "secret" not in kept
    assert "brief" not in kept


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(DOCUMENT)), JSON))
def test_no_document_at_all_makes_it_crash(changes: dict[str, Any]) -> None:
    found = meaning(**changes)
    assert isinstance(found, AsyncCompleted | AsyncFailed | NotYet | Unusable)
