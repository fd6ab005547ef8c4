"""CloudEvents 1.0: what is sent in each mode."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pytest

from http_sink.conftest import Opener, batch_of
from http_sink.double import Destination
from meter.events import AsyncCompleted, StreamTerminated
from support.facts import NOON, completed, failed, terminated

HOSTILE = [
    'quotes " and \\ backslash',
    "line\nbreak\r\tand tab",
    "emoji 🙂 and 株式会社",
    "NUL \x00 and \x1b escape",
    "=1+1",
    "%41 percent",
    "{customer_id}",
    "x" * 10_000,
]


def rich() -> AsyncCompleted:
    return completed(
        "t1",
        customer_id="Müller & Söhne",
        seconds=Decimal("61.123456789"),
        model="universal",
        language="de",
        features=("diarization", "summary"),
        dimensions={"team": "a", "project_id": "7"},
        occurred_at=datetime(2026, 11, 1, 8, 0, 0, 5, tzinfo=UTC),
    )


def test_a_batch_is_a_list_of_whole_events(sink: Opener, destination: Destination) -> None:
    report = sink().deliver(batch_of([rich(), terminated("s1", audio_seconds=Decimal("0.5"))]))
    (asked,) = destination.asked
    assert asked.method == "POST"
    assert asked.path == "/events"
    assert asked.headers["content-type"] == "application/cloudevents-batch+json"
    assert asked.json == [
        {
            "specversion": "1.0",
            "id": "assemblyai:transcript:t1",
            "source": "meter",
            "type": "meter.async_completed",
            "subject": "Müller & Söhne",
            "time": "2026-11-01T08:00:00.000005Z",
            "datacontenttype": "application/json",
            "data": {
                "seconds": "61.123456789",
                "customer_id": "Müller & Söhne",
                "model": "universal",
                "language": "de",
                "features": ["diarization", "summary"],
                "provider": "assemblyai",
                "provider_id": "t1",
                "collector": "transcripts",
                "dimensions": {"project_id": "7", "team": "a"},
            },
        },
        {
            "specversion": "1.0",
            "id": "assemblyai:session:s1",
            "source": "meter",
            "type": "meter.stream_terminated",
            "subject": "acme",
            "time": "2026-11-22T12:00:00.000000Z",
            "datacontenttype": "application/json",
            "data": {
                "seconds": "60",
                "customer_id": "acme",
                "audio_seconds": "0.5",
                "provider": "assemblyai",
                "provider_id": "s1",
                "collector": "apps",
                "dimensions": {},
            },
        },
    ]
    assert list(report.delivered) == ["assemblyai:transcript:t1", "assemblyai:session:s1"]


def test_structured_is_one_whole_event_a_request(sink: Opener, destination: Destination) -> None:
    report = sink(mode="structured").deliver(batch_of([rich(), completed("t2")]))
    assert [a.json["id"] for a in destination.asked] == list(report.delivered)
    assert {a.headers["content-type"] for a in destination.asked} == {
        "application/cloudevents+json"
    }
    assert destination.asked[0].json["data"]["seconds"] == "61.123456789"


def test_binary_has_the_attributes_in_headers_and_the_data_alone_as_body(
    sink: Opener, destination: Destination
) -> None:
    sink(mode="binary").deliver(batch_of([rich()]))
    (asked,) = destination.asked
    attributes = {n: t for n, t in asked.headers.items() if n.startswith("ce-")}
    assert attributes == {
        "ce-specversion": "1.0",
        "ce-id": "assemblyai:transcript:t1",
        "ce-source": "meter",
        "ce-type": "meter.async_completed",
        "ce-subject": "M%C3%BCller%20&%20S%C3%B6hne",
        "ce-time": "2026-11-01T08:00:00.000005Z",
    }
    assert asked.headers["content-type"] == "application/json"
    assert asked.json["seconds"] == "61.123456789"
    assert "specversion" not in asked.json


@pytest.mark.parametrize("mode", ["batch", "structured", "binary"])
def test_hostile_text_arrives_as_it_was(sink: Opener, destination: Destination, mode: str) -> None:
    texts = HOSTILE[:-1] if mode == "binary" else HOSTILE
    events = [
        completed(n, customer_id=text, dimensions={text: text}) for n, text in enumerate(texts)
    ]
    report = sink(mode=mode).deliver(batch_of(events))
    assert len(report.delivered) == len(texts)
    if mode == "binary":
        named = [unquote(a.headers["ce-subject"]) for a in destination.asked]
        data = [a.json for a in destination.asked]
    else:
        sent = [e for a in destination.asked for e in (a.json if mode == "batch" else [a.json])]
        named, data = [e["subject"] for e in sent], [e["data"] for e in sent]
    assert named == texts
    assert [d["customer_id"] for d in data] == texts
    assert [d["dimensions"] for d in data] == [{text: text} for text in texts]


@pytest.mark.parametrize("seconds", ["0", "0.1", "0.000000001", "9999999.999999999", "100", "1e6"])
def test_numbers_keep_every_digit(sink: Opener, destination: Destination, seconds: str) -> None:
    event = completed("t", seconds=Decimal(seconds))
    sink(numbers="number").deliver(batch_of([event]))
    sink().deliver(batch_of([event]))
    number, text = (a.json[0]["data"]["seconds"] for a in destination.asked)
    assert isinstance(number, int | Decimal)
    assert number == Decimal(seconds)
    assert Decimal(text) == Decimal(seconds)
    assert b"e" not in destination.asked[0].body.partition(b'"seconds":')[2].partition(b",")[0]


def test_types_and_source_are_options(sink: Opener, destination: Destination) -> None:
    sink(
        event_type={"async_completed": "transcription", "stream_terminated": "streaming"},
        source="urn:example:billing",
    ).deliver(batch_of([completed(1), terminated(2)]))
    sent = destination.asked[0].json
    assert [e["type"] for e in sent] == ["transcription", "streaming"]
    assert {e["source"] for e in sent} == {"urn:example:billing"}


def test_a_kind_without_a_type_is_held_and_the_others_go(
    sink: Opener, destination: Destination
) -> None:
    report = sink(event_type={"async_completed": "transcription"}).deliver(
        batch_of([completed(1), terminated(2)])
    )
    assert list(report.delivered) == ["assemblyai:transcript:1"]
    assert report.held == {
        "assemblyai:session:2": "`event_type` names no type for stream_terminated; add it"
    }
    assert len(destination.asked[0].json) == 1


def test_what_is_never_billed_has_no_seconds_unless_it_is_asked_for(
    sink: Opener, destination: Destination
) -> None:
    report = sink().deliver(batch_of([failed(1)]))
    assert list(report.delivered) == ["assemblyai:transcript:1:failed"]
    assert "seconds" not in destination.asked[0].json[0]["data"]
    report = sink(data={"amount": "{seconds}"}).deliver(batch_of([failed(1), completed(2)]))
    assert list(report.delivered) == ["assemblyai:transcript:2"]
    assert report.rejected == {
        "assemblyai:transcript:1:failed": "async_failed is never billed, so it has no seconds; "
        "leave the kind out of the pipeline's `kinds:`"
    }


def test_data_can_be_shaped(sink: Opener, destination: Destination) -> None:
    sink(data={"hours": "{hours}", "team": "{dimension.team}", "to": "{customer_id}"}).deliver(
        batch_of([rich(), completed(2, seconds=Decimal(5400))])
    )
    assert [e["data"] for e in destination.asked[0].json] == [
        {"hours": "0.016978738", "team": "a", "to": "Müller & Söhne"},
        {"hours": "1.5", "to": "acme"},
    ]


def test_gzip_is_said_and_done(sink: Opener, destination: Destination) -> None:
    sink(gzip=True).deliver(batch_of([completed(n) for n in range(100)]))
    (asked,) = destination.asked
    assert asked.headers["content-encoding"] == "gzip"
    assert len(gzip.decompress(asked.body)) > 5 * len(asked.body)
    assert len(asked.json) == 100


def test_a_repeat_is_the_same_to_the_byte(sink: Opener, destination: Destination) -> None:
    events: list[Any] = [rich(), StreamTerminated(**_session())]
    sink().deliver(batch_of(events))
    sink().deliver(batch_of(events, purpose="retry"))
    first, second = destination.asked
    assert first.body == second.body


def _session() -> dict[str, Any]:
    return {
        "provider_id": "s",
        "customer_id": "acme",
        "collector": "apps",
        "occurred_at": NOON,
        "recorded_at": NOON,
        "seconds": Decimal("1.5"),
    }


def test_requests_share_one_connection(sink: Opener, destination: Destination) -> None:
    opened = sink(max_events=1)
    opened.deliver(batch_of([completed(n) for n in range(5)]))
    opened.deliver(batch_of([completed(9)]))
    assert len(destination.asked) == 6
    assert len({a.connection for a in destination.asked}) == 1
