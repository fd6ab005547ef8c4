"""The streaming double's server: its tokens, its transcript and its books."""

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from assemblyai.streaming.v3 import HeartbeatEvent

from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from sandbox.receiver import eventually
from sandbox.streaming_client import (
    SECOND,
    check,
    conforms,
    described,
    dialled,
    token_answer,
    token_for,
)

TOKEN_SCHEMAS = {
    200: "/paths/~1v3~1token/get/responses/200/content/application~1json/schema",
    400: "/components/schemas/Error",
    401: "/components/schemas/Error",
}


@pytest.fixture(scope="module")
def double() -> Iterator[StreamingSandbox]:
    """A double that several tests share; each looks at its own session."""
    with StreamingSandbox(keys={"key-a", "key-b"}) as double:
        yield double


@pytest.mark.parametrize(
    ("key", "params", "status_code"),
    [
        ("key-a", {"expires_in_seconds": 1}, 200),
        ("key-a", {"expires_in_seconds": 600, "max_session_duration_seconds": 10800}, 200),
        ("key-a", {}, 400),
        ("key-a", {"expires_in_seconds": 0}, 400),
        ("key-a", {"expires_in_seconds": 601}, 400),
        ("key-a", {"expires_in_seconds": "soon"}, 400),
        ("key-a", {"expires_in_seconds": 60, "max_session_duration_seconds": 59}, 400),
        ("key-a", {"expires_in_seconds": 60, "max_session_duration_seconds": 10801}, 400),
        ("key-c", {"expires_in_seconds": 60}, 401),
        (None, {"expires_in_seconds": 60}, 401),
        ("Bearer key-a", {"expires_in_seconds": 60}, 401),
    ],
)
def test_tokens_are_given_out_as_described(
    double: StreamingSandbox, key: str | None, params: dict[str, Any], status_code: int
) -> None:
    answer = token_answer(double, key=key, **params)
    assert answer.status_code == status_code, answer.text
    contents = described("assemblyai-streaming-token.yml")
    check(contents, TOKEN_SCHEMAS[status_code], answer.json())
    if status_code == 200:
        assert answer.json()["expires_in_seconds"] == params["expires_in_seconds"]


def test_other_requests_get_a_status_and_no_socket(double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(close_at_once=(3005, "for the next socket")))
    assert token_answer(double, method="DELETE").status_code == 405
    get = token_answer(double, expires_in_seconds=5).request.url
    for path, status in (("/v3/ws", b"426"), ("/v2/realtime/ws", b"404")):
        with socket.create_connection((get.host, get.port or 80)) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert raw.recv(1 << 16).split(b" ")[1] == status
    with dialled(double) as client:
        client.rest()
        assert client.code == 3005, "none of them took the plan"


@pytest.mark.parametrize("in_query", [True, False])
def test_a_token_is_good_for_one_session_of_its_key(
    double: StreamingSandbox, *, in_query: bool
) -> None:
    token = token_for(double, key="key-b", max_session_duration_seconds=60)
    given: dict[str, Any] = {"key": None, "token": token} if in_query else {"key": token}
    with dialled(double, **given, sample_rate=16000) as client:
        begin = client.hear()
        assert client.leave()[-1]["type"] == "Termination"
    row = double.truth()[-1]
    assert row.session_id == begin["id"]
    assert row.api_key == "key-b"
    assert 60 <= begin["expires_at"] - row.started_at.timestamp() < 61
    assert row.params == {"sample_rate": "16000"}
    assert row.query == "sample_rate=16000"
    assert token_answer(double, key=token, expires_in_seconds=60).status_code == 401
    with dialled(double, **given) as client:
        assert [message["type"] for message in client.rest()] == ["Error"]
        assert client.reason == "Unauthorized Connection: Token has already been used"
        assert client.code == 1008


