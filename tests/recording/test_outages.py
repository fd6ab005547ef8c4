"""What becomes of usage while meter, the user's process or the disk is away."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

import meter
from acceptance.process import Meter, free_port
from meter.clock import SystemClock
from meter.http import Response
from meter.journal import open_journal
from meter.sandbox.streaming import StreamingSandbox
from recording.conftest import Recording
from recording.ingest import SECRET, Ingest
from recording.streams import STREAMS, Stream, begin, termination
from support.waiting import eventually

FEEDING = """
import sys, meter
name, to, spool, secret, end = sys.argv[1:]
recorder = meter.Recorder(to, secret=secret, spool=spool)
for number in range(5):
    session = recorder.session(customer_id=name)
    session.feed('{"type": "Begin", "id": "%s%d", "expires_at": 1900000000}' % (name, number))
    session.feed('{"type": "Termination", "session_duration_seconds": 7.25}')
print("fed", flush=True)
if end == "wait":
    sys.stdin.readline()
"""


class Feeder:
    """A process of a user's that records five sessions; it ends when its input does."""

    def __init__(self, name: str, to: str, spool: Path, *, end: str = "wait") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", FEEDING, name, to, str(spool), SECRET, end],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NO_PROXY": "127.0.0.1,localhost"},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "fed\n"

    def end(self) -> str:
        _, errors = self.process.communicate("\n", timeout=20)
        assert self.process.returncode == 0, errors
        return errors

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=20)


def spooled(folder: Path) -> int:
    """Count the items on the disk."""
    return sum(file.read_text().count('"message"') for file in folder.glob("*.spool"))


@pytest.mark.parametrize("stream", STREAMS)
def test_usage_of_a_session_that_met_no_meter_arrives_when_it_is_back(
    stream: Stream, double: StreamingSandbox, ingest: Ingest, recording: Recording, tmp_path: Path
) -> None:
    recorder = recording(spool=tmp_path / "spool")
    heard = stream(double, lambda client: meter.tap(client, customer_id="a", to=recorder))
    assert heard[-1].type == "Termination"
    eventually(lambda: spooled(tmp_path / "spool") == 2)
    assert not recorder.flush(0.2)
    ended = SystemClock().now()
    ingest.start()
    assert recorder.flush()
    (truth,) = double.truth()
    assert ingest.billed == {truth.session_id: truth.session_seconds}
    (event,) = ingest.events
    assert event.occurred_at < ended  # the month in which it was, not in which it came
    assert spooled(tmp_path / "spool") == 0


