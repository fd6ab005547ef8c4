"""The recorder as any WebSocket code uses it, and what it never does to that code."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from meter import Recorder
from meter.recording.messages import cut, kind_of
from meter.recording.spool import Spool
from meter.sandbox.streaming import StreamingSandbox
from meter.streaming import Termination, read_message
from recording.conftest import Recording
from recording.ingest import SECRET, Ingest
from recording.streams import SECOND, begin, heartbeat, termination
from support.clocks import FakeClock
from support.waiting import eventually

WORDS = "the-spoken-words"
TURN = json.dumps(
    {"type": "Turn", "transcript": WORDS, "words": [{"text": WORDS}], "end_of_turn": True}
)


def test_a_plain_websocket_client_is_recorded_as_in_assemblyais_own_guide(
    double: StreamingSandbox, ingest: Ingest, recording: Recording
) -> None:
    ingest.start()
    recorder = recording()

    async def application() -> list[str]:
        session = recorder.session(customer_id="acme", dimensions={"project_id": "7"})
        kinds = []
        async with connect(
            f"{double.url}/v3/ws?sample_rate=16000", additional_headers={"Authorization": "key"}
        ) as websocket:
            await websocket.send(SECOND)
            await websocket.send('{"type": "Terminate"}')
            async for message in websocket:
                session.feed(message)
                kinds.append(json.loads(message)["type"])
        return kinds

    assert asyncio.run(application())[-1] == "Termination"
    assert recorder.flush()
    (truth,) = double.truth()
    (event,) = ingest.events
    assert (event.provider_id, event.customer_id) == (truth.session_id, "acme")
    assert (event.seconds, event.audio_seconds) == (truth.session_seconds, truth.audio_seconds)
    assert event.dimensions == {"project_id": "7"}


class Hostile(Mapping[str, Any]):
    """Looks like a message, and raises whatever is asked of it."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __iter__(self) -> Any:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


GARBAGE: list[Any] = [
    "",
    "{",
    "null",
    "[]",
    "\0",
    "\ud800",
    '{"type": "\\ud800"}',
    '{"type": ["Begin"]}',
    "[" * 100_000,
    '{"type": "Turn", "x": ' + "[" * 100_000,
    b"",
    b"\xff\xfe",
    bytes(3200),
    bytearray(b"{}"),
    memoryview(b"\0"),
    "x" * 5_000_000,
    b'{"type":"Begin","id":"' + b"x" * 5_000_000 + b'"}',
    {},
    {"type": None},
    {"type": []},
    {"type": "Heartbeat", "total_duration_ms": "x"},
    None,
    7,
    object(),
    Hostile(),
    TURN,
    json.loads(TURN),
]


def test_what_says_nothing_is_swallowed_and_the_session_goes_on(
    ingest: Ingest, recording: Recording
) -> None:
    ingest.start()
    recorder = recording()
    for number, garbage in enumerate(GARBAGE):
        session = recorder.session(customer_id="a")
        session.feed(begin(f"s{number}"))
        session.feed(garbage)
        session.feed(termination())
    assert recorder.flush()
    assert ingest.billed == {f"s{number}": Decimal(7) for number in range(len(GARBAGE))}
    assert len(ingest.items) == 2 * len(GARBAGE)


ODD: list[Any] = [
    '{"type":"Begin"}',
    '{"type":"Begin","id":7}',
    '{"type":"Begin","id":"\\ud800"}',
    b'{"type":"Begin","id":"\xff"}',
    '{"type":"Begin","id":"' + "x" * 600 + '"}',
    {"type": "Begin", "id": "\ud800\0" * 900},
    {"type": "Begin", "id": {"words": WORDS}},
    '{"type":"Termination","session_duration_seconds":{"a":"' + WORDS + '"}}',
    '{"type":"Termination","session_duration_seconds":' + "9" * 5000 + "}",
    {"type": "Termination", "session_duration_seconds": float("nan")},
    {"type": "Termination", "session_duration_seconds": 10**5000},
    {"type": "Termination", "session_duration_seconds": [WORDS]},
    termination(),  # of no known session
]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_a_message_without_what_it_exists_for_has_one_counted_place(
    number: int, ingest: Ingest, recording: Recording
) -> None:
    ingest.start()
    recorder = recording()
    recorder.session(customer_id="a").feed(ODD[number])
    assert recorder.flush()
    opened = len(ingest.sessions("open"))
    assert ingest.quarantined() + opened + len(ingest.events) <= 1
    assert ingest.events == []
    if len(ingest.items) == 1:
        assert ingest.quarantined() + opened == 1
    assert WORDS not in str(ingest.bodies)


