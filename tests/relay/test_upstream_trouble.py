"""A provider that cannot be reached, refuses, or answers nonsense: told as it was, nothing kept."""

from __future__ import annotations

import pytest

from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from relay.running import Relayed, Start, token
from relay.wire import KEY, Provider, Wire, accepting, request
from support.waiting import eventually


def assert_nothing_is_left(relayed: Relayed) -> None:
    eventually(lambda: relayed.openings() == 0)
    assert relayed.open_sessions() == []
    assert relayed.sessions() == {}
    assert relayed.quarantined() == []
    assert relayed.rows("SELECT * FROM used_tokens") == []


def test_a_provider_that_cannot_be_reached_is_502(start: Start) -> None:
    provider = Provider(listening=False)
    relayed = start(provider.url)
    refused = relayed.dial(single_use=True)
    assert refused.status == 502
    assert b"AssemblyAI could not be reached" in refused.read_all()
    assert_nothing_is_left(relayed)
    provider.stop()


def test_a_provider_whose_name_is_unknown_is_502(start: Start) -> None:
    relayed = start("ws://no-such-host.invalid")
    assert relayed.dial().status == 502
    assert_nothing_is_left(relayed)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 429, 500, 503])
def test_a_refused_handshake_keeps_its_status(
    honest: Relayed, double: StreamingSandbox, status: int
) -> None:
    double.plan_next(StreamPlan(refuse_status=(status, '{"error":"no"}')))
    refused = honest.dial(single_use=True)
    assert refused.status == status
    assert refused.header("content-type") == "application/json"
    assert refused.read_all() == b'{"error":"no"}'
    assert_nothing_is_left(honest)


def test_a_refusal_keeps_what_says_when_to_come_again(relayed: Relayed, provider: Provider) -> None:
    provider.answer_next(
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 17\r\nX-Internal: x\r\n"
        b"Set-Cookie: a=b\r\nWWW-Authenticate: Key\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 4\r\n\r\nbusy"
    )
    refused = relayed.dial()
    assert refused.status == 429
    assert refused.header("retry-after") == "17"
    assert refused.header("www-authenticate") == "Key"
    assert refused.header("content-type") == "text/plain"
    assert refused.header("set-cookie") is refused.header("x-internal") is None
    assert refused.read_all() == b"busy"


def test_a_refusal_whose_length_is_not_said_ends_with_the_connection(
    relayed: Relayed, provider: Provider
) -> None:
    def refuse(wire: Wire) -> None:
        wire.raw(b"HTTP/1.1 403 Forbidden\r\n\r\nno")
        wire.socket.close()

    provider.answer_next(refuse)
    refused = relayed.dial()
    assert refused.status == 403
    assert refused.read_all() == b"no"


@pytest.mark.parametrize("status", ["401 Unauthorized", "429 Too Many Requests"])
def test_a_refusal_that_comes_in_pieces_keeps_its_status(
    relayed: Relayed, provider: Provider, status: str
) -> None:
    def refuse(wire: Wire) -> None:
        wire.raw(f"HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nbu".encode())
        (session,) = relayed.open_sessions()
        assert session is not None  # asked in the relay's loop: it has read that by the second time
        relayed.open_sessions()
        wire.raw(b"sy")
        wire.socket.close()

    provider.answer_next(refuse)
    refused = relayed.dial()
    assert refused.status == int(status[:3])
    assert refused.read_all() == b"busy"


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\xff" * 50 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 999999 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: many\r\n\r\n",
    ],
    ids=range(6),
)
def test_a_provider_that_answers_garbage_is_502(
    relayed: Relayed, provider: Provider, answer: bytes
) -> None:
    def refuse(wire: Wire) -> None:
        wire.raw(answer)
        wire.socket.close()

    provider.answer_next(refuse)
    refused = relayed.dial(single_use=True)
    assert refused.status == 502
    assert_nothing_is_left(relayed)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n"
        ),
        b"HTTP/1.1 101 " + b"x" * 70_000,
        b"HTTP/1.1 101 x\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
        b"HTTP/1.",
        b"",
    ],
    ids=range(6),
)
def test_a_handshake_that_may_have_begun_a_session_is_502_and_counted(
    relayed: Relayed, provider: Provider, answer: bytes
) -> None:
    def refuse(wire: Wire) -> None:
        wire.raw(answer)
        wire.socket.close()

    provider.answer_next(refuse)
    assert relayed.dial(single_use=True).status == 502
    eventually(lambda: len(relayed.quarantined()) == 1)


