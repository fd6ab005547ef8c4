"""The snippets for other languages, run as they stand against the real command."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from acceptance.process import Meter, free_port, pipelines, wait_until
from meter.clock import SystemClock
from meter.events import StreamTerminated
from meter.journal import Session, open_journal

pytestmark = pytest.mark.acceptance

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
NODE = shutil.which("node")
CURL = shutil.which("curl")
SECRET = "s3cret-of-the-apps"
WITHOUT = {"http_proxy", "https_proxy", "all_proxy"}

needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    running = Meter(tmp_path / "site")
    apps = {"apps": {"type": "ingest", "secret": SECRET}}
    running.configure(pipelines(port=free_port(), collectors=apps))
    yield running
    running.kill()


def environ(url: str, secret: str = SECRET) -> dict[str, str]:
    ours = {"METER_URL": url, "METER_INGEST_SECRET": secret, "NO_PROXY": "*"}
    return {**{n: v for n, v in os.environ.items() if n.lower() not in WITHOUT}, **ours}


def address(meter: Meter) -> str:
    """Where it will answer, started or not."""
    (port,) = re.findall(r"port: (\d+)", meter.file.read_text())
    return f"http://127.0.0.1:{port}"


def messages(name: str = "session-1", seconds: str = "12.345678901234") -> str:
    """A session as it comes over the WebSocket, one message a line."""
    begin = f'"type":"Begin","id":"{name}","expires_at":4102444800'
    figures = f'"audio_duration_seconds": 9000.50, "session_duration_seconds": {seconds}'
    lines = [
        f'{{{begin},"configuration":{{"model":"universal-streaming"}}}}',
        '{"type":"Turn","transcript":"Begin \\"Termination\\"","end_of_turn":true}',
        "\x00\x01 binary",
        '{"type":"Heartbeat","total_duration_ms":5000}',
        f'{{"type": "Termination", {figures}}}',
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def node(
    meter: Meter, *, customer: str = "acme", secret: str = SECRET
) -> Iterator[subprocess.Popen[str]]:
    """The snippet at work, as a process; killed if the test is done first."""
    with subprocess.Popen(
        [str(NODE), str(EXAMPLES / "post_usage.mjs"), customer],
        env=environ(address(meter), secret),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def posted(meter: Meter, lines: str, **given: str) -> tuple[int, str, str]:
    """Feed the snippet to its end: its exit code and what it printed."""
    with node(meter, **given) as process:
        out, errors = process.communicate(lines, timeout=60)
        return process.returncode, out, errors


def curl(meter: Meter, secret: str = SECRET) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(EXAMPLES / "post_usage.sh")],
        env=environ(address(meter), secret),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def recorded(meter: Meter, name: str = "session-1") -> tuple[Session, StreamTerminated]:
    journal = open_journal(str(meter.folder / "meter.db"), SystemClock())
    try:
        session = journal.sessions.find(name)
        event = journal.find(f"assemblyai:session:{name}")
    finally:
        journal.close()
    assert session is not None
    assert isinstance(event, StreamTerminated)
    return session, event


# -- JavaScript ----------------------------------------------------------------------------------


@needs_node
def test_node_posts_a_session_and_again_it_is_a_duplicate(meter: Meter) -> None:
    meter.start()
    name = 'Müller 🙂 "&" Söhne'
    for _ in range(2):
        assert posted(meter, messages(), customer=name) == (0, "", "")
    session, event = recorded(meter)
    assert (session.state, session.model) == ("closed", "universal-streaming")
    assert (event.customer_id, event.audio_seconds) == (name, Decimal("9000.5"))
    assert event.seconds == Decimal("12.345678901"), "nine decimals are kept"
    assert event.started_at is not None
    assert event.started_at <= event.occurred_at
    _, status = meter.status()
    assert (status["events"], status["quarantined"]) == ({"stream_terminated": 1}, {})


@needs_node
def test_a_figure_that_no_double_holds_arrives_as_it_was_sent(meter: Meter) -> None:
    meter.start()
    figure = "9999999.123456789"
    assert json.dumps(json.loads(figure)) != figure, "a double rounds it"
    assert posted(meter, messages(seconds=figure)) == (0, "", "")
    assert recorded(meter)[1].seconds == Decimal(figure)


@needs_node
def test_node_posts_again_when_the_network_fails(meter: Meter) -> None:
    with node(meter) as posting:
        assert posting.stdin is not None
        with socket.create_server(("127.0.0.1", int(address(meter).rpartition(":")[2]))) as broken:
            posting.stdin.write(messages())
            posting.stdin.flush()
            broken.settimeout(60)
            connection, _ = broken.accept()
            connection.recv(10)
            connection.close()
        assert posting.poll() is None
        meter.start()
        assert posting.communicate(timeout=60) == ("", "")
        assert posting.returncode == 0
    assert recorded(meter)[0].state == "closed"


@needs_node
def test_node_posts_again_what_the_journal_could_not_store(meter: Meter) -> None:
    meter.start()
    with closing(sqlite3.connect(meter.folder / "meter.db")) as journal:
        journal.execute(
            "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'full'); END"
        )
        with node(meter) as posting:
            assert posting.stdin is not None
            posting.stdin.write(messages())
            posting.stdin.flush()
            wait_until(lambda: meter.logs("ingest.unsaved"))
            journal.execute("DROP TRIGGER full")
            assert posting.communicate(timeout=60) == ("", "")
            assert posting.returncode == 0
    assert recorded(meter)[0].state == "closed"


@needs_node
def test_node_says_what_was_refused_and_never_the_secret(meter: Meter) -> None:
    meter.start()
    code, out, errors = posted(meter, messages(), secret="wrong-" + SECRET)
    assert (code, out, errors.count("meter: 401: ")) == (1, "", 2)
    code, out, more = posted(meter, messages(seconds="-1"), customer="")
    assert (code, out) == (1, "")
    assert "meter: quarantined: customer_id: expected whose session it is" in more
    assert "meter: quarantined: session_duration_seconds: expected 0 or more, got -1" in more
    assert SECRET not in errors + more + meter.log.read_text()


@needs_node
def test_the_class_shown_is_short_and_does_not_show_the_secret(tmp_path: Path) -> None:
    text = (EXAMPLES / "post_usage.mjs").read_text()
    (shown,) = re.findall(r"^export class.*?^}", text, re.DOTALL | re.MULTILINE)
    assert len(shown.splitlines()) <= 42
    script = (
        f"import {{SessionUsage}} from {json.dumps(str(EXAMPLES / 'post_usage.mjs'))};"
        f"console.log(new SessionUsage({{url: 'http://m', secret: '{SECRET}', customerId: 'a'}}))"
    )
    inspected = subprocess.run(
        [str(NODE), "--input-type=module", "-e", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    assert "SessionUsage" in inspected.stdout
    assert SECRET not in inspected.stdout


# -- curl ----------------------------------------------------------------------------------------


@needs_curl
def test_curl_posts_a_job_and_a_session_and_again_they_are_duplicates(meter: Meter) -> None:
    meter.start()
    for status in ("recorded", "duplicate"):
        ran = curl(meter)
        assert ran.returncode == 0, ran.stderr
        answers = [json.loads(line)["results"] for line in ran.stdout.splitlines()]
        assert [[item["status"] for item in answer] for answer in answers] == [
            [status],
            [status, status],
        ]
        assert SECRET not in ran.stdout + ran.stderr
    session, event = recorded(meter)
    assert (session.dimensions, event.dimensions) == ({"project_id": "p1"}, {"project_id": "p1"})
    assert (event.seconds, event.audio_seconds) == (Decimal("299.123456789"), Decimal(290))
    with closing(sqlite3.connect(meter.folder / "meter.db")) as journal:
        rows = journal.execute("SELECT event_id, customer_id, seconds FROM usage_events").fetchall()
    assert sorted(rows) == [
        ("assemblyai:session:session-1", "acme", 299.123456789),
        ("assemblyai:transcript:job-1", "acme", 61.5),
    ]


@needs_curl
def test_curl_fails_with_the_reason_and_never_shows_the_secret(meter: Meter) -> None:
    meter.start()
    ran = curl(meter, "wrong-" + SECRET)
    assert ran.returncode != 0
    assert "missing or wrong secret" in ran.stdout
    assert SECRET not in ran.stdout + ran.stderr
    assert "METER_INGEST_SECRET" in curl(meter, "").stderr
