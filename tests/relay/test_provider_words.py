"""Whatever the provider says of a session: it passes, and the session ends in one counted place."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from meter.events import StreamAbandoned, StreamTerminated
from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from relay.running import Relayed, assert_abandoned_around, token
from relay.wire import CONTINUATION, TEXT, Provider, Wire, accepting, frame, request
from support.waiting import eventually

Begun = tuple[Wire, Wire]


def termination(seconds: Any, audio: Any = 1) -> dict[str, Any]:
    return {
        "type": "Termination",
        "session_duration_seconds": seconds,
        "audio_duration_seconds": audio,
    }


def tell(upstream: Wire, *messages: Any) -> None:
    """Say messages, all in one segment, then close as the provider does."""
    texts = [m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages]
    close = frame(0x8, b"\x03\xe8", mask=None)
    upstream.raw(b"".join(frame(TEXT, text, mask=None) for text in texts) + close)


def assert_passed(client: Wire, upstream: Wire, *messages: Any) -> None:
    """Every message reached the application as it was, and then the close."""
    expected = [m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages]
    assert [f.payload for f in client.frames()] == expected
    assert client.code == 1000
    client.close(1000)
    list(upstream.frames())
    upstream.vanish()


def settled(relayed: Relayed) -> None:
    eventually(lambda: not relayed.open_sessions())
    assert relayed.openings() == 0


# -- Termination ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0", "0"),
        ("61", "61"),
        ("61.0", "61"),
        ("1e1", "10"),
        ("3.25", "3.25"),
        ("0.1", "0.1"),
        ("12.3456789012345", "12.345678901"),
        ("7.000000000999", "7.000000001"),
        ("10000000", "10000000"),
    ],
)
def test_a_duration_is_billed_exactly_as_written(
    begun: Begun, relayed: Relayed, written: str, seconds: str
) -> None:
    client, upstream = begun
    last = b'{"type":"Termination","session_duration_seconds":%b}' % written.encode()
    tell(upstream, last)
    assert_passed(client, upstream, last)
    (event,) = relayed.events()
    assert isinstance(event, StreamTerminated)
    assert (event.seconds, event.audio_seconds) == (Decimal(seconds), None)
    assert relayed.states() == {"s1": "closed"}
    assert relayed.quarantined() == []


@pytest.mark.parametrize(
    "written",
    [
        b"null",
        b"-1",
        b"-0.001",
        b'"61"',
        b'""',
        b"true",
        b"[61]",
        b'{"seconds":61}',
        b"10000001",
        b"1e400",
        b"1" * 400,
        None,
    ],
)
def test_a_termination_without_a_usable_duration_is_quarantined_and_never_billed(
    begun: Begun, relayed: Relayed, written: bytes | None
) -> None:
    client, upstream = begun
    last = b'{"type":"Termination","audio_duration_seconds":9}'
    if written is not None:
        last = last[:-1] + b',"session_duration_seconds":' + written + b"}"
    tell(upstream, last)
    assert_passed(client, upstream, last)
    settled(relayed)
    assert relayed.events() == []
    assert relayed.states() == {"s1": "quarantined"}
    (key,) = relayed.quarantined()
    assert key.startswith("unusable-Termination:")
    ((payload,),) = relayed.rows("SELECT payload FROM quarantine")
    assert json.loads(payload)["customer_id"] == "acme"


@pytest.mark.parametrize("audio", [None, -1, "5", 0.5, "NaN"])
def test_the_audios_duration_is_never_billed_and_never_in_the_way(
    begun: Begun, relayed: Relayed, audio: Any
) -> None:
    client, upstream = begun
    tell(upstream, termination(4, audio))
    assert_passed(client, upstream, termination(4, audio))
    (event,) = relayed.events()
    assert isinstance(event, StreamTerminated)
    assert event.billed_seconds == 4
    assert event.audio_seconds == (Decimal("0.5") if audio == 0.5 else None)


def test_a_termination_that_comes_twice_is_billed_once(begun: Begun, relayed: Relayed) -> None:
    client, upstream = begun
    tell(upstream, termination(4), termination(4))
    assert_passed(client, upstream, termination(4), termination(4))
    settled(relayed)
    assert [e.billed_seconds for e in relayed.events()] == [4]
    assert relayed.states() == {"s1": "closed"}
    assert relayed.quarantined() == []


def test_of_two_terminations_with_other_figures_the_first_stands_and_the_second_is_quarantined(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    tell(upstream, termination(4), termination(5))
    assert_passed(client, upstream, termination(4), termination(5))
    settled(relayed)
    assert [e.billed_seconds for e in relayed.events()] == [4]
    assert relayed.sessions()["s1"].seconds == 4
    assert relayed.quarantined() == ["conflict:assemblyai:session:s1:acme:5"]


def test_a_usable_termination_after_an_unusable_one_is_the_truth(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    tell(upstream, termination(None), termination(5))
    assert_passed(client, upstream, termination(None), termination(5))
    settled(relayed)
    assert relayed.sessions()["s1"].seconds == 5
    assert relayed.quarantined() == []  # its event came after all


def test_an_unusable_termination_after_a_usable_one_changes_nothing_that_is_billed(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    tell(upstream, termination(5), termination(None))
    assert_passed(client, upstream, termination(5), termination(None))
    settled(relayed)
    assert relayed.sessions()["s1"].seconds == 5
    assert relayed.states() == {"s1": "closed"}
    (key,) = relayed.quarantined()
    assert key.startswith("unusable-Termination:")


def test_a_termination_in_fragments_is_one(begun: Begun, relayed: Relayed) -> None:
    client, upstream = begun
    text = json.dumps(termination(6)).encode()
    pieces = [text[at : at + 9] for at in range(0, len(text), 9)]
    sent = b"".join(
        frame(
            CONTINUATION if number else TEXT,
            piece,
            fin=number == len(pieces) - 1,
            mask=None,
        )
        for number, piece in enumerate(pieces)
    )
    upstream.raw(sent)
    assert client.read(len(sent)) == sent
    assert relayed.sessions()["s1"].seconds == 6  # before the application saw it


def test_begin_and_termination_are_in_the_journal_before_the_application_sees_them(
    relayed: Relayed, provider: Provider
) -> None:
    client = relayed.dial()
    upstream = provider.accept()
    assert relayed.openings() == 1
    upstream.say("Begin", id="s1")
    client.hear()
    assert relayed.states() == {"s1": "open"}
    assert relayed.openings() == 0
    upstream.say("Termination", session_duration_seconds=1)
    client.hear()
    assert relayed.states() == {"s1": "closed"}
    assert relayed.kinds() == ["stream_terminated"]


# -- what the provider does ----------------------------------------------------------------------


def test_heartbeats_raise_the_lower_bound_in_the_journal_and_never_lower_it(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    for milliseconds in (1500, 900, None, "9000", -1, 10**30, 1999.5):
        upstream.say("Heartbeat", total_duration_ms=milliseconds)
    eventually(lambda: relayed.sessions()["s1"].lower_seconds > 0, seconds=20)
    assert relayed.sessions()["s1"].lower_seconds == Decimal("1.9995")
    upstream.say("Heartbeat", total_duration_ms=2500)
    upstream.vanish()
    client.rest()
    settled(relayed)
    (event,) = relayed.events()
    assert isinstance(event, StreamAbandoned)
    assert event.lower_seconds == Decimal("2.5")
    assert event.upper_seconds is not None
    assert event.upper_seconds >= 10_800


@pytest.mark.parametrize(
    "garbage",
    [
        frame(TEXT, b"x", mask=b"mask"),
        frame(TEXT, announced=2**40, mask=None),
        frame(0x9, b"x" * 200, mask=None),
        b"HTTP/1.1 500 Oops\r\n\r\n" * 20,
    ],
)
def test_a_provider_that_sends_no_frames_is_given_up_and_the_session_abandoned(
    begun: Begun, relayed: Relayed, garbage: bytes
) -> None:
    client, upstream = begun
    upstream.raw(garbage)
    said = client.rest()
    assert client.code == 3005
    assert said[-1]["error_code"] == 3005
    settled(relayed)
    assert relayed.states() == {"s1": "abandoned"}


def test_what_comes_with_the_handshake_is_not_lost(relayed: Relayed, provider: Provider) -> None:
    begin = frame(TEXT, b'{"type":"Begin","id":"s1"}', mask=None)
    provider.answer_next(lambda wire: wire.raw(accepting(wire.head) + begin * 2 + begin[:7]))
    client = relayed.dial()
    upstream = provider.accept()
    upstream.raw(begin[7:])
    assert client.read(3 * len(begin)) == begin * 3
    assert relayed.states() == {"s1": "open"}


def test_a_provider_that_is_gone_with_its_handshake_is_told(
    relayed: Relayed, provider: Provider
) -> None:
    def at_once(wire: Wire) -> None:
        wire.raw(accepting(wire.head) + frame(TEXT, b'{"type":"Begin","id":"s1"}', mask=None))
        wire.socket.close()

    provider.answer_next(at_once)
    client = relayed.connect()
    client.raw(request("/v3/ws", headers={"Authorization": token()}))
    client.read_head()
    said = client.rest()
    assert [m["type"] for m in said] == ["Begin", "Error"]
    assert client.code == 3005
    settled(relayed)
    assert relayed.states() == {"s1": "abandoned"}


@pytest.mark.parametrize(
    ("plan", "state"),
    [
        ({"termination_twice": True}, "closed"),
        ({"fractional_duration": True}, "closed"),
        ({"error_before_termination": True}, "closed"),
        ({"begin_twice": True}, "closed"),
        ({"no_termination": True}, "abandoned"),
        ({"termination_fields": {"session_duration_seconds": None}}, "quarantined"),
        ({"cut_after_seconds": 0.1}, "abandoned"),
        ({"expire_after_seconds": 0.1}, "abandoned"),
        ({"error_after": (0.1, 3005, "Server error")}, "abandoned"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_sessions_of_the_double_end_in_one_state_and_within_its_books(
    honest: Relayed, double: StreamingSandbox, plan: dict[str, Any], state: str
) -> None:
    double.plan_next(StreamPlan(**plan))
    client = honest.dial()
    assert client.hear()["type"] == "Begin"
    if not any("after" in name for name in plan):
        client.say("Terminate")
    client.rest()
    settled(honest)
    (truth,) = double.truth()
    assert honest.states() == {truth.session_id: state}
    for event in honest.events():
        if isinstance(event, StreamTerminated):
            assert event.billed_seconds == truth.session_seconds
        else:
            assert_abandoned_around(event, truth.session_seconds)
    assert len(honest.events()) == (state != "quarantined")