def test_nobody_else_is_let_in(double: StreamingSandbox) -> None:
    before = len(double.truth())
    for given in (
        {"key": None},
        {"key": "key-c"},
        {"key": "Bearer key-a"},
        {"key": "key-a", "token": "made-up"},
        {"key": None, "token": ""},
    ):
        with dialled(double, **given) as client:
            (error,) = client.rest()
            assert error == {"type": "Error", "error_code": 1008, "error": client.reason}
            assert str(client.reason).startswith("Unauthorized Connection: ")
            assert client.code == 1008
    assert len(double.truth()) == before


def test_a_token_expires() -> None:
    with StreamingSandbox(time_scale=1000) as double:
        # A token that is still good is used up by asking, so each question takes one of its own.
        tokens = iter([token_for(double, expires_in_seconds=1) for _ in range(9)])
        eventually(
            lambda: refused(double, next(tokens)) == "Unauthorized Connection: Token has expired"
        )


def refused(double: StreamingSandbox, token: str) -> str | None:
    with dialled(double, key=None, token=token) as client:
        if client.hear()["type"] == "Begin":
            client.say("Terminate")
        client.rest()
        return client.reason


def test_a_key_has_only_so_many_sessions_at_once() -> None:
    with StreamingSandbox(max_sessions=1) as double:
        with dialled(double) as first, dialled(double) as second, dialled(double, key="b") as other:
            assert first.hear()["type"] == other.hear()["type"] == "Begin"
            assert second.rest()[0]["error_code"] == second.code == 3009
            assert second.reason == "Unauthorized Connection: Too many concurrent sessions"
            assert first.leave()[-1]["type"] == "Termination"
        with dialled(double) as again:
            assert again.hear()["type"] == "Begin"
        assert len(double.truth()) == 3


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"format_turns": "true", "speaker_labels": "true"},
        {"include_partial_turns": "false", "language_detection": "true"},
        {"speech_model": "u3-rt-pro"},
        {"speech_model": "universal-3-6-pro", "include_partial_turns": "False"},
    ],
)
def test_the_same_audio_gives_the_same_messages_however_it_is_cut(
    double: StreamingSandbox, params: dict[str, Any]
) -> None:
    heard = []
    for chunk_seconds in (0.05, 0.7):
        with dialled(double, **params) as client:
            client.speak(4.2, chunk_seconds=chunk_seconds)
            client.say("ForceEndpoint")
            client.speak(2.8, chunk_seconds=chunk_seconds)
            heard.append(client.leave())
    one, other = ([strip(message) for message in messages] for messages in heard)
    assert one == other
    u3 = "speech_model" in params
    described("assemblyai-streaming.yml")
    assert all(conforms(message, u3=u3) for message in heard[0])
    turns = [message for message in one if message["type"] == "Turn"]
    ends = [turn for turn in turns if turn["end_of_turn"]]
    assert {turn["turn_order"] for turn in ends} == {0, 1, 2}
    assert any(turn["turn_is_formatted"] for turn in turns) == (u3 or "format_turns" in params)
    assert ("language_code" in ends[-1]) == ("language_detection" in params)
    assert ("speaker_label" in turns[0]) == ("speaker_labels" in params)
    if "include_partial_turns" in params:
        assert turns == ends
    if u3:
        orders = [m.get("turn_order") for m in one if m["type"] in {"SpeechStarted", "Turn"}]
        assert orders.count(None) == 3
        assert orders[0] is None


def strip(message: dict[str, Any]) -> dict[str, Any]:
    varying = {"id", "expires_at", "audio_duration_seconds", "session_duration_seconds"}
    return {name: value for name, value in message.items() if name not in varying}


def test_the_configuration_changes_within_a_session() -> None:
    with StreamingSandbox(heartbeat_seconds=0.01) as double, dialled(double) as client:
        client.speak(3)
        client.hear_until("Turn")
        client.say("UpdateConfiguration", session_heartbeat=True, format_turns=True)
        client.hear_until("Heartbeat")
        client.say("UpdateConfiguration", session_heartbeat=False)
        client.speak(3)
        heard = client.leave()
        assert [m for m in heard if m.get("turn_is_formatted")]
        (row,) = double.truth()
    assert row.messages == {"UpdateConfiguration": 2, "Terminate": 1}


