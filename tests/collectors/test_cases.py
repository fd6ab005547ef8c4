"""Each kind of thing in quarantine allows exactly what can be done about it, and says the rest."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from meter.collectors.cases import Lacking, Naming, case_of, event_of, receipt_of
from meter.collectors.ingest import IngestCollector
from meter.collectors.intake import Intake
from meter.collectors.session_items import SessionItems
from meter.errors import InvalidEvent
from meter.events import AsyncFailed, Event, StreamTerminated, encode_event
from meter.journal import Entry, Journal, NewSession, Session
from support.clocks import FakeClock
from support.facts import NOON, completed, terminated
from support.plugging import plugins_with

COLLECTORS = frozenset({"transcripts", "import"})
ACME = Naming("acme", {"project": "p"})


def entry(key: str, payload: Any, **changes: Any) -> Entry:
    given: dict[str, Any] = {
        "id": 7,
        "collector": "transcripts",
        "reason": "some reason",
        "provider_id": "t",
        "fetched": True,
        "state": "open",
        "times": 1,
        "first_at": NOON,
        "last_at": NOON,
        **changes,
    }
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return Entry(key=key, payload=text, **given)


def job(**facts: Any) -> Entry:
    transcript = {"id": "t", "status": "completed", "audio_duration": 61, **facts}
    payload = {
        "transcript_id": "t",
        "query": "order=9",
        "received_at": "2026-11-22T12:00:00Z",
        "dimensions": {"order": "9", "team": "x"},
        "transcript": transcript,
    }
    return entry("transcript:t:order=9", payload)


def nothing(_event_id: str) -> Event | None:
    return None


def made(entry: Entry, naming: Naming = ACME, session: Session | None = None) -> Any:
    case = case_of(entry, nothing)
    assert case.assignable is None, case
    return event_of(entry, naming, session=session, collectors=COLLECTORS, now=NOON)


def test_a_job_without_a_customer_becomes_its_event_with_all_that_the_provider_said() -> None:
    event = made(
        job(
            audio_duration=61,
            speech_model_used="slam-1",
            language_code="de",
            features=["redact_pii", "speaker_labels"],
            audio_channels=2,
        )
    )
    assert event == completed(
        "t",
        seconds=Decimal(61),
        dimensions={"order": "9", "team": "x", "project": "p"},
        model="slam-1",
        language="de",
        features=("redact_pii", "speaker_labels"),
        channels=2,
    )


def test_a_failed_job_without_a_customer_becomes_a_failed_one() -> None:
    event = made(job(status="error", audio_duration=None, error="no audio"))
    assert isinstance(event, AsyncFailed)
    assert (event.event_id, event.error) == ("assemblyai:transcript:t:failed", "no audio")


@pytest.mark.parametrize("duration", [-1, "61", None, True, 10**8])
def test_a_job_whose_duration_cannot_be_billed_cannot_be_assigned(duration: object) -> None:
    case = case_of(job(audio_duration=duration), nothing)
    assert case.assignable is not None
    assert "audio_duration: expected" in case.assignable
    assert case.retryable is not None


def test_when_a_job_was_done_is_never_made_up() -> None:
    payload = {"query": "", "transcript": {"status": "completed", "audio_duration": 1}}
    kept = entry("transcript:t:", payload)
    with pytest.raises(Lacking, match="--at TIME"):
        made(kept)
    at = NOON - timedelta(days=40)
    assert made(kept, Naming("acme", occurred_at=at)).occurred_at == at
    said = entry("transcript:t:", {**payload, "occurred_at": "2026-10-31T23:59:59Z"})
    assert made(said, Naming("acme", occurred_at=at)).occurred_at.month == 10


def test_a_job_that_could_not_be_fetched_can_be_asked_for_again_and_not_assigned() -> None:
    fields = {"transcript_id": "t", "status": "completed"}
    kept = entry(
        "transcript:t:customer_id=a",
        {"query": "customer_id=a", "received_at": "2026-11-22T12:00:00Z", **fields},
        fetched=False,
    )
    case = case_of(kept, nothing)
    assert case.retryable is None
    assert case.assignable is not None
    receipt = receipt_of(kept)
    assert (receipt.query, receipt.received_at) == ("customer_id=a", NOON)
    assert json.loads(receipt.fields) == fields
    with pytest.raises(Lacking, match="was not kept"):
        receipt_of(entry("transcript:t:", fields, fetched=False))


def test_a_conflict_stands_unless_its_event_was_never_recorded() -> None:
    body = encode_event(terminated("s", customer_id="second")).decode()
    kept = entry("conflict:assemblyai:session:s:second:60", body)
    case = case_of(kept, lambda _event_id: terminated("s", customer_id="first"))
    assert case.assignable == (
        "assemblyai:session:s is recorded for first; an event is recorded once"
    )
    assert "meter events assemblyai:session:s" in case.advice
    assert made(kept, Naming("first")) == terminated("s", customer_id="first")


def test_a_line_that_lacks_only_its_customer_can_be_assigned() -> None:
    given = {"kind": "async_completed", "provider_id": "t", "seconds": 12.5}
    given |= {"occurred_at": "2026-11-22T12:00:00Z", "dimensions": {"a": "1"}}

    def line(text: str) -> Entry:
        payload = {"line": 3, "text": text}
        return entry("line:abc", payload, collector="import", provider_id=None)

    event = made(line(json.dumps(given)))
    assert event == completed(
        "t", seconds=Decimal("12.5"), collector="import", dimensions={"a": "1", "project": "p"}
    )
    for text in ("{", "[]", "\ud800", json.dumps({**given, "customer_id": "x"})):
        assert case_of(line(text.encode("utf-8", "replace").decode()), nothing).assignable
    with pytest.raises(InvalidEvent, match="occurred_at"):
        made(line(json.dumps({**given, "occurred_at": "noon"})))
    ours = made(line(json.dumps({**given, "collector": "transcripts", "customer_id": ""})))
    assert ours.collector == "transcripts", "a collector that the file knows stands"


@pytest.mark.parametrize(
    "kept",
    [
        entry("receipt:3", {"fields": ["a"]}, provider_id=None),
        entry("opening:3", {"customer_id": "a"}, provider_id=None),
        entry("conflict:session:s:b", {"type": "Begin"}),
        entry("strange", {"x": 1}),
        entry("strange", "[]"),
        entry("posted:1", {"said": {"seconds": 1}, "session_id": None}),
        entry("begin:2", {"said": {"session_id": "s"}, "session_id": "s", "customer_id": "a"}),
        entry("posted:2", {"said": {"type": "Termination", "reason": "no seconds"}}),
    ],
)
def test_what_lacks_more_than_a_customer_can_only_be_discarded_and_says_why(kept: Entry) -> None:
    case = case_of(kept, nothing)
    assert case.assignable
    assert case.retryable
    assert "discard" in case.advice


@pytest.fixture
def items(journal: Journal, clock: FakeClock) -> SessionItems:
    return SessionItems(
        "apps", journal=journal, intake=Intake(journal, plugins_with()), clock=clock
    )


def test_the_collectors_own_entries_of_a_session_are_read_back(
    journal: Journal, clock: FakeClock, items: SessionItems
) -> None:
    import asyncio

    assert IngestCollector.type == "ingest"
    begin = {"type": "Begin", "id": "s1", "expires_at": int(NOON.timestamp()) + 3600}
    end = {"type": "Termination", "session_duration_seconds": 12.25, "audio_duration_seconds": 9}
    at = "2026-11-22T11:00:00Z"
    raw = [
        {"message": begin, "received_at": at},
        {"message": end, "session_id": "s2", "dimensions": {"a": "1"}, "received_at": at},
    ]
    answers = asyncio.run(items.take([msgspec.Raw(json.dumps(item).encode()) for item in raw]))
    assert [answer.status for answer in answers] == ["quarantined"] * 2
    ended, begun = journal.aside.entries(limit=9)
    session = made(begun)
    assert isinstance(session, NewSession)
    assert (session.provider_id, session.customer_id, session.collector) == ("s1", "acme", "apps")
    assert session.expires_at == NOON + timedelta(hours=1)
    event = made(ended)
    assert event == StreamTerminated(
        provider_id="s2",
        customer_id="acme",
        dimensions={"a": "1", "project": "p"},
        collector="apps",
        occurred_at=NOON - timedelta(hours=1),
        recorded_at=NOON,
        seconds=Decimal("12.25"),
        audio_seconds=Decimal(9),
    )
    del clock