@given(
    seconds=st.decimals(0, 10**7, allow_nan=False, places=9).map(str)
    | st.integers(0, 10**7).map(str)
)
def test_a_decimal_is_posted_digit_by_digit(seconds: str) -> None:
    said = read_message(cut(termination(seconds), "Termination"))
    assert isinstance(said, Termination)
    assert said.seconds == Decimal(seconds)
    assert seconds.encode() in cut(termination(seconds), "Termination")


@given(st.floats(0, 10**7, allow_nan=False))
def test_a_float_of_an_sdk_is_written_as_its_shortest_repr(seconds: float) -> None:
    message = {"type": "Termination", "session_duration_seconds": seconds}
    said = read_message(cut(message, "Termination"))
    assert isinstance(said, Termination)
    assert said.seconds == Decimal(repr(seconds)).quantize(Decimal("1E-9"))


@given(st.binary() | st.text(st.characters()) | st.recursive(st.none(), st.lists))
def test_no_input_at_all_raises(message: Any) -> None:
    assert kind_of(message) is None


def test_nothing_that_was_said_and_no_secret_is_on_disk_on_the_wire_or_in_a_log(
    ingest: Ingest, recording: Recording, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    recorder = recording(spool=tmp_path / "spool")
    session = recorder.session(customer_id="a")
    for message in (
        begin("s1", transcript=WORDS, configuration={"model": "m", "prompt": WORDS}),
        TURN,
        termination().replace("{", '{"transcript": "' + WORDS + '", '),
    ):
        session.feed(message)
    eventually(lambda: "recording.waiting" in caplog.text)
    (file,) = (tmp_path / "spool").glob("*.spool")
    kept = file.read_text()
    assert kept.count("\n") == 2
    ingest.start()
    assert recorder.flush()
    for text in (kept, str(ingest.bodies), caplog.text, repr(recorder), repr(vars(recorder))):
        assert WORDS not in text
        assert SECRET not in text
    assert [set(item["message"]) for item in ingest.items] == [
        {"type", "id", "expires_at", "configuration"},
        {"type", "session_duration_seconds", "audio_duration_seconds"},
    ]
    assert ingest.sessions()[0].model == "m"


def test_heartbeats_go_out_at_most_every_thirty_seconds_and_never_to_disk(
    ingest: Ingest, recording: Recording, tmp_path: Path
) -> None:
    ingest.start()
    clock = FakeClock()
    recorder = recording(clock=clock, spool=tmp_path / "spool")
    session = recorder.session(customer_id="a")
    session.feed(heartbeat(1000))  # before Begin: of no session
    session.feed(begin("s1", expires_at=4_000_000_000))
    for second in range(1, 62):
        session.feed(heartbeat(second * 1000))
        eventually(lambda: not recorder.courier()._beats)
        clock.advance(seconds=1)
    assert recorder.flush()
    beats = [i for i in ingest.items if i["message"]["type"] == "Heartbeat"]
    assert [i["message"]["total_duration_ms"] for i in beats] == [1000, 31_000, 61_000]
    assert all("Heartbeat" not in f.read_text() for f in (tmp_path / "spool").iterdir())


def test_the_time_is_when_it_was_fed(ingest: Ingest, recording: Recording) -> None:
    clock = FakeClock()
    recorder = recording(clock=clock)
    session = recorder.session(customer_id="a")
    session.feed(begin("s1"))
    fed = clock.now()
    session.feed(termination())
    clock.advance(days=40)
    ingest.start()
    assert recorder.flush()
    assert ingest.events[0].occurred_at == fed


def test_one_session_may_see_several_connections(ingest: Ingest, recording: Recording) -> None:
    ingest.start()
    recorder = recording()
    session = recorder.session(customer_id="a")
    for number in range(3):
        session.feed(begin(f"s{number}").encode())
        session.feed(termination(str(number)).encode())
    session.feed('{"type": "Begin"}')
    session.feed(termination("99"))  # belongs to none of the three
    assert recorder.flush()
    assert ingest.billed == {"s0": Decimal(0), "s1": Decimal(1), "s2": Decimal(2)}
    assert ingest.quarantined() == 2


def test_feeding_from_many_threads_loses_nothing(ingest: Ingest, recording: Recording) -> None:
    ingest.start()
    recorder = recording()

    def feed(name: int) -> None:
        for number in range(50):
            session = recorder.session(customer_id="a")
            session.feed(begin(f"{name}-{number}"))
            session.feed(termination())

    threads = [threading.Thread(target=feed, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush(30)
    assert len(ingest.billed) == 400
    assert all(event.started_at is not None for event in ingest.events)  # Begin came first


def test_feeding_waits_for_nothing_while_meter_hangs(ingest: Ingest, recording: Recording) -> None:
    release = threading.Event()

    def hang(_body: bytes) -> None:
        release.wait(20)

    ingest.instead = hang
    ingest.start()
    recorder = recording()
    session = recorder.session(customer_id="a")
    took = []
    for number in range(200):
        started = time.perf_counter()
        session.feed(begin(f"s{number}"))
        took.append(time.perf_counter() - started)
    assert sorted(took)[100] < 0.005
    assert not recorder.flush(0.1)
    release.set()
    assert recorder.flush()
    assert len(ingest.sessions()) == 200


def test_close_ends_a_recorder_and_what_comes_later_is_said(
    ingest: Ingest, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    ingest.start()
    with recording() as recorder:
        session = recorder.session(customer_id="a")
        session.feed(begin("s1"))
    assert len(ingest.sessions()) == 1
    for _ in range(3):
        session.feed(termination())
    assert recorder.close()
    assert not recorder.flush(0.1)
    assert caplog.text.count("recording.fed_after_close") == 1


def test_closing_wakes_a_recorder_that_waits(recording: Recording) -> None:
    recorder = recording()
    recorder.session(customer_id="a").feed(begin("s1"))
    started = time.monotonic()
    assert not recorder.close(0.3)
    assert time.monotonic() - started < 5


def _child(recorder: Recorder, session: Any, done: Any) -> None:
    session.feed(termination("5"))
    own = recorder.session(customer_id="child")
    own.feed(begin("child"))
    own.feed(termination("6"))
    done.put(recorder.flush(20))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_has_a_thread_and_a_file_of_its_own(
    ingest: Ingest, recording: Recording, tmp_path: Path
) -> None:
    ingest.start()
    recorder = recording(spool=tmp_path / "spool")
    session = recorder.session(customer_id="parent")
    session.feed(begin("parent"))
    assert recorder.flush()
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    child = context.Process(target=_child, args=(recorder, session, done))
    child.start()
    assert done.get(timeout=30) is True
    child.join(30)
    assert child.exitcode == 0
    session.feed(termination("5"))
    assert recorder.flush()
    assert ingest.billed == {"parent": Decimal(5), "child": Decimal(6)}


def test_without_a_home_it_still_records(
    ingest: Ingest,
    recording: Recording,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setattr(Path, "home", _homeless)
    ingest.start()
    recorder = recording()
    recorder.session(customer_id="a").feed(begin("s1"))
    assert recorder.flush()
    assert len(ingest.sessions()) == 1
    assert caplog.text.count("recording.spool_unwritable") == 1
    assert isinstance(recorder.courier().spool, Spool)
    assert os.environ["XDG_STATE_HOME"] == "relative"


def _homeless() -> Path:
    raise RuntimeError("Could not determine home directory.")
