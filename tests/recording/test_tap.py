from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import weakref
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from assemblyai.streaming.v3 import StreamingClient, StreamingEvents

import meter
from meter.recording.shared import shared_recorder
from meter.sandbox.streaming import StreamingSandbox
from recording.conftest import Recording
from recording.ingest import SECRET, Ingest
from recording.streams import SECOND, STREAMS, WITH_HEARTBEATS, Stream, heard_by, options
from support.waiting import eventually


@pytest.mark.parametrize("stream", STREAMS)
def test_a_tapped_client_is_billed_exactly_what_the_provider_said(
    stream: Stream, double: StreamingSandbox, ingest: Ingest, recording: Recording
) -> None:
    ingest.start()
    recorder = recording()
    stream(
        double,
        lambda c: meter.tap(c, customer_id="Müller & Söhne", dimensions={"p": "1"}, to=recorder),
    )
    assert recorder.flush()
    (event,) = ingest.events
    (truth,) = double.truth()
    assert event.provider_id == truth.session_id
    assert (event.customer_id, event.dimensions) == ("Müller & Söhne", {"p": "1"})
    assert (event.seconds, event.audio_seconds) == (truth.session_seconds, truth.audio_seconds)
    assert (event.collector, event.model) == ("apps", "universal-streaming-english")
    assert event.started_at is not None
    assert event.started_at <= event.occurred_at
    (session,) = ingest.sessions()
    assert (session.state, session.expires_at) == ("closed", truth.expires_at)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("meter_runs", [True, False])
def test_the_user_hears_the_same_with_and_without_a_tap(
    stream: Stream, ingest: Ingest, recording: Recording, *, meter_runs: bool
) -> None:
    if meter_runs:
        ingest.start()
    recorder = recording()

    def heard(prepare: Any) -> list[Any]:
        with StreamingSandbox(seed=7, heartbeat_seconds=60) as double:
            told = stream(double, prepare, seconds=4)
        return [
            {**event.model_dump(), "expires_at": None}
            for event in told
            if event.type != "Heartbeat"
        ]

    without = heard(lambda _client: None)
    tapped = heard(lambda client: meter.tap(client, customer_id="a", to=recorder))
    assert [event["type"] for event in without][-1] == "Termination"
    assert len(without) > 4
    assert tapped == without