def test_after_kill_9_another_process_delivers(
    ingest: Ingest, recording: Recording, tmp_path: Path
) -> None:
    feeder = Feeder("a", ingest.url, tmp_path / "spool")
    eventually(lambda: spooled(tmp_path / "spool") == 10)
    feeder.kill()
    (file,) = (tmp_path / "spool").glob("*.spool")
    with file.open("a") as torn:
        torn.write('{"message":{"type":"Begin","id":"to')
    ingest.start()
    recorder = recording(spool=tmp_path / "spool")
    assert recorder.flush()
    assert ingest.billed == {f"a{number}": Decimal("7.25") for number in range(5)}
    recorder.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_processes_share_a_spool_and_only_the_dead_are_inherited(
    ingest: Ingest, recording: Recording, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    dead, alive = Feeder("a", ingest.url, spool), Feeder("b", ingest.url, spool)
    eventually(lambda: spooled(spool) == 20)
    dead.kill()
    recorder = recording(spool=spool)
    recorder.session(customer_id="c").feed(begin("c0"))
    eventually(lambda: spooled(spool) == 21)
    ingest.start()
    assert recorder.flush()
    assert {name[0] for name in ingest.billed} >= {"a"}
    alive.end()
    eventually(lambda: len(ingest.billed) == 10)
    statuses = [item["session_id"] for item in ingest.items if item["customer_id"] == "a"]
    assert len(statuses) == 10  # nobody else sent them too
    assert spooled(spool) == 0


def test_a_process_that_just_ends_delivers_within_its_bound(ingest: Ingest, tmp_path: Path) -> None:
    ingest.start()
    for number, host in enumerate(["127.0.0.1", "localhost"]):  # a name needs looking up, too
        url = f"http://{host}:{ingest.port}"
        assert Feeder("ab"[number], url, tmp_path / "spool", end="at once").end() == ""
    assert len(ingest.billed) == 10


def test_a_process_ends_in_time_when_meter_hangs(tmp_path: Path) -> None:
    import socket
    import time

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        feeder = Feeder("a", url, tmp_path / "spool", end="at once")
        started = time.monotonic()
        feeder.end()
        assert time.monotonic() - started < 8  # 2 s, and what a busy machine adds
    assert spooled(tmp_path / "spool") == 10


def test_a_wrong_secret_is_said_once_and_costs_nothing(
    ingest: Ingest, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    ingest.start("another secret")
    recorder = recording()
    session = recorder.session(customer_id="a")
    session.feed(begin("s1"))
    session.feed(termination("61.5"))
    for _ in range(3):
        assert not recorder.flush(0.2)
    ours = [r.getMessage() for r in caplog.records if r.name == "meter.recording"]
    assert len(ours) == 1
    assert "answered 401: the secret is not the ingest collector's" in ours[0]
    ingest.stop()
    ingest.start()
    assert recorder.flush()
    assert ingest.billed == {"s1": Decimal("61.5")}
    assert "recording.delivering_again" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Response(503, b"{}", headers=((b"retry-after", b"0"),)), "answered 503"),
        (Response(404, b"{}"), "a collector of `type: ingest`?"),
        (Response(302, b"", headers=((b"location", b"http://127.0.0.1:9/"),)), "answered 302"),
        (Response(200, b"<html>"), "not meter's"),
        (Response(200, b'{"results":[]}'), "not meter's"),
        (Response(429, b"", headers=((b"retry-after", b"Wed, 21 Oct 2015 07:28:00 GMT"),)), "429"),
        (Response(500, b"", headers=((b"retry-after", b"soon"),)), "answered 500"),
    ],
)
def test_what_is_no_answer_is_tried_again(
    answer: Response,
    says: str,
    ingest: Ingest,
    recording: Recording,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ingest.instead = lambda _body: answer
    ingest.start()
    recorder = recording()
    session = recorder.session(customer_id="a")
    session.feed(begin("s1"))
    session.feed(termination())
    eventually(lambda: says in caplog.text)
    ingest.instead = lambda _body: None
    assert recorder.flush()
    assert ingest.billed == {"s1": Decimal(7)}


def test_retry_after_is_respected_and_a_flush_still_wakes(
    ingest: Ingest, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    later = Response(503, b"", headers=((b"retry-after", b"3600"),))
    ingest.instead = lambda _body: later
    ingest.start()
    recorder = recording()
    recorder.session(customer_id="a").feed(begin("s1"))
    eventually(lambda: "answered 503" in caplog.text)
    ingest.instead = lambda _body: None
    assert len(ingest.bodies) == 1
    assert recorder.flush()


@pytest.mark.parametrize(("status", "max_body"), [(400, 1_048_576), (413, 900)])
def test_a_batch_that_is_refused_is_sent_one_by_one_and_only_the_bad_one_is_set_aside(
    status: int,
    max_body: int,
    ingest: Ingest,
    recording: Recording,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = recording(spool=tmp_path / "spool")
    for number in range(4):
        extra = {"note": "x" * 1000} if number == 2 else {}
        session = recorder.session(customer_id="a", dimensions=extra)
        session.feed(begin(f"s{number}"))
        session.feed(termination())
    eventually(lambda: spooled(tmp_path / "spool") == 8)
    if status == 400:
        ingest.instead = lambda body: Response(400, b'{"error":"x"}') if b"xxx" in body else None
    ingest.max_body = max_body
    ingest.start()
    assert recorder.flush()
    assert sorted(ingest.billed) == ["s0", "s1", "s3"]
    refused = (tmp_path / "spool" / "refused.jsonl").read_text().splitlines()
    assert len(refused) == 2
    assert all(f"answered {status}" in line and '"s2"' in line for line in refused)
    assert caplog.text.count("recording.refused") == 2


def test_an_item_that_meter_calls_invalid_is_kept_for_a_person(
    ingest: Ingest, recording: Recording, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ingest.instead = lambda _body: Response(200, b'{"results":[{"status":"invalid","reason":"r"}]}')
    ingest.start()
    recorder = recording(spool=tmp_path / "spool")
    recorder.session(customer_id="a").feed(begin("s1"))
    assert recorder.flush()
    assert "invalid: r" in (tmp_path / "spool" / "refused.jsonl").read_text()
    assert "session_id='s1'" in caplog.text


def test_another_customers_session_is_a_conflict_and_said_loudly(
    ingest: Ingest, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    ingest.start()
    recorder = recording()
    for customer in ("a", "b"):
        session = recorder.session(customer_id=customer)
        session.feed(begin("s1"))
        session.feed(termination())
    assert recorder.flush()
    assert [event.customer_id for event in ingest.events] == ["a"]
    assert caplog.text.count("recording.conflict") == 2
    assert "session_id='s1'" in caplog.text


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Meter]:
    """The real `meter run`, with a collector that takes what is posted."""
    process = Meter(tmp_path / "site")
    process.configure(
        {
            "journal": "meter.db",
            "server": {"port": free_port()},
            "collectors": {"apps": {"type": "ingest", "secret": SECRET}},
            "sinks": {"ledger": {"type": "sqlite", "path": "usage.db"}},
            "pipelines": {"usage": {"from": ["apps"], "to": ["ledger"]}},
        }
    )
    yield process
    process.kill()


@pytest.mark.acceptance
def test_a_journal_file_is_written_beside_a_running_meter_which_delivers_it(
    running: Meter, recording: Recording, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    running.start()
    path = running.folder / "meter.db"
    recorder = recording(path, collector="apps", spool=tmp_path / "spool")
    posting = recording(running.url, secret=SECRET)
    for number in range(20):
        session = (recorder, posting)[number % 2].session(customer_id="a")
        session.feed(begin(f"s{number}"))
        session.feed(termination("61.25"))
    assert recorder.flush()
    assert posting.flush()
    metered = open_journal(str(path), SystemClock())
    try:
        assert len(metered.read(0, 100)) == 20
        assert {stored.event.collector for stored in metered.read(0, 100)} == {"apps"}
    finally:
        metered.close()
    eventually(lambda: running.status()[1]["balances"][0]["delivered"] == 20, seconds=20)
    assert httpx.get(running.url + "/readyz", trust_env=False).is_success
    assert caplog.text == ""


def test_a_journal_that_is_not_there_yet_is_waited_for(
    recording: Recording, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "meter.db"
    recorder = recording(path, collector="apps")
    session = recorder.session(customer_id="a")
    session.feed(begin("s1"))
    session.feed(termination())
    eventually(lambda: "recording.waiting" in caplog.text)
    path.parent.mkdir()
    assert recorder.flush()
    recorder.close()
    journal = open_journal(str(path), SystemClock())
    assert [stored.event.billed_seconds for stored in journal.read(0, 10)] == [Decimal(7)]
    journal.close()
