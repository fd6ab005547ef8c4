"""Every plan and every fault does what it says, and the books tell the truth of it."""

import contextlib
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus, ProtocolError

from meter.sandbox.stream_books import StreamTruth
from meter.sandbox.stream_plans import Missing, StreamFaults, StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from sandbox.receiver import eventually
from sandbox.streaming_client import dialled


@pytest.fixture(scope="module")
def double() -> Iterator[StreamingSandbox]:
    with StreamingSandbox() as double:
        yield double


def kinds(messages: list[Any]) -> list[str]:
    return [message["type"] for message in messages]


def row_of(double: StreamingSandbox, ended: str) -> StreamTruth:
    eventually(lambda: double.truth()[-1].ended == ended)
    return double.truth()[-1]


def test_a_handshake_is_refused_or_late(double: StreamingSandbox) -> None:
    before = len(double.truth())
    body = '{"error": "Too many requests"}'
    double.plan_next(
        StreamPlan(refuse_status=(429, body)), StreamPlan(handshake_delay_seconds=0.05)
    )
    with pytest.raises(InvalidStatus) as refused, dialled(double):
        pass
    assert refused.value.response.status_code == 429
    assert refused.value.response.body == body.encode()
    with dialled(double) as client:
        assert client.hear()["type"] == "Begin"
    assert len(double.truth()) == before + 1


def test_a_socket_is_closed_at_once(double: StreamingSandbox) -> None:
    before = len(double.truth())
    double.plan_next(StreamPlan(close_at_once=(1008, "Unauthorized Connection: no credit")))
    with dialled(double) as client:
        (error,) = client.rest()
    assert error["error"] == client.reason == "Unauthorized Connection: no credit"
    assert error["error_code"] == client.code == 1008
    assert len(double.truth()) == before


def test_begin_never_comes(double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(begin=False))
    with dialled(double) as client:
        assert kinds(client.leave()) == ["Termination"]
    assert row_of(double, "terminated").termination_sent


def test_begin_comes_late_twice_and_different(double: StreamingSandbox) -> None:
    fields = {"id": "fixed", "expires_at": None, "configuration": Missing.MISSING, "new": [1]}
    double.plan_next(StreamPlan(begin_delay_seconds=0.02, begin_twice=True, begin_fields=fields))
    with dialled(double) as client:
        begin = client.hear()
        assert begin == client.hear()
        assert begin == {"type": "Begin", "id": "fixed", "expires_at": None, "new": [1]}
        assert "fixed" in double.live()
        double.cut("fixed")
    assert row_of(double, "cut").session_id == "fixed"


@pytest.mark.parametrize(
    ("fields", "written", "session_seconds"),
    [
        ({"session_duration_seconds": Decimal("12.3450")}, "12.3450", Decimal("12.345")),
        ({"session_duration_seconds": 0}, "0", Decimal(0)),
        ({"session_duration_seconds": 7.25}, "7.25", Decimal("7.25")),
        ({"session_duration_seconds": None}, "null", None),
        ({"session_duration_seconds": -1}, "-1", None),
        ({"session_duration_seconds": True}, "true", None),
        ({"session_duration_seconds": "soon"}, '"soon"', None),
        ({"session_duration_seconds": Missing.MISSING}, None, None),
    ],
)
def test_a_termination_says_whatever_is_planned(
    double: StreamingSandbox,
    fields: dict[str, Any],
    written: str | None,
    session_seconds: Decimal | None,
) -> None:
    double.plan_next(StreamPlan(termination_fields=fields))
    with dialled(double) as client:
        client.hear()
        client.say("Terminate")
        text = client.socket.recv(timeout=10)
        client.rest()
        assert client.code == 1000
    sent = json.loads(text, parse_float=str, parse_int=str)
    if written is None:
        assert "session_duration_seconds" not in sent
    else:
        assert f'"session_duration_seconds":{written}'.encode() in str(text).encode()
    row = row_of(double, "terminated")
    if session_seconds is None:
        assert row.session_seconds >= 1, "its own figure stands where it named none"
    else:
        assert row.session_seconds == session_seconds
    assert row.audio_seconds == 0


@pytest.mark.parametrize(
    ("plan", "heard"),
    [
        (StreamPlan(termination_twice=True), ["Begin", "Termination", "Termination"]),
        (StreamPlan(no_termination=True), ["Begin"]),
        (StreamPlan(error_before_termination=True), ["Begin", "Error", "Termination"]),
        (StreamPlan(termination_delay_seconds=0.02), ["Begin", "Termination"]),
        (StreamPlan(fragmented=True), ["Begin", "Termination"]),
    ],
)
def test_a_session_is_terminated_in_another_way(
    double: StreamingSandbox, plan: StreamPlan, heard: list[str]
) -> None:
    double.plan_next(plan)
    with dialled(double) as client:
        assert kinds(client.leave()) == heard
        assert client.code == 1000
    assert row_of(double, "terminated").termination_sent is ("Termination" in heard)


def test_terminate_is_ignored_until_the_client_goes(double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(ignore_terminate=True))
    with dialled(double) as client:
        client.hear()
        client.say("Terminate")
        client.say("ForceEndpoint")
        eventually(lambda: "ForceEndpoint" in double.truth()[-1].messages)
        assert double.truth()[-1].ended == "open"
    assert not row_of(double, "client_gone").termination_sent


