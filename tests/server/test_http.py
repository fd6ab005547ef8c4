"""The HTTP surface on a real socket: what is answered, what is stored, what is counted."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from meter.clock import SystemClock
from meter.collectors.intake import Intake
from meter.collectors.interface import CollectorContext
from meter.collectors.webhook import WebhookCollector, WebhookOptions
from meter.config import ServerOptions
from meter.errors import ConfigurationError
from meter.http import Request, Response, Route
from meter.journal import Journal, Receipt, open_journal
from meter.logs import FieldLogger
from meter.server.app import App
from meter.server.listening import HEAD_BYTES, HttpServer, bind
from support.plugging import plugins_with
from support.waiting import eventually

PATH = "/webhooks/assemblyai"
HEADERS = {"X-Meter-Secret": "s3cret"}
BODY = {"transcript_id": "t1", "status": "completed"}


class Served:
    """An app on a port of its own, served by the very server that `meter run` uses."""

    def __init__(self, app: App, options: ServerOptions) -> None:
        self.app = app
        self._listener = bind("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]
        self.server = HttpServer(app, receipt_deadline=options.receipt_deadline)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        eventually(lambda: self.server.started)

    def _serve(self) -> None:
        asyncio.run(self.server.serve(sockets=[self._listener]))

    def post(self, path: str = PATH, **given: Any) -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{self.port}{path}", trust_env=False, **given)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False)

    def raw(self, data: bytes, *, then_wait: bool = True) -> bytes:
        """Send bytes as they are; return everything until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            received = b""
            while then_wait and (part := connection.recv(65536)):
                received += part
            return received

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(str(tmp_path / "m.db"), SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def collector(journal: Journal) -> WebhookCollector:
    options = WebhookOptions(api_key=SecretStr("key"), secret=SecretStr("s3cret"))
    context = CollectorContext(
        name="transcripts",
        collectors=frozenset({"transcripts"}),
        intake=Intake(journal, plugins_with()),
        journal=journal,
        clock=SystemClock(),
        log=FieldLogger(logging.getLogger("test"), {}),
    )
    return WebhookCollector(options, context)


Serve = Callable[..., Served]


@pytest.fixture
def serve(journal: Journal) -> Iterator[Serve]:
    running: list[Served] = []

    def start(*routes: Route, **options: Any) -> Served:
        given = ServerOptions(**options)
        app = App(
            [("collectors.transcripts", route) for route in routes],
            options=given,
            journal=journal,
            clock=SystemClock(),
        )
        running.append(Served(app, given))
        return running[-1]

    yield start
    for served in running:
        served.stop()


@pytest.fixture
def served(serve: Serve, collector: WebhookCollector) -> Served:
    return serve(*collector.routes(), max_body=10_000)


def head(framing: bytes) -> bytes:
    """The head of an authenticated webhook, with this header to frame its body."""
    return (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-meter-secret: s3cret\r\n".encode()
        + framing
        + b"\r\n\r\n"
    )


def receipts(journal: Journal) -> list[Receipt]:
    return journal.due_receipts("transcripts", SystemClock().now(), skip=(), limit=100)


def test_an_authenticated_webhook_is_stored_before_it_is_answered(
    served: Served, journal: Journal
) -> None:
    answer = served.post(PATH + "?customer_id=a%20b&project_id=1", headers=HEADERS, json=BODY)
    assert answer.status_code == 200
    (receipt,) = receipts(journal)
    assert receipt.query == "customer_id=a%20b&project_id=1"
    assert json.loads(receipt.fields) == BODY


@pytest.mark.parametrize("headers", [{}, {"X-Meter-Secret": ""}, {"X-Meter-Secret": "S3cret"}])
def test_a_missing_or_wrong_secret_is_refused_and_nothing_is_stored(
    served: Served, journal: Journal, headers: dict[str, str]
) -> None:
    assert served.post(headers=headers, json=BODY).status_code == 401
    assert receipts(journal) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"not json", b"[1]", b'"text"', b"null", b"\xff", b"[" * 5000]
)
def test_what_is_no_json_object_is_refused(served: Served, journal: Journal, body: bytes) -> None:
    assert served.post(headers=HEADERS, content=body).status_code == 400
    assert receipts(journal) == []


def test_an_object_of_unknown_shape_is_taken_and_only_its_field_names_are_kept(
    served: Served, journal: Journal
) -> None:
    body = {"text": "what was said", "audio_url": "https://bucket/a.mp3", "status": {"deep": 1}}
    assert served.post(headers=HEADERS, json=body).status_code == 200
    (receipt,) = receipts(journal)
    assert json.loads(receipt.fields) == {
        "status": "dict",
        "fields": ["text", "audio_url", "status"],
    }


def test_unknown_paths_and_wrong_methods_are_told_apart(served: Served, journal: Journal) -> None:
    assert served.post("/nowhere", headers=HEADERS, json=BODY).status_code == 404
    wrong = served.get(PATH)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert receipts(journal) == []


