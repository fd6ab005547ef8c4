"""Applications that are gone without Terminate: meter says it for them, and bills what comes."""

from __future__ import annotations

import pytest

from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from relay.running import Relayed, assert_abandoned_around, token
from relay.wire import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TERMINATE,
    TEXT,
    Frame,
    Provider,
    Wire,
    accepting,
    frame,
    request,
)
from support.waiting import eventually

Begun = tuple[Wire, Wire]
CHUNK = b"\1\2" * 1600


def assert_billed_exactly(relayed: Relayed, double: StreamingSandbox) -> None:
    eventually(lambda: set(relayed.states().values()) == {"closed"})
    (truth,), (event,) = double.truth(), relayed.events()
    assert (event.provider_id, event.billed_seconds) == (truth.session_id, truth.session_seconds)
    assert relayed.sessions()[truth.session_id].seconds == truth.session_seconds
    assert relayed.openings() == 0
    assert relayed.quarantined() == []


@pytest.mark.parametrize("kept", [1, 3, 7, 8, 100])
def test_of_a_frame_that_was_never_finished_nothing_goes_up(
    begun: Begun, relayed: Relayed, kept: int
) -> None:
    client, upstream = begun
    client.raw(frame(BINARY, CHUNK) + frame(BINARY, CHUNK)[:kept])
    assert upstream.frame() == Frame(BINARY, CHUNK)
    client.vanish()
    assert upstream.frame() == Frame(TEXT, TERMINATE)
    upstream.say("Termination", session_duration_seconds=3)
    eventually(lambda: relayed.sessions()["s1"].seconds == 3)


def test_of_a_message_that_was_never_finished_nothing_goes_up(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    half = frame(BINARY, CHUNK, fin=False) + frame(CONTINUATION, CHUNK, fin=False) + b"\x00\xff"
    client.raw(frame(BINARY, CHUNK) + half)
    assert upstream.frame() == Frame(BINARY, CHUNK)
    client.vanish()
    assert upstream.frame() == Frame(TEXT, TERMINATE)
    upstream.say("Termination", session_duration_seconds=3)
    eventually(lambda: relayed.sessions()["s1"].seconds == 3)


@pytest.mark.parametrize(
    "last",
    [
        frame(BINARY, CHUNK)[:1000],
        frame(BINARY, CHUNK, fin=False),
        frame(BINARY, CHUNK, fin=False) + frame(CONTINUATION, CHUNK, fin=False) + b"\x80",
        frame(TEXT, b'{"type":"KeepAl')[:9],
    ],
)
def test_whatever_an_application_leaves_half_said_its_session_is_billed(
    honest: Relayed, double: StreamingSandbox, last: bytes
) -> None:
    client = honest.dial()
    assert client.hear()["type"] == "Begin"
    client.raw(frame(BINARY, CHUNK) + last)
    eventually(lambda: double.truth()[0].audio_frames)
    client.vanish()
    assert_billed_exactly(honest, double)


@pytest.mark.parametrize(
    "fragment",
    [
        pytest.param(frame(TEXT, b'{"type":"Update', fin=False), id="text"),
        pytest.param(frame(BINARY, b"\0" * 64, fin=False), id="a few bytes of audio"),
    ],
)
def test_a_message_cut_in_its_first_fragment_costs_no_termination(
    honest: Relayed, double: StreamingSandbox, fragment: bytes
) -> None:
    client = honest.dial()
    assert client.hear()["type"] == "Begin"
    client.raw(frame(BINARY, CHUNK) + fragment)
    eventually(lambda: double.truth()[0].audio_frames)
    client.vanish()
    eventually(lambda: set(honest.states().values()) - {"open"})
    assert list(honest.states().values()) == ["closed"]


def test_an_application_that_leaves_before_begin_is_billed(
    honest: Relayed, double: StreamingSandbox
) -> None:
    double.plan_next(StreamPlan(begin_delay_seconds=0.2))
    honest.dial().vanish()
    assert_billed_exactly(honest, double)


def test_an_application_that_leaves_while_the_provider_is_dialled_is_billed(
    honest: Relayed, double: StreamingSandbox
) -> None:
    double.plan_next(StreamPlan(handshake_delay_seconds=0.3))
    client = honest.connect()
    client.raw(request("/v3/ws", headers={"Authorization": token()}))
    eventually(lambda: honest.openings() == 1)
    client.vanish()
    assert_billed_exactly(honest, double)


def test_an_application_that_leaves_at_once_leaves_nothing_open(
    honest: Relayed, double: StreamingSandbox
) -> None:
    for _ in range(20):
        client = honest.connect()
        client.raw(request("/v3/ws", headers={"Authorization": token()}))
        client.vanish()
    eventually(lambda: not honest.open_sessions())
    eventually(lambda: not double.live())
    assert honest.openings() == 0
    assert set(honest.states().values()) <= {"closed"}
    assert set(honest.states()) == {truth.session_id for truth in double.truth()}


def test_what_the_provider_says_to_nobody_is_answered_by_meter(begun: Begun) -> None:
    client, upstream = begun
    client.vanish()
    assert upstream.frame() == Frame(TEXT, TERMINATE)
    upstream.send(PING, b"there?")
    assert upstream.frame() == Frame(PONG, b"there?")
    upstream.say("Turn")
    upstream.say("Termination", session_duration_seconds=1)
    upstream.close(1000)
    assert list(upstream.frames()) == []
    assert upstream.code == 1000


def test_terminate_is_said_once_when_the_application_said_it(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    client.raw(frame(TEXT, TERMINATE) + frame(PING, b"!"))
    assert upstream.frame() == Frame(TEXT, TERMINATE)
    client.vanish()
    assert upstream.frame() == Frame(PING, b"!")
    upstream.say("Termination", session_duration_seconds=2)
    upstream.close(1000)
    assert list(upstream.frames()) == []
    eventually(lambda: relayed.states() == {"s1": "closed"})


def test_a_terminate_that_came_too_early_to_pass_is_said_in_the_end(
    relayed: Relayed, provider: Provider
) -> None:
    client = relayed.connect()

    def slowly(wire: Wire) -> None:
        client.raw(frame(TEXT, TERMINATE))
        for _ in range(3):  # each a turn of the relay's loop: it has read that by then
            relayed.open_sessions()
        wire.raw(accepting(wire.head))

    provider.answer_next(slowly)
    client.raw(request("/v3/ws", headers={"Authorization": token()}))
    upstream = provider.accept()
    client.read_head()
    client.vanish()
    assert upstream.frame() == Frame(TEXT, TERMINATE)


def test_a_provider_that_never_terminates_is_waited_for_within_the_bound(
    impatient: Relayed, double: StreamingSandbox
) -> None:
    double.plan_next(StreamPlan(ignore_terminate=True))
    client = impatient.dial()
    assert client.hear()["type"] == "Begin"
    client.vanish()
    eventually(lambda: list(impatient.states().values()) == ["abandoned"])
    (event,), (truth,) = impatient.events(), double.truth()
    assert event.billed_seconds is None
    assert_abandoned_around(event, truth.session_seconds)


def test_a_termination_that_takes_its_time_is_waited_for(
    honest: Relayed, double: StreamingSandbox
) -> None:
    double.plan_next(StreamPlan(termination_delay_seconds=1.2))
    client = honest.dial()
    assert client.hear()["type"] == "Begin"
    client.vanish()
    assert_billed_exactly(honest, double)