@pytest.mark.parametrize("fractional", [False, True])
def test_a_heartbeat_never_says_more_than_the_bill(*, fractional: bool) -> None:
    with StreamingSandbox(heartbeat_seconds=0.01, time_scale=7) as double:
        double.plan_next(StreamPlan(fractional_duration=fractional))
        with dialled(double, session_heartbeat="True") as client:
            client.speak(2)
            for _ in range(5):
                client.hear_until("Heartbeat")
            heard = client.leave()
            assert heard[-1]["type"] == "Termination", "nothing comes after it"
            heartbeats = [m for m in heard if m["type"] == "Heartbeat"]
        (row,) = double.truth()
    for heartbeat in heartbeats:
        HeartbeatEvent.model_validate(heartbeat)
        assert heartbeat["total_duration_ms"] <= row.session_seconds * 1000
        assert heartbeat["total_audio_received_ms"] <= row.audio_seconds * 1000
    assert (row.session_seconds % 1 != 0) is fractional


def test_there_is_no_heartbeat_unless_asked_for() -> None:
    with StreamingSandbox(heartbeat_seconds=0.001) as double, dialled(double) as client:
        client.speak(2)
        kinds = [message["type"] for message in client.leave()]
    assert "Heartbeat" not in kinds


def test_the_books_hold_what_reached_the_provider(double: StreamingSandbox) -> None:
    with dialled(double, key="key-b", sample_rate=8000, encoding="pcm_mulaw") as client:
        session_id = client.hear()["id"]
        assert client.socket.protocol.extensions == [], "nothing is compressed"
        assert session_id in double.live()
        chunks = [bytes([n]) * 800 for n in range(25)]
        for chunk in chunks:
            client.socket.send(chunk)
        client.say("KeepAlive")
        eventually(lambda: double.truth()[-1].messages == {"KeepAlive": 1})
        row = double.truth()[-1]
        assert (row.ended, row.ended_at, row.termination_sent) == ("open", None, False)
        termination = client.leave()[-1]
        assert client.code == 1000
    row = double.truth()[-1]
    assert session_id == row.session_id
    assert session_id not in double.live()
    assert row.params == {"sample_rate": "8000", "encoding": "pcm_mulaw"}
    assert row.headers["authorization"] == "key-b"
    assert (row.audio_frames, row.audio_bytes) == (25, 20000)
    assert row.audio_sha256 == hashlib.sha256(b"".join(chunks)).hexdigest()
    assert row.audio_seconds == termination["audio_duration_seconds"] == 3
    assert row.session_seconds == termination["session_duration_seconds"]
    assert row.ended_at is not None
    assert 0 <= (row.ended_at - row.started_at).total_seconds() <= row.session_seconds
    assert row.session_seconds <= (row.expires_at - row.started_at).total_seconds()


@pytest.mark.parametrize("politely", [True, False])
def test_a_client_that_goes_without_a_word_is_billed_up_to_then(*, politely: bool) -> None:
    with StreamingSandbox() as double:
        with dialled(double) as client:
            client.hear()
            client.speak(1)
            eventually(lambda: double.truth()[0].audio_frames == 10)
            if not politely:
                client.socket.socket.shutdown(socket.SHUT_RDWR)
        eventually(lambda: double.truth()[0].ended == "client_gone")
        (row,) = double.truth()
        assert double.live() == []
    assert (row.termination_sent, row.audio_frames) == (False, 10)
    assert row.audio_seconds == 1
    assert row.session_seconds >= 1


def test_a_session_expires_and_is_billed_for_all_of_its_time() -> None:
    with StreamingSandbox(max_session_seconds=3600, time_scale=36000) as double:
        with dialled(double) as client:
            begin, error = client.rest()
            assert error == {
                "type": "Error",
                "error_code": 3008,
                "error": "Session Expired: Maximum session duration exceeded",
            }
            assert (client.code, client.reason) == (3008, error["error"])
        (row,) = double.truth()
    assert (row.ended, row.termination_sent) == ("expired", False)
    assert row.session_seconds == 3600
    assert row.expires_at.timestamp() == begin["expires_at"]


