"""A Begin that is missing, unusable, repeated or another's: one defined outcome each."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from meter.events import StreamAbandoned
from relay.running import Relayed, token
from relay.wire import TEXT, Provider, Wire, frame
from support.waiting import eventually

Begun = tuple[Wire, Wire]


def termination(seconds: Any, audio: Any = 1) -> dict[str, Any]:
    return {
        "type": "Termination",
        "session_duration_seconds": seconds,
        "audio_duration_seconds": audio,
    }


def tell(upstream: Wire, *messages: Any, code: int = 1000) -> None:
    """Say messages, all in one segment, then close as the provider does."""
    texts = [m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages]
    close = frame(0x8, code.to_bytes(2, "big"), mask=None)
    upstream.raw(b"".join(frame(TEXT, text, mask=None) for text in texts) + close)


def assert_passed(client: Wire, upstream: Wire, *messages: Any, code: int = 1000) -> None:
    """Every message reached the application as it was, and then the close."""
    expected = [m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages]
    assert [f.payload for f in client.frames()] == expected
    assert client.code == code
    client.close(code)
    list(upstream.frames())
    upstream.vanish()


def settled(relayed: Relayed) -> None:
    eventually(lambda: not relayed.open_sessions())
    assert relayed.openings() == 0


@pytest.mark.parametrize("times", [1, 2])
def test_a_termination_without_begin_is_quarantined_once(
    relayed: Relayed, provider: Provider, times: int
) -> None:
    client = relayed.dial()
    upstream = provider.accept()
    tell(upstream, *[termination(4)] * times)
    assert_passed(client, upstream, *[termination(4)] * times)
    settled(relayed)
    assert relayed.events() == []
    assert relayed.sessions() == {}
    keys = {key.partition(":")[0] for key in relayed.quarantined()}
    assert keys == {"termination"}


@pytest.mark.parametrize("id_", [None, "", 5, ["s1"], {}])
def test_a_begin_without_an_id_is_quarantined_and_so_is_its_termination(
    relayed: Relayed, provider: Provider, id_: Any
) -> None:
    client = relayed.dial()
    upstream = provider.accept()
    begin = {"type": "Begin", "id": id_, "expires_at": 1}
    tell(upstream, begin, termination(4))
    assert_passed(client, upstream, begin, termination(4))
    settled(relayed)
    assert relayed.events() == []
    assert relayed.sessions() == {}
    first, second = relayed.quarantined()
    assert first.startswith("unusable-Begin:")
    assert second.startswith("termination:")
    payloads = [json.loads(p) for (p,) in relayed.rows("SELECT payload FROM quarantine")]
    assert [p["customer_id"] for p in payloads] == ["acme", "acme"]
    assert payloads[1]["said"]["seconds"] == 4


def test_every_termination_of_a_begin_without_an_id_is_kept(
    relayed: Relayed, provider: Provider
) -> None:
    for number in (1, 2, 3):
        client = relayed.dial(sub=f"customer {number}")
        upstream = provider.accept()
        tell(upstream, {"type": "Begin"}, termination(number))
        assert len(list(client.frames())) == 2
        client.vanish()
        upstream.vanish()
    settled(relayed)
    payloads = [json.loads(p) for (p,) in relayed.rows("SELECT payload FROM quarantine")]
    billed = {p["customer_id"] for p in payloads if p["said"].get("seconds")}
    assert billed == {"customer 1", "customer 2", "customer 3"}


def test_a_provider_that_refuses_before_begin_opened_nothing(
    relayed: Relayed, provider: Provider
) -> None:
    client = relayed.dial(single_use=True)
    upstream = provider.accept()
    error = {"type": "Error", "error_code": 1008, "error": "Unauthorized Connection"}
    tell(upstream, error, code=1008)
    assert_passed(client, upstream, error, code=1008)
    settled(relayed)
    assert relayed.sessions() == {}
    assert relayed.events() == []
    assert relayed.quarantined() == []


def test_a_provider_that_just_closes_before_begin_may_have_opened_something(
    relayed: Relayed, provider: Provider
) -> None:
    client = relayed.dial()
    upstream = provider.accept()
    tell(upstream)
    assert_passed(client, upstream)
    settled(relayed)
    assert relayed.quarantined() == ["opening:1"]


def test_a_provider_that_is_gone_before_begin_may_have_opened_something(
    relayed: Relayed, provider: Provider
) -> None:
    once = token(single_use=True)
    client = relayed.dial(once)
    provider.accept().vanish()
    (error,) = client.rest()
    assert error["error_code"] == client.code == 3005
    settled(relayed)
    assert relayed.sessions() == {}
    (key,) = relayed.quarantined()
    assert key.startswith("opening:")
    again = relayed.dial(once)
    again.rest()
    assert again.code == 1008  # the token stays used


# -- Begin ----------------------------------------------------------------------


@pytest.mark.parametrize("expires_at", [None, "soon", -(10**30), 10**30, True, [], 0])
def test_an_expiry_that_cannot_be_used_leaves_a_session_its_longest_time(
    relayed: Relayed, provider: Provider, expires_at: Any
) -> None:
    client = relayed.dial()
    upstream = provider.accept()
    upstream.say("Begin", id="s1", expires_at=expires_at)
    assert client.hear()["expires_at"] == expires_at
    upstream.vanish()
    client.rest()
    settled(relayed)
    (event,) = relayed.events()
    assert isinstance(event, StreamAbandoned)
    assert event.lower_seconds == 0
    assert event.upper_seconds == 10_801
    assert relayed.states() == {"s1": "abandoned"}


def test_a_begin_that_comes_twice_is_one_session(begun: Begun, relayed: Relayed) -> None:
    client, upstream = begun
    again = {"type": "Begin", "id": "s1", "expires_at": 4_000_000_000}
    tell(upstream, again, termination(4))
    assert_passed(client, upstream, again, termination(4))
    settled(relayed)
    assert relayed.states() == {"s1": "closed"}
    assert relayed.kinds() == ["stream_terminated"]
    assert relayed.quarantined() == []
    assert relayed.sessions()["s1"].expires_at.year < 2096


def test_a_second_begin_with_another_id_is_quarantined_and_the_termination_bills_the_first(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    other = {"type": "Begin", "id": "s2"}
    tell(upstream, other, termination(4))
    assert_passed(client, upstream, other, termination(4))
    settled(relayed)
    assert relayed.states() == {"s1": "closed"}
    assert [(e.provider_id, e.billed_seconds) for e in relayed.events()] == [("s1", Decimal(4))]


def test_a_second_begin_with_another_id_stays_in_quarantine(begun: Begun, relayed: Relayed) -> None:
    client, upstream = begun
    tell(upstream, {"type": "Begin", "id": "s2"}, termination(4))
    client.rest()
    upstream.vanish()
    settled(relayed)
    assert len(relayed.quarantined()) == 1


def test_a_session_goes_on_after_a_second_begin_with_another_id(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    upstream.say("Begin", id="s2")
    assert client.hear()["id"] == "s2"
    assert relayed.states() == {"s1": "open"}
    upstream.vanish()
    client.rest()
    settled(relayed)
    assert relayed.kinds() == ["stream_abandoned"]


def test_an_id_that_another_customer_has_is_a_conflict_and_the_first_stands(
    begun: Begun, relayed: Relayed, provider: Provider
) -> None:
    first, first_upstream = begun
    client = relayed.dial(sub="globex")
    upstream = provider.accept()
    begin = {"type": "Begin", "id": "s1"}
    tell(upstream, begin, termination(9))
    assert_passed(client, upstream, begin, termination(9))
    tell(first_upstream, termination(4))
    assert_passed(first, first_upstream, termination(4))
    settled(relayed)
    assert [(e.customer_id, e.billed_seconds) for e in relayed.events()] == [("acme", Decimal(4))]
    assert all(key.startswith("conflict:") for key in relayed.quarantined())
    assert len(relayed.quarantined()) == 2


@pytest.mark.parametrize("end", ["lost", "unusable"])
def test_a_conflicting_session_that_ends_badly_leaves_the_first_open(
    begun: Begun, relayed: Relayed, provider: Provider, end: str
) -> None:
    del begun
    client = relayed.dial(sub="globex")
    upstream = provider.accept()
    upstream.say("Begin", id="s1")
    client.hear()
    if end == "unusable":
        upstream.say("Termination", session_duration_seconds=None)
        client.hear()
    upstream.vanish()
    client.rest()
    eventually(lambda: len(relayed.open_sessions()) == 1)
    assert relayed.states() == {"s1": "open"}
    assert relayed.events() == []


def test_a_conflicting_sessions_heartbeats_are_none_of_the_firsts(
    begun: Begun, relayed: Relayed, provider: Provider
) -> None:
    del begun
    client = relayed.dial(sub="globex")
    upstream = provider.accept()
    upstream.say("Begin", id="s1")
    upstream.say("Heartbeat", total_duration_ms=9_000_000)
    upstream.say("Turn")
    assert [client.hear()["type"], client.hear()["type"]] == ["Begin", "Turn"]
    relayed.lengthen()
    assert relayed.sessions()["s1"].lower_seconds == 0
