"""What a client does wrong is answered by an Error and a close with the same code."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from meter.sandbox.streaming import StreamingSandbox
from sandbox.receiver import eventually
from sandbox.streaming_client import SECOND, Conversation, dialled


@pytest.fixture(scope="module")
def double() -> Iterator[StreamingSandbox]:
    with StreamingSandbox() as double:
        yield double


def ended_by_error(client: Conversation) -> tuple[int | None, str]:
    """Read to the end: one Error, the close with its code, and nothing after it."""
    error = client.rest()[-1]
    assert set(error) == {"type", "error_code", "error"}
    assert (error["type"], error["error_code"]) == ("Error", client.code)
    fits = len(error["error"].encode()) <= 123
    assert client.reason == (error["error"] if fits else "See Error message for details")
    return client.code, error["error"]


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ("{", 3006, "Invalid JSON: "),
        ("", 3006, "Invalid JSON: "),
        ('{"type": "Termination"}', 3006, "Invalid Message Type: Termination"),
        ('{"type": 7}', 3006, "Invalid Message Type: 7"),
        ("{}", 3006, "Invalid Message Type: None"),
        (f'{{"type": "{"é" * 200}"}}', 3006, "Invalid Message Type: éé"),
        ("[]", 3006, "Invalid Message: "),
        ("null", 3006, "Invalid Message: "),
        (b"", 3007, "Input duration violation: 0.0 ms. Expected between 50 and 1000 ms"),
        (SECOND[:1598], 3007, "Input duration violation: 49.9 ms. Expected between 50 and 1000"),
        (SECOND + b"\0\0", 3007, "Input duration violation: 1000.1 ms. Expected between 50"),
    ],
)
def test_a_bad_message_ends_the_session_without_a_termination(
    double: StreamingSandbox, message: str | bytes, code: int, text: str
) -> None:
    with dialled(double) as client:
        client.hear()
        client.socket.send(message)
        got = ended_by_error(client)
    assert (got[0], got[1][: len(text)]) == (code, text)
    row = double.truth()[-1]
    assert (row.ended, row.termination_sent, row.session_seconds >= 1) == ("error", False, True)
    assert row.audio_bytes == (len(message) if isinstance(message, bytes) else 0)


@pytest.mark.parametrize(("message", "code"), [("\udcff", 1007), ("x" * (1 << 20) + "x", 1009)])
def test_what_is_no_message_is_closed_by_the_protocol(
    double: StreamingSandbox, message: str, code: int
) -> None:
    with dialled(double) as client:
        client.hear()
        client.socket.send(message.encode(errors="surrogateescape"), text=True)
        assert client.rest() == []
        assert client.code == code
    eventually(lambda: double.truth()[-1].ended == "error")


@pytest.mark.parametrize("size", [1600, 32000])
def test_the_shortest_and_the_longest_chunk_are_taken(double: StreamingSandbox, size: int) -> None:
    with dialled(double) as client:
        client.socket.send(SECOND[:size])
        assert client.leave()[-1]["type"] == "Termination"


@pytest.mark.parametrize("encoding", ["opus", "ogg_opus", "aac"])
def test_compressed_chunks_have_no_length(double: StreamingSandbox, encoding: str) -> None:
    with dialled(double, encoding=encoding) as client:
        for _ in range(10):
            client.socket.send(b"\1")
        termination = client.leave()[-1]
    assert termination["audio_duration_seconds"] == 1


def test_audio_faster_than_real_time_is_refused(double: StreamingSandbox) -> None:
    with dialled(double) as client:
        client.speak(10, chunk_seconds=1)
        with contextlib.suppress(ConnectionClosed):  # it may be refused while it speaks
            for _ in range(20):
                client.socket.send(SECOND)
        code, text = ended_by_error(client)
    assert code == 3007
    assert text.startswith("Audio Transmission Rate Exceeded: ")
    assert 10 < double.truth()[-1].audio_seconds <= 30


def test_a_fast_clock_takes_fast_audio() -> None:
    with (
        StreamingSandbox(time_scale=1_000_000, max_session_seconds=1e9) as double,
        dialled(double) as client,
    ):
        client.speak(30, chunk_seconds=1)
        assert client.leave()[-1]["audio_duration_seconds"] == 30


@pytest.mark.parametrize(
    "params",
    [
        {"sample_rate": "0"},
        {"sample_rate": "-1"},
        {"sample_rate": "fast"},
        {"encoding": "mp3"},
        {"inactivity_timeout": "4"},
        {"inactivity_timeout": "3601"},
        {"format_turns": "perhaps"},
    ],
)
def test_a_bad_parameter_opens_no_session(double: StreamingSandbox, params: dict[str, Any]) -> None:
    before = len(double.truth())
    with dialled(double, **params) as client:
        code, text = ended_by_error(client)
    assert (code, text.partition(":")[0]) == (3006, "Input validation error")
    assert len(double.truth()) == before
