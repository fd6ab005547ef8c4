"""No answer, a bad one, and `meter check --connect`."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from http_sink.conftest import HEADERS, Opener, batch_of
from http_sink.double import Destination, Said
from meter.errors import FatalSinkError, RetryableSinkError
from meter_http.client import Answer, Client
from meter_http.words import Words
from support.clocks import FakeClock
from support.facts import completed


@contextmanager
def saying(raw: bytes, *, hold: bool = False) -> Iterator[str]:
    """Serve one connection that answers these bytes, and perhaps never ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        release = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw)
                if hold:
                    release.wait(20)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/events?token=t0ken"
        finally:
            release.set()
            thread.join(20)


def test_a_refused_connection_is_tried_again(sink: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RetryableSinkError, match=rf"^http://127.0.0.1:{port}/: .*refused"):
        sink(url=f"http://127.0.0.1:{port}/").deliver(batch_of([completed(1)]))


def test_a_host_without_an_address_is_tried_again(sink: Opener) -> None:
    with pytest.raises(RetryableSinkError, match=r"^https://nowhere.invalid/x: "):
        sink(url="https://nowhere.invalid/x").deliver(batch_of([completed(1)]))


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 2", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_a_connection_that_ends_before_the_answer_is_tried_again(sink: Opener, raw: bytes) -> None:
    with saying(raw) as url, pytest.raises(RetryableSinkError) as raised:
        sink(url=url).deliver(batch_of([completed(1)]))
    assert "t0ken" not in str(raised.value)


def test_an_answer_cut_short_is_no_answer(sink: Opener) -> None:
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"
    with saying(raw) as url, pytest.raises(RetryableSinkError):
        sink(url=url).deliver(batch_of([completed(1)]))


def test_silence_ends_at_the_timeout(sink: Opener) -> None:
    with saying(b"", hold=True) as url, pytest.raises(RetryableSinkError) as raised:
        sink(url=url, timeout="150ms").deliver(batch_of([completed(1)]))
    assert str(raised.value).endswith("/events: no answer within 0.15 s (ReadTimeout)")


def test_https_to_a_port_without_tls_is_tried_again(sink: Opener, destination: Destination) -> None:
    url = destination.url.replace("http://", "https://")
    with pytest.raises(RetryableSinkError, match=r"^https://127.0.0.1:"):
        sink(url=url).deliver(batch_of([completed(1)]))
    assert not destination.asked


def test_compressed_words_are_not_quoted(sink: Opener, destination: Destination) -> None:
    destination.answering = lambda _a: Said(500, b"\x1f\x8b\x08", {"content-encoding": "gzip"})
    with pytest.raises(RetryableSinkError, match=r"^HTTP 500$"):
        sink().deliver(batch_of([completed(1)]))


def test_a_query_goes_to_the_destination_and_into_no_message(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = lambda a: Said(403, f"bad {a.path}".encode())
    with pytest.raises(FatalSinkError) as raised:
        sink(url=f"{destination.url}/events?token=t0ken-abc").deliver(batch_of([completed(1)]))
    assert destination.asked[0].path == "/events?token=t0ken-abc"
    assert "t0ken" not in str(raised.value)


def test_no_secret_reaches_a_log(
    sink: Opener, destination: Destination, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refused = iter([422, 204, 401])
    destination.answering = lambda a: Said(
        next(refused), f"seen {a.headers['authorization']}".encode()
    )
    opened = sink(proven=True, headers=HEADERS)
    report = opened.deliver(batch_of([completed(1), completed(2)]))
    assert len(report.delivered) == 1
    assert "http.split" in caplog.text
    assert "http.interrupted" in caplog.text
    logged = caplog.text + repr([vars(record) for record in caplog.records])
    assert "s3cret" not in logged
    assert "s3cret" not in repr(opened) + repr(vars(opened)["options"])


def test_check_reaches_the_address_without_the_key_and_changes_nothing(
    sink: Opener, destination: Destination
) -> None:
    lines = sink(headers=HEADERS).check()
    assert lines == [f"{destination.url}/events can be reached (OPTIONS: HTTP 204)"]
    (asked,) = destination.others
    assert asked.method == "OPTIONS"
    assert "authorization" not in asked.headers
    assert not destination.asked


def test_check_tries_the_key_at_an_address_of_one_s_choice(
    sink: Opener, destination: Destination
) -> None:
    good = HEADERS["Authorization"]
    destination.answering = lambda a: (
        Said(200 if a.headers.get("authorization") == good else 401, b"who are you?")
        if a.method == "GET"
        else Said(405)
    )
    check_url = f"{destination.url}/me"
    assert sink(headers=HEADERS, check_url=check_url).check() == [
        f"{destination.url}/events can be reached (OPTIONS: HTTP 405)",
        f"{destination.url}/me takes the key (HTTP 200)",
    ]
    with pytest.raises(FatalSinkError) as raised:
        sink(headers={"Authorization": "Bearer wrong"}, check_url=check_url).check()
    assert str(raised.value) == (
        f"{destination.url}/me: HTTP 401: who are you?; look at `headers` and `check_url`"
    )
    assert not destination.asked


def test_check_says_what_cannot_be_reached(sink: Opener) -> None:
    with pytest.raises(RetryableSinkError, match=r"nowhere.invalid"):
        sink(url="https://nowhere.invalid/x").check()


class Ticking(FakeClock):
    """A clock that moves on by a second whenever it is asked."""

    def monotonic(self) -> float:
        self.advance(seconds=1)
        return super().monotonic()


@contextmanager
def pouring(piece: bytes, most: int) -> Iterator[tuple[str, list[int]]]:
    """Answer 200 with piece after piece, until the client has enough; count them."""
    sent: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                for _ in range(most):
                    connection.sendall(piece)
                    sent.append(len(piece))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/", sent
        thread.join(20)


def ask(url: str, clock: FakeClock) -> Answer:
    client = Client(url, timeout=5, clock=clock, words=Words(()))
    try:
        return client.post(b"{}", {})
    finally:
        client.close()


def test_an_answer_without_an_end_is_left_when_it_is_long_enough() -> None:
    with pouring(b"x" * 1_000_000, 200) as (url, sent):
        answer = ask(url, FakeClock())
    assert answer.status == 200
    assert len(answer.body) == 262_144
    assert not answer.whole
    assert len(sent) < 100, "what fits into the sockets' own memory, and no more"


def test_an_answer_that_drips_is_left_when_its_time_is_over() -> None:
    with pouring(b"x", 200_000) as (url, sent):
        answer = ask(url, Ticking())
    assert answer.status == 200
    assert not answer.whole
    assert len(sent) < 200_000


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    sink: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert sink().deliver(batch_of([completed(1)])).delivered
