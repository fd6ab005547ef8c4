"""Frames pass both ways as they came, in whatever pieces; what is no frame ends the session."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from relay.running import UPSTREAM_KEY, Relayed, Start, assert_abandoned_around, token
from relay.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    TERMINATE,
    TEXT,
    Frame,
    Provider,
    Wire,
    frame,
    request,
    terminate,
)
from support.waiting import eventually

Begun = tuple[Wire, Wire]
LARGEST = 65_536
CHUNK = bytes(range(256)) * 12 + b"\0" * 128  # 3,200 bytes


# -- what no application may send -------------------------------------------------------------

BROKEN = {
    "an unmasked text": (frame(TEXT, b"{}", mask=None), 3006),
    "an unmasked chunk": (frame(BINARY, CHUNK, mask=None), 3007),
    "an unmasked close": (frame(CLOSE, b"\x03\xe8", mask=None), 3006),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 3006),
    "a ping in fragments": (frame(PING, b"x", fin=False), 3006),
    "a close of 200 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 198), 3006),
}
TOO_LARGE = {
    "a chunk": (frame(BINARY, announced=LARGEST + 1), 3007),
    "a text": (frame(TEXT, announced=LARGEST + 1), 3006),
    "the rest of a chunk": (
        frame(BINARY, b"\1", fin=False) + frame(CONTINUATION, announced=LARGEST + 1),
        3007,
    ),
    "a chunk of exabytes": (frame(BINARY, announced=2**63), 3007),
    "a chunk of all ones": (frame(BINARY, announced=2**64 - 1), 3007),
}


@pytest.mark.parametrize("name", [*BROKEN, *TOO_LARGE])
def test_what_is_no_frame_ends_the_session_with_the_providers_code_and_its_bill(
    start: Start, provider: Provider, name: str
) -> None:
    relayed = start(provider.url, max_frame=LARGEST)
    client = relayed.dial()
    upstream = provider.accept()
    upstream.say("Begin", id="s1")
    client.hear()
    data, code = {**BROKEN, **TOO_LARGE}[name]
    client.raw(frame(BINARY, CHUNK) + data)  # of a frame that is too large: no byte of it

    assert upstream.frame() == Frame(BINARY, CHUNK)
    assert upstream.frame() == Frame(TEXT, TERMINATE)
    terminate(upstream, seconds=7)

    assert [m["type"] for m in client.rest()] == ["Termination"]
    assert client.code == code
    assert client.reason.startswith("Input validation error: ")
    assert relayed.sessions()["s1"].seconds == 7


def test_the_largest_frame_passes(start: Start, provider: Provider) -> None:
    relayed = start(provider.url, max_frame=LARGEST)
    client = relayed.dial()
    upstream = provider.accept()
    largest = random.Random(1).randbytes(LARGEST)
    client.send(BINARY, largest)
    assert upstream.frame() == Frame(BINARY, largest)


def compared(
    double: StreamingSandbox, honest: Relayed, talk: Callable[[Wire], None]
) -> tuple[Any, Any]:
    """Have the same talk with the provider itself and through the relay."""
    said = []
    ports = (int(double.url.rpartition(":")[2]), honest.port)
    for port, key in zip(ports, (UPSTREAM_KEY, token()), strict=True):
        wire = Wire.to(port)
        wire.raw(request("/v3/ws", headers={"Authorization": key}))
        wire.read_head()
        assert wire.hear()["type"] == "Begin"
        talk(wire)
        said.append((wire.rest(), wire.code, wire.reason))
        wire.vanish()
    return said[0], said[1]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{", 3006),
        (b"[1]", 3006),
        (b'{"type":"Nonsense"}', 3006),
        (b'{"type":["Terminate"]}', 3006),
        (b'{"session_heartbeat":"yes","type":7}', 3006),
        (b"\xff\xfe", 1007),
    ],
)
def test_a_message_that_the_provider_does_not_take_is_refused_in_its_own_words(
    honest: Relayed, double: StreamingSandbox, text: bytes, code: int
) -> None:
    direct, relayed = compared(double, honest, lambda wire: wire.send(TEXT, text))
    assert relayed == direct
    assert direct[1] == code
    eventually(lambda: not honest.open_sessions())
    assert list(honest.states().values()) == ["abandoned"]  # the provider sent no Termination


@pytest.mark.parametrize(
    "text",
    [b"[" * 60_000, b'{"a":' * 10_000, b'{"type":' + b"9" * 50_000 + b"}", b"\x00", b'"\\ud800"'],
)
def test_no_text_of_an_application_is_too_odd_to_pass(begun: Begun, text: bytes) -> None:
    client, upstream = begun
    client.send(TEXT, text)
    assert upstream.frame() == Frame(TEXT, text)


@pytest.mark.parametrize("chunk", [b"\0" * 100, b"\0" * 40_000], ids=["too short", "too long"])
def test_audio_that_the_provider_does_not_take_is_refused_in_its_own_words(
    honest: Relayed, double: StreamingSandbox, chunk: bytes
) -> None:
    direct, relayed = compared(double, honest, lambda wire: wire.send(BINARY, chunk))
    assert relayed == direct
    assert direct[1] == 3007


def test_audio_that_comes_too_fast_is_refused_by_the_provider(
    honest: Relayed, double: StreamingSandbox
) -> None:
    client = honest.dial()
    for _ in range(15):
        client.send(BINARY, b"\0" * 32_000)
    error = client.rest()[-1]
    assert error["error_code"] == client.code == 3007
    assert error["error"].startswith("Audio Transmission Rate Exceeded")
    assert client.reason == error["error"][:123]
    eventually(lambda: list(honest.states().values()) == ["abandoned"])
    (event,), (truth,) = honest.events(), double.truth()
    assert_abandoned_around(event, truth.session_seconds)


@pytest.mark.parametrize("first", [FIN | 0x3, FIN | 0xB, FIN | 0x40 | BINARY])
def test_a_frame_that_only_extensions_know_is_the_providers_to_refuse(
    honest: Relayed, first: int
) -> None:
    client = honest.dial()
    client.hear()
    client.raw(bytes([first]) + frame(BINARY, b"x" * 100)[1:])
    assert client.rest() == []
    assert client.code == 1002
    eventually(lambda: list(honest.states().values()) == ["abandoned"])


# -- pieces ----------------------------------------------------------------------


def test_a_handshake_that_comes_byte_by_byte_is_one(relayed: Relayed, provider: Provider) -> None:
    client = relayed.connect()
    client.dribble(request("/v3/ws", headers={"Authorization": token()}))
    client.read_head()
    assert client.status == 101
    provider.accept()


def test_frames_pass_as_they_came_in_whatever_segments(
    relayed: Relayed, provider: Provider
) -> None:
    client = relayed.dial()
    upstream = provider.accept()
    chance = random.Random(7)
    sent = b"".join(
        (
            frame(BINARY, CHUNK, mask=b"\xff\0\xff\0"),
            frame(TEXT, b'{"type":"KeepAlive"}'),
            frame(BINARY, b""),
            frame(BINARY, b"x" * 125),
            frame(BINARY, b"x" * 126),
            frame(BINARY, chance.randbytes(70_000)),  # the length in eight bytes
            frame(BINARY, b"one,", fin=False),
            frame(CONTINUATION, b"two,", fin=False),
            frame(CONTINUATION, b"three"),
            frame(TEXT, b'{"type":', fin=False),
            frame(CONTINUATION, b'"KeepAlive"}'),
            frame(PONG, b"unasked"),
            frame(BINARY, CHUNK, mask=b"\0\0\0\0"),
        )
    )
    for segments in ("one", "some", "bytes"):
        if segments == "one":
            client.raw(sent)
        elif segments == "bytes":
            client.dribble(sent[:3000])
            client.raw(sent[3000:-500])
            client.dribble(sent[-500:])
        else:
            at = 0
            while at < len(sent):
                size = chance.randrange(1, 9000)
                client.raw(sent[at : at + size])
                at += size
        assert upstream.read(len(sent)) == sent, segments


def test_a_message_in_fragments_goes_up_once_it_is_whole(begun: Begun) -> None:
    # Half a message that nobody finishes would cost the session its Termination.
    client, upstream = begun
    client.send(BINARY, b"one,", fin=False)
    client.send(PING, b"between")
    client.send(CONTINUATION, b"two", fin=False)
    client.send(PING, b"again")
    assert [upstream.frame(), upstream.frame()] == [
        Frame(PING, b"between"),
        Frame(PING, b"again"),
    ]
    client.send(CONTINUATION)
    assert [upstream.frame() for _ in range(3)] == [
        Frame(BINARY, b"one,", fin=False),
        Frame(CONTINUATION, b"two", fin=False),
        Frame(CONTINUATION, b""),
    ]


def test_a_terminate_in_fragments_is_one(begun: Begun, relayed: Relayed) -> None:
    client, upstream = begun
    for number, byte in enumerate(TERMINATE):
        last = number == len(TERMINATE) - 1
        client.send(CONTINUATION if number else TEXT, bytes([byte]), fin=last)
    received = b"".join(upstream.frame().payload for _ in TERMINATE)
    assert received == TERMINATE
    client.vanish()
    terminate(upstream, seconds=3)
    assert list(upstream.frames()) == []  # it was not said twice
    eventually(lambda: relayed.states() == {"s1": "closed"})


def test_a_message_of_endless_fragments_is_too_large(start: Start, provider: Provider) -> None:
    relayed = start(provider.url, max_frame=LARGEST)
    client = relayed.dial()
    upstream = provider.accept()
    upstream.say("Begin", id="s1")
    client.hear()
    client.send(BINARY, b"\0" * 8000, fin=False)
    for _ in range(8):
        client.send(CONTINUATION, b"\0" * 8000, fin=False)
    assert upstream.frame() == Frame(TEXT, TERMINATE)
    terminate(upstream)
    assert client.rest()[-1]["type"] == "Termination"
    assert client.code == 3007


def test_what_comes_down_passes_as_it_came_in_whatever_segments(begun: Begun) -> None:
    client, upstream = begun
    turn = json.dumps({"type": "Turn", "transcript": "x" * 70_000}).encode()
    pieces = (
        frame(TEXT, b'{"type":"Turn","transcript":"\xc3\xa4"}', mask=None),
        frame(TEXT, turn, mask=None),
        frame(BINARY, CHUNK, mask=None),
        frame(PING, b"here?", mask=None),
        frame(TEXT, b"{}", mask=None),
        frame(TEXT, b"not json", mask=None),
        frame(TEXT, b"\xff", mask=None),
        frame(TEXT, b"", mask=None),
    )
    sent = b"".join(pieces)
    upstream.raw(sent)
    assert client.read(len(sent)) == sent
    upstream.dribble(sent[:400])
    upstream.raw(sent[400:])
    assert client.read(len(sent)) == sent


def test_a_message_in_fragments_comes_down_in_the_same_fragments(begun: Begun) -> None:
    client, upstream = begun
    sent = (
        frame(TEXT, b'{"type":"Turn",', fin=False, mask=None)
        + frame(CONTINUATION, b'"transcript":"\xc3', fin=False, mask=None)
        + frame(CONTINUATION, b"", fin=False, mask=None)
        + frame(CONTINUATION, b'\xa4"}', mask=None)
        + frame(BINARY, b"a", fin=False, mask=None)
        + frame(CONTINUATION, b"b", mask=None)
    )
    upstream.dribble(sent)
    assert client.read(len(sent)) == sent


def test_a_control_frame_between_fragments_is_not_held_up_by_them(begun: Begun) -> None:
    client, upstream = begun
    upstream.send(TEXT, b"{", fin=False)
    upstream.send(PING, b"here?")
    assert client.frame() == Frame(PING, b"here?")
    client.send(PONG, b"here?")
    assert upstream.frame() == Frame(PONG, b"here?")
    upstream.send(CONTINUATION, b"}")
    assert [client.frame(), client.frame()] == [
        Frame(TEXT, b"{", fin=False),
        Frame(CONTINUATION, b"}"),
    ]


def test_pings_and_pongs_pass_both_ways(begun: Begun) -> None:
    client, upstream = begun
    client.send(PING, b"up")
    assert upstream.frame() == Frame(PING, b"up")
    upstream.send(PONG, b"up")
    assert client.frame() == Frame(PONG, b"up")
    upstream.send(PING, b"d" * 125)
    assert client.frame() == Frame(PING, b"d" * 125)
    client.send(PONG, b"d" * 125)
    assert upstream.frame() == Frame(PONG, b"d" * 125)


def test_fragments_of_the_honest_provider_are_understood(
    honest: Relayed, double: StreamingSandbox
) -> None:
    double.plan_next(StreamPlan(fragmented=True, ping_every_seconds=0.05))
    client = honest.dial()
    client.send(BINARY, b"\0" * 32_000)
    client.say("Terminate")
    texts, message = [], b""
    for received in client.frames():
        if received.opcode in (TEXT, CONTINUATION):
            message += received.payload
            if received.fin:
                texts.append(json.loads(message)["type"])
                message = b""
    assert (texts[0], texts[-1], client.code) == ("Begin", "Termination", 1000)
    assert "Heartbeat" not in texts
    (session,), (truth,) = honest.sessions().values(), double.truth()
    assert (session.state, session.seconds) == ("closed", truth.session_seconds)
