"""Bad input over HTTP: refused or set aside, counted, and never logged with its body."""

import contextlib
import json
import resource
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from acceptance import books
from acceptance.process import API_KEY, HEADER, HOOK, SECRET, Meter, pipelines, wait_until
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults

pytestmark = pytest.mark.acceptance

CAP = 4096
PRIVATE = "words-that-no-log-may-hold"


@pytest.fixture
def double() -> Iterator[AssemblyAISandbox]:
    with AssemblyAISandbox(latency=0, faults=Faults(webhook_lost=1)) as double:
        yield double


@pytest.fixture
def running(meter: Meter, double: AssemblyAISandbox) -> Meter:
    server = {"max_body": CAP, "receipt_deadline": "500ms"}
    return meter.configure(pipelines(double.base_url, server=server)).start()


def receipts(meter: Meter) -> int:
    ((count,),) = books.rows(meter.folder / "meter.db", "SELECT count(*) FROM receipts")
    return int(count)


def a_transcript(double: AssemblyAISandbox) -> str:
    answer = httpx.post(
        f"{double.base_url}/v2/transcript",
        json={"audio_url": "https://recordings.example/a.mp3"},
        headers={"authorization": API_KEY},
        trust_env=False,
    )
    return str(answer.json()["id"])


@contextlib.contextmanager
def connected(meter: Meter, *headers: str, method: str = "POST") -> Iterator[socket.socket]:
    """Open a connection and send the head of a webhook, with the right secret."""
    host, port = meter.url.removeprefix("http://").split(":")
    lines = (
        f"{method} {HOOK}?customer_id={PRIVATE} HTTP/1.1",
        f"host: {host}",
        f"{HEADER}: {SECRET}",
        *headers,
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        yield connection


def answer_of(connection: socket.socket) -> bytes:
    """Read until the other side hangs up, politely or not."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while some := connection.recv(65536):
            answer += some
    return answer


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", SECRET[:-1], SECRET.upper()])
def test_a_wrong_secret_is_401_and_nothing_is_stored(running: Meter, secret: str | None) -> None:
    body = {"transcript_id": "t", "status": "completed"}
    assert running.post("customer_id=acme", body, secret=secret).status_code == 401
    assert receipts(running) == 0


NOT_JSON: tuple[str | bytes, ...] = (
    "",
    PRIVATE,
    f'{{"transcript_id": "{PRIVATE}"',
    b"\xff\xfe{}",
    "[" * 2000,
    "NaN",
)
NO_OBJECT: tuple[Any, ...] = ([{"transcript_id": PRIVATE}], [], "text", 1, None, True)


def refusals(meter: Meter) -> Iterator[tuple[str, int, httpx.Response]]:
    """Send requests that are wrong in one way each; yield what each deserves and what it got."""
    query = f"customer_id={PRIVATE}"
    with httpx.Client(base_url=meter.url, trust_env=False) as http:
        yield "unknown path", 404, http.post(f"/nowhere?{query}")
        yield "below the path", 404, http.post(f"{HOOK}/{PRIVATE}")
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            yield method, 405, http.request(method, f"{HOOK}?{query}")
        yield "POST /healthz", 405, http.post("/healthz")
    yield "too large", 413, meter.post(query, {"transcript_id": PRIVATE * CAP})
    for body in NOT_JSON:
        yield f"not JSON: {body[:9]!r}", 400, meter.post(query, body)
    for thing in NO_OBJECT:
        yield f"no object: {thing!r}", 400, meter.post(query, json.dumps(thing))


def test_what_is_wrong_is_refused_counted_and_never_logged(running: Meter) -> None:
    expected: Counter[int] = Counter()
    for name, code, answer in refusals(running):
        assert (name, answer.status_code) == (name, code)
        expected[code] += 1
    assert receipts(running) == 0
    counted: Counter[int] = Counter()
    for place, times in running.get("/healthz").json()["answered"].items():
        counted[int(place.rsplit(" ", 1)[1])] += times
    assert {code: n for code, n in counted.items() if code >= 400} == expected
    assert {line["status"] for line in running.logs("http.refused")} == set(expected)
    assert running.stop() == 0
    for text in (PRIVATE, SECRET, API_KEY):
        assert text not in running.log.read_text()


SHAPES: tuple[tuple[str, Any], ...] = (
    ("nothing", {}),
    ("something else", {"hello": PRIVATE, "deep": {"deeper": [PRIVATE]}}),
    ("an id of another type", {"transcript_id": 17, "status": "completed"}),
    ("an empty id", {"transcript_id": "", "status": "completed"}),
    ("no id", {"transcript_id": None, "status": "completed"}),
)


def test_an_authenticated_object_of_unknown_shape_is_taken_and_quarantined(running: Meter) -> None:
    for name, body in SHAPES:
        assert (name, running.post("customer_id=acme", body).status_code) == (name, 200)
    wait_until(lambda: running.status()[1]["quarantined"] == {"transcripts": len(SHAPES)})
    assert running.status()[1]["receipts"] == {"quarantined": len(SHAPES)}
    assert running.stop() == 0
    for path in running.folder.rglob("*"):
        assert not path.is_file() or PRIVATE.encode() not in path.read_bytes(), path.name


def test_the_other_known_bodies_are_taken_and_become_no_event(running: Meter) -> None:
    address = "https://redacted.example/secret-audio.mp3"
    redacted = {"status": "redacted_audio_ready", "redacted_audio_url": address}
    streaming = {"session_id": "s-1", "messages": [{"transcript": PRIVATE}]}
    for body in (redacted, streaming):
        assert running.post("customer_id=acme", body).status_code == 200
    wait_until(
        lambda: running.status()[1]["receipts"] == {"redacted audio": 1, "streaming notice": 1}
    )
    status = running.status()[1]
    assert (status["events"], status["quarantined"]) == ({}, {})
    assert running.stop() == 0
    for path in running.folder.rglob("*"):
        for text in (PRIVATE, address):
            assert not path.is_file() or text.encode() not in path.read_bytes(), path.name


def test_a_body_over_the_cap_is_413_while_it_streams(running: Meter) -> None:
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    with connected(running, "transfer-encoding: chunked") as connection:
        connection.sendall(chunk * (CAP // 1024 + 1))
        assert status_of(answer_of(connection)) == 413
    with connected(running, f"content-length: {10**12}") as connection:
        connection.sendall(b"x" * (CAP + 1))
        assert status_of(answer_of(connection)) == 413
    assert receipts(running) == 0
    assert running.is_ready()


def test_a_body_that_never_ends_is_answered_503_and_hung_up_on(running: Meter) -> None:
    with connected(running, "content-length: 100") as connection:
        connection.sendall(b'{"transcript_id":')
        assert status_of(answer_of(connection)) == 503
    with connected(running, "transfer-encoding: chunked") as connection:
        assert status_of(answer_of(connection)) == 503
    assert receipts(running) == 0


def test_a_head_that_grows_for_ever_is_hung_up_on(running: Meter) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET /healthz HTTP/1.1\r\n" + b"x-more: y\r\n" * 100_000)
        assert b"200" not in answer_of(connection)[:15]
    assert running.is_ready()


def test_a_client_that_hangs_up_within_its_body_leaves_nothing(running: Meter) -> None:
    with connected(running, "content-length: 100") as connection:
        connection.sendall(b'{"transcript_id": "t"')
    assert running.post("customer_id=acme", {"hello": 1}).status_code == 200
    assert receipts(running) == 1
    assert running.stop() == 0
    assert [line for line in running.logs() if line["level"] == "error"] == []


def test_two_requests_in_one_packet_are_both_answered(running: Meter) -> None:
    body = b'{"status":"redacted_audio_ready"}'
    with connected(running, f"content-length: {len(body)}") as connection:
        second = (
            f"POST {HOOK} HTTP/1.1\r\nhost: x\r\n{HEADER}: {SECRET}\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        connection.sendall(body + second.encode() + body)
        assert answer_of(connection).count(b"HTTP/1.1 200 ") == 2
    assert receipts(running) == 2


def test_a_query_that_is_not_clean_is_taken_and_quarantined(
    running: Meter, double: AssemblyAISandbox
) -> None:
    queries = ("", "customer_id=", "customer_id=a&customer_id=b", "customer_id=%FF", "project_id=p")
    for query in queries:
        body = {"transcript_id": a_transcript(double), "status": "completed"}
        assert running.post(query, body).status_code == 200
    wait_until(lambda: running.status()[1]["quarantined"] == {"transcripts": len(queries)})
    assert running.status()[1]["events"] == {}


# -- a journal that cannot be written -------------------------------------------------------


def take_away(meter: Meter) -> Callable[[], object]:
    path, aside = meter.folder / "meter.db", meter.folder / "meter.aside"
    path.rename(aside)
    return lambda: aside.rename(path)


def replace_it(meter: Meter) -> Callable[[], object]:
    heal = take_away(meter)
    shutil.copy(meter.folder / "meter.aside", meter.folder / "meter.db")
    return heal


def fill_the_disk(meter: Meter) -> Callable[[], object]:
    """Let no file of the process grow: what a full disk is to SQLite."""
    largest = (meter.folder / "meter.db-wal").stat().st_size
    _, hard = resource.prlimit(meter.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(meter.pid, resource.RLIMIT_FSIZE, (largest, hard))
    return lambda: resource.prlimit(meter.pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize("harm", [take_away, replace_it, fill_the_disk])
def test_a_journal_that_cannot_be_written_is_503_until_it_can(
    running: Meter, double: AssemblyAISandbox, harm: Callable[[Meter], Callable[[], object]]
) -> None:
    before, during = a_transcript(double), a_transcript(double)
    body = {"transcript_id": before, "status": "completed"}
    assert running.post("customer_id=acme", body).status_code == 200
    wait_until(lambda: books.rows_delivered(running.folder) == (1, 1))

    heal = harm(running)
    body = {"transcript_id": during, "status": "completed"}
    for _ in range(3):
        refusal = running.post("customer_id=acme", body)
        assert (refusal.status_code, "retry-after" in refusal.headers) == (503, True)
    wait_until(lambda: running.get("/readyz").status_code == 503)
    assert running.get("/healthz").status_code == 200

    heal()
    wait_until(running.is_ready)
    assert receipts(running) == 1
    assert running.post("customer_id=acme", body).status_code == 200
    wait_until(lambda: books.rows_delivered(running.folder) == (2, 2))
    assert running.status()[0] == 0
    assert running.stop() == 0
    assert SECRET not in running.log.read_text()
    expected = sorted(books.usage(row.transcript_id, "acme", row.seconds) for row in double.truth())
    assert books.in_sqlite(running.folder / "usage.db") == expected
    assert books.in_csv(running.folder / "exports") == expected


@pytest.mark.parametrize("harm", [take_away, fill_the_disk])
def test_a_journal_that_cannot_be_written_does_not_keep_it_from_ending(
    running: Meter, harm: Callable[[Meter], Callable[[], object]]
) -> None:
    heal = harm(running)
    assert running.post("customer_id=acme", {"transcript_id": "t"}).status_code == 503
    assert running.stop() == 0
    if harm is take_away:
        heal()
    assert running.status()[1]["receipts"] == {}


def test_beyond_the_bound_of_concurrency_comes_503_and_please_retry(
    meter: Meter, double: AssemblyAISandbox
) -> None:
    server = {"max_concurrency": 1, "receipt_deadline": "30s"}
    meter.configure(pipelines(double.base_url, server=server)).start()
    body = {"status": "redacted_audio_ready"}
    with connected(meter, "content-length: 2") as slow:
        wait_until(lambda: meter.post("a=b", body).status_code == 503)
        refusal = meter.post("a=b", body)
        assert (refusal.status_code, "retry-after" in refusal.headers) == (503, True)
        slow.sendall(b"{}")
        assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: meter.post("a=b", body).status_code == 200)
