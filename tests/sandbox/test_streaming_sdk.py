"""The real SDK streams to the double and hears what AssemblyAI's description allows."""

import asyncio
from typing import Any

import pytest
from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    SpeechModel,
    StreamingClient,
    StreamingClientOptions,
    StreamingError,
    StreamingEvents,
    StreamingParameters,
)

from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from sandbox.receiver import eventually
from sandbox.streaming_client import SECOND, conforms, described, token_for

# SDK 1.8.2 uses the synchronous `connect` in a way that websockets 17.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:connect.* must be used as a context manager")

MODELS = [SpeechModel.u3_rt_pro, SpeechModel.universal_streaming_english]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def options(double: StreamingSandbox, **credentials: str) -> StreamingClientOptions:
    # A slow machine must not make the SDK dial twice.
    return StreamingClientOptions(api_host=double.url, connect_timeout=10, **credentials)


def check_session(raw: list[Any], events: list[Any], *, model: SpeechModel) -> None:
    """The frames fit the description, and the SDK dispatched every one of them."""
    u3 = model == SpeechModel.u3_rt_pro
    described("assemblyai-streaming.yml")
    assert all(conforms(message, u3=u3) for message in raw if message["type"] != "Heartbeat")
    kinds = [message["type"] for message in raw]
    assert kinds == [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("Begin", "Termination")
    assert kinds.count("Begin") == kinds.count("Termination") == 1
    assert kinds.count("Turn") >= 3
    assert ("SpeechStarted" in kinds) is u3
    assert events[0].configuration.model == model.value
    assert [turn["turn_order"] for turn in raw if turn["type"] == "Turn" and turn["end_of_turn"]]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("by_token", [False, True])
def test_the_sync_client_has_a_whole_session(model: SpeechModel, *, by_token: bool) -> None:
    raw: list[Any] = []
    events: list[Any] = []

    class Tapped(StreamingClient):
        @classmethod
        def _parse_message(cls, data: Any) -> Any:
            raw.append(data)
            return super()._parse_message(data)

    with StreamingSandbox(heartbeat_seconds=0.01, keys={"key-a"}) as double:
        given = {"token": token_for(double)} if by_token else {"api_key": "key-a"}
        client = Tapped(options(double, **given))
        for kind in StreamingEvents:
            client.on(kind, lambda _client, event: events.append(event))
        client.connect(
            StreamingParameters(sample_rate=16000, speech_model=model, session_heartbeat=True)
        )
        client.stream([SECOND] * 4)
        eventually(lambda: len([message for message in raw if message["type"] == "Heartbeat"]) > 1)
        eventually(lambda: [row.audio_frames for row in double.truth()] == [4])
        client.disconnect(terminate=True)
        (row,) = double.truth()
    check_session(raw, events, model=model)
    assert events[0].id == row.session_id
    assert events[0].expires_at == row.expires_at
    assert events[-1].session_duration_seconds == row.session_seconds
    assert events[-1].audio_duration_seconds == row.audio_seconds == 4
    assert (row.api_key, row.ended, row.termination_sent) == ("key-a", "terminated", True)
    assert row.params["speech_model"] == model.value


def test_the_async_client_has_a_whole_session() -> None:
    async def scenario(double: StreamingSandbox) -> tuple[list[Any], list[Any]]:
        raw: list[Any] = []
        events: list[Any] = []

        class Tapped(AsyncStreamingClient):
            @classmethod
            def _parse_message(cls, data: Any) -> Any:
                raw.append(data)
                return super()._parse_message(data)

        client = Tapped(options(double, token=token_for(double)))
        for kind in StreamingEvents:
            client.on(kind, lambda _client, event: events.append(event))
        await client.connect(StreamingParameters(sample_rate=16000, speech_model=MODELS[0]))
        await client.stream([SECOND] * 4)
        await client.force_endpoint()
        await client.keep_alive()
        await client.disconnect(terminate=True)
        return raw, events

    with StreamingSandbox() as double:
        raw, events = asyncio.run(scenario(double))
        (row,) = double.truth()
    check_session(raw, events, model=MODELS[0])
    assert row.messages == {"ForceEndpoint": 1, "KeepAlive": 1, "Terminate": 1}
    assert (row.api_key, row.ended, row.session_seconds > 0) == ("key-a", "terminated", True)


def test_the_client_hears_of_an_unknown_key_in_band() -> None:
    errors: list[StreamingError] = []
    with StreamingSandbox(keys={"key-a"}) as double:
        client = StreamingClient(options(double, api_key="key-b"))
        client.on(StreamingEvents.Error, lambda _client, error: errors.append(error))
        client.connect(StreamingParameters(sample_rate=16000))
        eventually(lambda: bool(errors))
        client.disconnect()
        assert double.truth() == []
    assert errors[0].code == 1008
    assert str(errors[0]).startswith("Unauthorized Connection: ")


def test_a_slow_handshake_makes_the_client_dial_again() -> None:
    events: list[Any] = []
    with StreamingSandbox() as double:
        double.plan_next(StreamPlan(handshake_delay_seconds=30))
        client = StreamingClient(
            StreamingClientOptions(
                api_host=double.url, api_key="k", connect_timeout=0.5, connection_retry_delay=0
            )
        )
        client.on(StreamingEvents.Begin, lambda _client, event: events.append(event))
        client.connect(StreamingParameters(sample_rate=16000))
        eventually(lambda: bool(events))
        client.disconnect(terminate=True)
        assert [row.ended for row in double.truth()] == ["terminated"]