def test_inactivity_ends_a_session_with_a_termination() -> None:
    with StreamingSandbox(time_scale=100) as double:
        with dialled(double, inactivity_timeout=5) as client:
            heard = client.rest()
            assert client.code == 1000
        (row,) = double.truth()
    assert [message["type"] for message in heard] == ["Begin", "Termination"]
    assert (row.ended, row.termination_sent) == ("terminated", True)
    assert heard[-1]["session_duration_seconds"] == row.session_seconds >= 5


def test_the_same_seed_gives_the_same_ids() -> None:
    def ids(seed: int) -> list[str]:
        with StreamingSandbox(seed=seed) as double:
            heard = []
            for _ in range(3):
                with dialled(double) as client:
                    heard.append(client.hear()["id"])
            assert [row.session_id for row in double.truth()] == heard
            return heard

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2))


def test_many_sessions_at_once_are_kept_apart() -> None:
    with StreamingSandbox() as double:

        def live(number: int) -> None:
            with dialled(double, customer=number) as client:
                for _ in range(number):
                    client.socket.send(SECOND)
                assert client.leave()[-1]["audio_duration_seconds"] == number

        threads = [threading.Thread(target=live, args=(n,)) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = double.truth()
    assert {int(row.params["customer"]): row.audio_seconds for row in rows} == {
        n: n for n in range(1, 9)
    }


def test_stop_is_prompt_and_cuts_what_is_open() -> None:
    threads = set(threading.enumerate())
    double = StreamingSandbox().start()
    host, port = double.http_url.removeprefix("http://").split(":")
    double.plan_next(StreamPlan(turns_flood=50_000_000), StreamPlan(termination_delay_seconds=60))
    with (
        dialled(double) as flooded,
        dialled(double) as leaving,
        dialled(double) as talking,
        socket.create_connection((host, int(port))),
    ):
        for client in (flooded, leaving, talking):
            assert client.hear()["type"] == "Begin"
        leaving.say("Terminate")
        eventually(lambda: double.truth()[1].messages == {"Terminate": 1})
        began = time.monotonic()
        double.stop()
        assert time.monotonic() - began < 3
    assert [row.ended for row in double.truth()] == ["cut"] * 3, "the books outlive the server"
    assert not [t for t in set(threading.enumerate()) - threads if "streaming" in t.name]
    double.stop()


def test_a_fault_of_the_double_itself_is_not_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    double = StreamingSandbox().start()
    double.plan_next(StreamPlan(begin_fields={"note": object()}))
    with dialled(double) as client:
        client.rest()
    with pytest.raises(ExceptionGroup, match="the streaming sandbox failed"):
        double.stop()
    assert not caplog.records, "nothing of a request reaches a log"


def test_async_code_starts_and_stops_it() -> None:
    async def scenario() -> int:
        async with StreamingSandbox() as double:
            answer = await asyncio.to_thread(token_answer, double, expires_in_seconds=5)
            return answer.status_code

    assert asyncio.run(scenario()) == 200


def test_misuse_is_told_plainly() -> None:
    double = StreamingSandbox()
    with pytest.raises(RuntimeError, match="before start"):
        _ = double.url
    with pytest.raises(RuntimeError, match="does not run"):
        double.cut("x")
    double.stop()
    with double:
        with pytest.raises(KeyError):
            double.expire("x")
        with pytest.raises(RuntimeError, match="starts once"):
            double.start()
        taken = StreamingSandbox(port=int(double.url.rpartition(":")[2]))
        with pytest.raises(OSError, match="in use"):
            taken.start()
        taken.stop()
    with pytest.raises(RuntimeError, match="does not run"):
        double.expire("x")
    with pytest.raises(ValueError, match="time_scale"):
        StreamingSandbox(time_scale=0)