def test_a_client_that_does_not_wait_for_its_termination_is_gone(double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(termination_delay_seconds=60))
    with dialled(double) as client:
        client.hear()
        client.say("Terminate")
        eventually(lambda: double.truth()[-1].messages == {"Terminate": 1})
    assert not row_of(double, "client_gone").termination_sent


def test_messages_come_in_fragments(double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(fragmented=True, begin_fields={"note": "é" * 9}))
    with dialled(double) as client:
        fragments = list(client.socket.recv_streaming(decode=False))
        assert json.loads(b"".join(fragments))["note"] == "é" * 9
        assert len(fragments) > 10
        client.leave()


def test_a_client_is_flooded_and_then_told_the_end(double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(turns_flood=3_000_000))
    with dialled(double) as client:
        heard = client.leave()
    assert sum(len(json.dumps(message)) for message in heard) >= 3_000_000
    assert set(kinds(heard[1:-1])) == {"Turn"}
    assert heard[-1]["type"] == "Termination"


def test_pings_are_sent(double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(ping_every_seconds=0.01))
    with dialled(double) as client:
        eventually(lambda: client.socket.pings >= 3)
        assert kinds(client.leave()) == ["Begin", "Termination"]


@pytest.mark.parametrize(
    ("plan", "ended", "code"),
    [
        (StreamPlan(cut_after_seconds=0.02), "cut", None),
        (StreamPlan(cut_after_seconds=0.02, begin_delay_seconds=60), "cut", None),
        (StreamPlan(expire_after_seconds=0.02), "expired", 3008),
        (StreamPlan(error_after=(0.02, 3005, "Server error: oh")), "error", 3005),
    ],
)
def test_a_session_ends_by_itself_without_a_termination(
    double: StreamingSandbox, plan: StreamPlan, ended: str, code: int | None
) -> None:
    double.plan_next(plan)
    with dialled(double) as client:
        heard = client.rest()
        assert client.code == code
        begin = [] if plan.begin_delay_seconds else ["Begin"]
        assert kinds(heard) == begin + ([] if code is None else ["Error"])
    row = row_of(double, ended)
    assert (row.termination_sent, row.session_seconds >= 1) == (False, True)


def test_sessions_are_ended_from_outside(double: StreamingSandbox) -> None:
    for act, ended, code in (
        (double.cut, "cut", None),
        (double.expire, "expired", 3008),
        (lambda session_id: double.error(session_id, 3005, "x" * 124), "error", 3005),
    ):
        with dialled(double) as client:
            session_id = client.hear()["id"]
            act(session_id)
            assert double.truth()[-1].ended == ended, "known at once"
            with pytest.raises(KeyError):
                act(session_id)
            errors = client.rest()
            assert client.code == code
            assert [error["error_code"] for error in errors] == ([] if code is None else [code])
    assert errors[0]["error"] == "x" * 124
    assert client.reason == "See Error message for details"
    with dialled(double) as client, pytest.raises(ProtocolError):
        double.error(client.hear()["id"], 1006, "no such close")


def test_plans_are_followed_in_order_and_then_no_more(double: StreamingSandbox) -> None:
    double.plan_next(*(StreamPlan(begin_fields={"id": name}) for name in "ab"))
    ids = []
    for _ in range(3):
        with dialled(double) as client:
            ids.append(client.hear()["id"])
    assert ids[:2] == ["a", "b"]
    assert len(ids[2]) == 36


def endings(faults: StreamFaults) -> list[tuple[str, bool]]:
    """Let ten sessions come and go: how each ended, and whether its bill has a fraction."""
    with StreamingSandbox(faults=faults, seed=3) as double:
        for _ in range(10):
            with dialled(double) as client, contextlib.suppress(ConnectionClosed):
                client.hear()
                client.leave()
        eventually(lambda: double.live() == [])
        return [(row.ended, row.session_seconds % 1 != 0) for row in double.truth()]


def test_faults_come_by_share_and_the_same_in_every_run() -> None:
    assert endings(StreamFaults(fractional_duration=1)) == [("terminated", True)] * 10
    assert endings(StreamFaults(cut=1, within_seconds=0)) == [("cut", False)] * 10
    assert endings(StreamFaults(error=1, within_seconds=0)) == [("error", False)] * 10
    mixed = StreamFaults(fractional_duration=0.5, cut=0.3, error=0.3, within_seconds=0)
    first = endings(mixed)
    assert first == endings(mixed)
    assert {ended for ended, _ in first} == {"terminated", "cut", "error"}


def test_faults_may_change_at_any_time(double: StreamingSandbox) -> None:
    double.faults = StreamFaults(fractional_duration=1)
    try:
        with dialled(double) as client:
            said = client.leave()[-1]["session_duration_seconds"]
    finally:
        double.faults = StreamFaults()
    assert said % 1
    assert row_of(double, "terminated").session_seconds == Decimal(str(said))


@pytest.mark.parametrize("shares", [{"cut": 1.1}, {"error": -0.1}, {"cut": 0.6, "error": 0.6}])
def test_shares_that_cannot_be_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="stream faults"):
        StreamFaults(**shares)