def test_the_line_alone_is_enough_and_taps_to_one_place_share_a_recorder(
    double: StreamingSandbox,
    ingest: Ingest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METER_INGEST_SECRET", SECRET)
    ingest.start()
    handles = []
    for number in range(3):
        client = StreamingClient(options(double))
        handles.append(meter.tap(client, customer_id=f"c{number}", to=ingest.url))
        client.connect(WITH_HEARTBEATS)
        client.disconnect(terminate=True)
    assert all(handle.flush() for handle in handles)
    assert sorted(event.customer_id for event in ingest.events) == ["c0", "c1", "c2"]
    assert len({id(handle._recorder) for handle in handles}) == 1
    (spool,) = (tmp_path / "state/meter/spool").iterdir()
    assert len(list(spool.iterdir())) == 1
    shared_recorder(ingest.url, secret=None, collector=None, spool=None).close()


def test_a_second_tap_on_one_client_is_refused(
    double: StreamingSandbox, recording: Recording
) -> None:
    client = StreamingClient(options(double))
    meter.tap(client, customer_id="a", to=recording())
    with pytest.raises(ValueError, match="tapped already"):
        meter.tap(client, customer_id="b", to=recording())


def test_a_tap_keeps_no_client_alive(double: StreamingSandbox, recording: Recording) -> None:
    gc.disable()  # only reference counts: a cycle would show
    try:
        recorder = recording()
        client = StreamingClient(options(double))
        plain = StreamingClient(options(double))
        meter.tap(client, customer_id="a", to=recorder)
        # The SDK's client has cycles of its own, by its threads: the tap adds none.
        for thing in (plain, client):
            thing._read_thread = thing._write_thread = None  # type: ignore[assignment]  # breaks them
        gone = [weakref.ref(plain), weakref.ref(client)]
        del thing, plain, client
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


class Facade:
    """A client of the future: handlers, and no `_parse_message`."""

    def __init__(self, client: StreamingClient) -> None:
        self.on = client.on


def test_without_the_private_function_the_public_handlers_serve(
    double: StreamingSandbox,
    ingest: Ingest,
    recording: Recording,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ingest.start()
    recorder = recording()
    client = StreamingClient(options(double))
    facade = Facade(client)
    heard = heard_by(client)
    meter.tap(facade, customer_id="a", to=recorder)
    with pytest.raises(ValueError, match="tapped already"):
        meter.tap(facade, customer_id="a", to=recorder)
    client.connect(WITH_HEARTBEATS)
    client.stream(SECOND)
    client.disconnect(terminate=True)
    assert recorder.flush()
    (truth,) = double.truth()
    (event,) = ingest.events
    assert event.provider_id == truth.session_id
    assert (event.seconds, event.audio_seconds) == (truth.session_seconds, truth.audio_seconds)
    assert event.model == "universal-streaming-english"
    assert ingest.sessions()[0].expires_at == truth.expires_at
    assert heard[-1].type == "Termination"
    assert "recording.handlers_only" in caplog.text


def test_heartbeats_raise_the_lower_bound_of_an_open_session(
    double: StreamingSandbox, ingest: Ingest, recording: Recording
) -> None:
    ingest.start()
    recorder = recording()
    client = StreamingClient(options(double))
    meter.tap(client, customer_id="a", to=recorder)
    client.connect(WITH_HEARTBEATS)
    eventually(lambda: any(s.lower_seconds > 0 for s in ingest.sessions("open")))
    client.disconnect()
    assert recorder.flush()
    (session,) = ingest.sessions("open")
    assert session.lower_seconds > 0
    assert ingest.events == []


class NoClient:
    pass


@pytest.mark.parametrize(
    ("client", "given", "says"),
    [
        (NoClient, {}, "expected the SDK's StreamingClient"),
        (None, {"customer_id": ""}, "customer_id: expected"),
        (None, {"customer_id": None}, "customer_id: expected"),
        (None, {"customer_id": "\ud800"}, "UTF-8"),
        (None, {"dimensions": {"a": 1}}, "dimensions: expected text to text"),
        (None, {"dimensions": "text"}, "dimensions: expected a mapping"),
        (None, {"secret": "again"}, "a Recorder has its own"),
        (None, {"to": ""}, "to: expected"),
        (None, {"to": 7}, "to: expected"),
        (None, {"to": "postgresql://x/y"}, "postgresql:// is not known"),
        (None, {"to": "localhost:8787"}, "did you mean http://localhost:8787"),
        (None, {"to": "http://x"}, "METER_INGEST_SECRET"),
        (None, {"to": "http://x", "secret": "a\n"}, "no header can hold"),
        (None, {"to": "http://u:p@x", "secret": "s"}, "a password in it"),
        (None, {"to": "http://x?a=1", "secret": "s"}, "base URL"),
        (None, {"to": "http://x:port", "secret": "s"}, "not a URL"),
        (None, {"to": "meter.db"}, "collector: expected"),
        (None, {"to": ".", "collector": "c"}, "is a folder"),
        (None, {"to": "meter.db", "collector": "c", "spool": ""}, "spool: expected"),
    ],
)
def test_a_bad_argument_is_refused_at_once_and_leaves_the_client_as_it_was(
    client: Any, given: dict[str, Any], says: str, double: StreamingSandbox, recording: Recording
) -> None:
    target = StreamingClient(options(double)) if client is None else client()
    arguments = {"customer_id": "a", "to": recording(), **given}
    with pytest.raises(ValueError, match=says) as refusal:
        meter.tap(target, **arguments)
    assert "u:p" not in str(refusal.value)
    assert "_parse_message" not in vars(target)


def test_a_decimal_survives_the_sdk(
    double: StreamingSandbox, ingest: Ingest, recording: Recording
) -> None:
    ingest.start()
    recorder = recording()
    client = StreamingClient(options(double))
    meter.tap(client, customer_id="a", to=recorder)
    client._parse_message({"type": "Begin", "id": "s1", "expires_at": 1900000000})
    with pytest.raises(ValueError, match="session_duration_seconds"):
        client._parse_message({"type": "Termination", "session_duration_seconds": 61.123456789})
    assert recorder.flush()
    assert ingest.billed == {"s1": Decimal("61.123456789")}


def test_importing_meter_costs_nothing() -> None:
    script = (
        "import sys, meter"
        "; heavy = {'meter.recording', 'httpx', 'assemblyai', 'msgspec', 'asyncio'}"
        "; print(sorted(heavy & set(sys.modules))); meter.tap, meter.Recorder"
        "; print(sorted({'httpx', 'assemblyai', 'sqlite3', 'pluggy'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    assert ran.stdout.split("\n")[:2] == ["[]", "[]"]


def test_handlers_of_the_user_are_called_in_their_order(
    double: StreamingSandbox, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    order: list[str] = []
    client = StreamingClient(options(double))
    client.on(StreamingEvents.Begin, lambda *_: order.append("before"))
    meter.tap(client, customer_id="a", to=recording())
    client.on(StreamingEvents.Begin, lambda *_: order.append("after"))
    client.connect(WITH_HEARTBEATS)
    client.disconnect(terminate=True)
    assert order == ["before", "after"]
