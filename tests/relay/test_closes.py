"""Closes and Heartbeats: who hears which, and what becomes of the session."""

from __future__ import annotations

import json

import pytest

from meter.sandbox.streaming import StreamingSandbox
from relay.running import Relayed
from relay.wire import (
    BINARY,
    CLOSE,
    MASK,
    TERMINATE,
    TEXT,
    Frame,
    Provider,
    Wire,
    frame,
    terminate,
)
from support.waiting import eventually

Begun = tuple[Wire, Wire]
CHUNK = b"\1\2" * 1600


def beat(upstream: Wire) -> None:
    upstream.say("Heartbeat", total_duration_ms=1500, total_audio_received_ms=0)
    upstream.say("Turn")


@pytest.mark.parametrize("asked", ["true", "True", "1"])
def test_heartbeats_come_down_when_the_application_asked(
    relayed: Relayed, provider: Provider, asked: str
) -> None:
    client = relayed.dial(query={"session_heartbeat": asked})
    upstream = provider.accept()
    beat(upstream)
    assert [client.hear()["type"], client.hear()["type"]] == ["Heartbeat", "Turn"]
    assert upstream.head.count(b"session_heartbeat") == 1


def test_heartbeats_that_only_meter_asked_for_stay_with_it(begun: Begun) -> None:
    client, upstream = begun
    beat(upstream)
    assert client.hear()["type"] == "Turn"
    for on, expected in ((True, ["Heartbeat", "Turn"]), (False, ["Turn"])):
        client.say("UpdateConfiguration", session_heartbeat=on)
        assert json.loads(upstream.frame().payload)["type"] == "UpdateConfiguration"
        beat(upstream)
        assert [client.hear()["type"] for _ in expected] == expected


def test_an_application_that_wants_no_heartbeats_takes_none_from_meter(
    honest: Relayed, double: StreamingSandbox
) -> None:
    client = honest.dial(query={"session_heartbeat": "true"})
    assert client.hear()["type"] == "Begin"
    client.say("UpdateConfiguration", session_heartbeat=False)
    eventually(lambda: double.truth()[0].messages.get("UpdateConfiguration"))
    (session,) = honest.open_sessions()
    before = honest.inside(lambda: session.books._lower)
    eventually(lambda: honest.inside(lambda: session.books._lower) > before, seconds=2)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, ""),
        (1000, "bye"),
        (1008, "Unauthorized Connection: Too many concurrent sessions"),
        (1011, "ä" * 61),
        (3005, "Server error"),
        (3008, "Session Expired: Maximum session duration exceeded"),
        (4031, "Session idle for too long"),
        (None, ""),
    ],
)
def test_the_providers_close_arrives_as_sent_and_its_echo_goes_up(
    begun: Begun, relayed: Relayed, code: int | None, reason: str
) -> None:
    client, upstream = begun
    upstream.close(code, reason)
    assert list(client.frames()) == []
    assert (client.code, client.reason) == (1005 if code is None else code, reason)
    client.close(code)
    assert list(upstream.frames()) == []
    assert upstream.code == (1005 if code is None else code)
    upstream.vanish()
    assert client.read_all() == b""
    eventually(lambda: relayed.states() == {"s1": "abandoned"})


def test_a_provider_that_is_gone_without_a_close_is_told_as_3005(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    upstream.vanish()
    (error,) = client.rest()
    assert error["error_code"] == client.code == 3005
    eventually(lambda: relayed.states() == {"s1": "abandoned"})


@pytest.mark.parametrize("code", [1000, 1001, 4999, None])
def test_the_applications_close_is_answered_and_the_session_terminated(
    begun: Begun, relayed: Relayed, code: int | None
) -> None:
    client, upstream = begun
    client.close(code, "" if code is None else "done")
    assert list(client.frames()) == []
    assert client.code == (1005 if code is None else code)
    assert client.read_all() == b""
    assert upstream.frame() == Frame(TEXT, TERMINATE)
    terminate(upstream, seconds=9)
    eventually(lambda: relayed.sessions()["s1"].seconds == 9)
    assert list(upstream.frames()) == []  # the close of a provider that closes is answered
    assert upstream.code == 1000


def test_a_close_in_the_middle_of_a_message_ends_like_any_other(
    honest: Relayed, double: StreamingSandbox
) -> None:
    client = honest.dial()
    client.hear()
    client.raw(frame(BINARY, CHUNK, fin=False) + frame(CLOSE, b"\x03\xe8") + b"\x82\xff" + MASK)
    assert list(client.frames()) == []
    assert client.code == 1000
    eventually(lambda: double.truth()[0].termination_sent)
    eventually(lambda: list(honest.states().values()) == ["closed"])


def test_an_application_that_never_answers_a_close_keeps_nothing_open(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    upstream.close(1000)
    assert client.frame() == Frame(CLOSE, b"\x03\xe8")
    assert client.read_all() == b""  # cut off, after a while
    assert upstream.read_all() == b""
    eventually(lambda: not relayed.open_sessions())