def test_a_subprotocol_that_was_not_offered_is_502(relayed: Relayed, provider: Provider) -> None:
    def choose(wire: Wire) -> None:
        wire.raw(accepting(wire.head)[:-2] + b"Sec-WebSocket-Protocol: other\r\n\r\n")

    provider.answer_next(choose)
    assert relayed.dial(headers={"Sec-WebSocket-Protocol": "mine"}).status == 502


def test_a_subprotocol_is_the_providers_choice(relayed: Relayed, provider: Provider) -> None:
    def choose(wire: Wire) -> None:
        assert b"mine, yours" in wire.head
        wire.raw(accepting(wire.head)[:-2] + b"Sec-WebSocket-Protocol: yours\r\n\r\n")

    provider.answer_next(choose)
    client = relayed.dial(headers={"Sec-WebSocket-Protocol": "mine, yours"})
    assert client.status == 101
    assert client.header("sec-websocket-protocol") == "yours"


def test_a_101_that_comes_byte_by_byte_is_one(relayed: Relayed, provider: Provider) -> None:
    provider.answer_next(lambda wire: wire.dribble(accepting(wire.head)))
    assert relayed.dial().status == 101


@pytest.mark.parametrize(
    "asked",
    [
        "?sample_rate=16000#part",
        "?a=b#part?c=d#",
        "?a=%23&b=%00&c=%ff&d=[&e=]&f=%zz&g=;h&i=\\&j=%",
        "?" + "a=b&" * 1000,
        "?&&&=&=a&a=",
    ],
)
def test_no_query_is_too_odd_to_be_answered(
    relayed: Relayed, provider: Provider, asked: str
) -> None:
    wire = relayed.connect()
    wire.raw(request(f"/v3/ws{asked}", headers={"Authorization": token()}))
    wire.read_head()
    assert wire.status in {101, 400}
    if wire.status == 101:
        provider.accept().say("Begin", id="s1")
        assert wire.hear()["id"] == "s1"


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "caf\xe9 \xff"},
        {"AssemblyAI-Version": "\x80"},
        {"User-Agent": "x" * 8000},
        {"User-Agent": ""},
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"Origin": "https://evil.example"},
        {"Cookie": "a=b"},
    ],
)
def test_no_header_is_too_odd_to_be_answered(
    relayed: Relayed, provider: Provider, headers: dict[str, str]
) -> None:
    client = relayed.dial(headers=headers)
    assert client.status == 101
    assert client.header("sec-websocket-extensions") is None
    upstream = provider.accept()
    for name in ("cookie", "origin", "sec-websocket-extensions"):
        assert upstream.header(name) is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"GET", b"POST"), 405),
        ((b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8"), 400),
        ((f"Sec-WebSocket-Key: {KEY}".encode(), b"Sec-WebSocket-Key: short"), 400),
        ((f"Sec-WebSocket-Key: {KEY}\r\n".encode(), b""), 400),
        ((b"/v3/ws", b"/v3/wss"), 404),
        ((b"/v3/ws", b"//v3/ws"), 404),
        ((b"/v3/ws", b"http://elsewhere/v3/ws"), 404),
    ],
)
def test_what_is_no_handshake_for_this_path_is_refused_and_opens_nothing(
    relayed: Relayed, provider: Provider, change: tuple[bytes, bytes], status: int
) -> None:
    wire = relayed.connect()
    wire.raw(request("/v3/ws", headers={"Authorization": token()}).replace(*change, 1))
    wire.read_head()
    assert wire.status == status
    wire.read_all()
    assert provider.connections == 0
    assert_nothing_is_left(relayed)


def test_frames_that_came_before_the_answer_open_no_second_door(
    relayed: Relayed, provider: Provider
) -> None:
    # No client may send before the 101 (RFC 6455 §4.1); what does is not passed on in pieces.
    wire = relayed.connect()
    wire.raw(request("/v3/ws", headers={"Authorization": token()}) + b"\x82\xfe\x0c\x80")
    wire.read_head()
    assert wire.status == 101
    provider.accept().say("Begin", id="s1")
    assert wire.hear()["id"] == "s1"