def test_a_body_over_the_cap_is_refused_while_it_streams_in(
    served: Served, journal: Journal
) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    answer = served.raw(head(b"transfer-encoding: chunked") + chunk * 4)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert served.post(headers=HEADERS, content=b"x" * 10_001).status_code == 413
    assert receipts(journal) == []


def test_a_body_that_never_ends_meets_the_deadline(
    serve: Serve, collector: WebhookCollector
) -> None:
    served = serve(*collector.routes(), receipt_deadline=timedelta(milliseconds=100))
    assert served.raw(head(b"content-length: 100") + b"{").startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    "sent", [b"", b"POST / HTTP/1.1\r\nhost: x\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET"]
)
def test_a_client_that_never_finishes_is_hung_up_on(serve: Serve, sent: bytes) -> None:
    served = serve(receipt_deadline=timedelta(milliseconds=100))
    answer = served.raw(sent)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 200 ")
    assert b"503" not in answer


def test_a_slow_handler_does_not_count_against_the_client(serve: Serve) -> None:
    async def slow(request: Request) -> Response:
        body = await request.body()
        await asyncio.sleep(0.2)
        return Response(200, body)

    served = serve(Route("POST", "/slow", slow), receipt_deadline=timedelta(milliseconds=50))
    assert served.post("/slow", content=b"all of it").content == b"all of it"


def test_endless_headers_are_cut_off(served: Served) -> None:
    flood = b"GET / HTTP/1.1\r\n" + b"x-filler: " + b"y" * (HEAD_BYTES + 1024)
    assert served.raw(flood) == b""


def test_a_client_that_hangs_up_in_its_body_leaves_nothing(
    served: Served, journal: Journal
) -> None:
    served.raw(head(b"content-length: 100") + b"{", then_wait=False)
    assert served.post(headers=HEADERS, json=BODY).status_code == 200
    assert len(receipts(journal)) == 1


def test_beyond_its_concurrency_it_asks_to_come_back(serve: Serve) -> None:
    release = threading.Event()

    async def slow(request: Request) -> Response:
        del request
        await asyncio.to_thread(release.wait, 20)
        return Response(200)

    served = serve(Route("GET", "/slow", slow), max_concurrency=1)
    first = threading.Thread(target=lambda: served.get("/slow"))
    first.start()
    eventually(lambda: served.app._running == 1)
    answer = served.get("/slow")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert served.get("/healthz").status_code == 200
    release.set()
    first.join()
    assert served.get("/slow").status_code == 200


def test_a_fault_of_our_own_is_never_a_4xx(serve: Serve) -> None:
    async def broken(request: Request) -> Response:
        raise ZeroDivisionError(request)

    served = serve(Route("POST", "/broken", broken))
    assert served.post("/broken").status_code == 503


def test_a_journal_that_cannot_be_written_answers_503_and_readyz_says_so(
    served: Served, journal: Journal, tmp_path: Path
) -> None:
    assert served.get("/readyz").json() == {"status": "ready"}
    moved = (tmp_path / "m.db").rename(tmp_path / "moved.db")
    answer = served.post(headers=HEADERS, json=BODY)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    eventually(lambda: served.get("/readyz").status_code == 503)
    moved.rename(tmp_path / "m.db")
    assert served.post(headers=HEADERS, json=BODY).status_code == 200
    eventually(lambda: served.get("/readyz").status_code == 200)
    assert len(receipts(journal)) == 1


def test_readyz_says_when_the_process_is_about_to_go(served: Served) -> None:
    served.app.draining = True
    assert served.get("/readyz").status_code == 503
    assert served.get("/healthz").status_code == 200


def test_every_answer_is_counted_and_no_body_or_query_is_logged(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    served.post(PATH + "?customer_id=hidden", headers={"X-Meter-Secret": "guess"}, json=BODY)
    served.post(PATH + "?customer_id=hidden", headers=HEADERS, content=b"hidden")
    served.post("/nowhere?token=hidden")
    answered = served.get("/healthz").json()["answered"]
    assert answered == {f"{PATH} 400": 1, f"{PATH} 401": 1, "other 404": 1}
    ours = [r for r in caplog.records if r.name.startswith("meter")]
    assert [(r.getMessage(), vars(r)["status"]) for r in ours] == [
        ("http.refused", 401),
        ("http.refused", 400),
        ("http.refused", 404),
    ]
    assert not any("hidden" in str(vars(r)) or "s3cret" in str(vars(r)) for r in ours)


def test_two_collectors_on_one_path_are_an_error_that_names_both(
    journal: Journal, collector: WebhookCollector
) -> None:
    (route,) = collector.routes()
    with pytest.raises(ConfigurationError, match="b and a both want the path /webhooks"):
        App(
            [("a", route), ("b", route)],
            options=ServerOptions(),
            journal=journal,
            clock=SystemClock(),
        )


def test_a_port_that_is_taken_is_said_so() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=r"cannot listen on .*Address already in use"):
            bind("127.0.0.1", port)
