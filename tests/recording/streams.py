"""The real SDK against the double: one session, as an application has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Protocol

from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    StreamingClient,
    StreamingClientOptions,
    StreamingEvents,
    StreamingParameters,
)

from support.waiting import eventually

SECOND = bytes(32_000)
"""A second of silence: 16 kHz, 16 bit, one channel."""
WITH_HEARTBEATS = StreamingParameters(sample_rate=16000, session_heartbeat=True)

Prepare = Callable[[Any], object]


class Provider(Protocol):
    """Where a client connects to."""

    @property
    def url(self) -> str: ...


def options(double: Provider, patience: float = 5.0) -> StreamingClientOptions:
    """Configure the SDK; `patience` is how many seconds it waits for a Termination."""
    return StreamingClientOptions(
        api_host=double.url, api_key="key", connect_timeout=10, terminate_timeout=patience
    )


def heard_by(client: Any) -> list[Any]:
    """Return a list that fills with every event that the SDK tells its user."""
    heard: list[Any] = []
    for kind in StreamingEvents:
        client.on(kind, lambda _client, event: heard.append(event))
    return heard


def in_sync(
    double: Provider,
    prepare: Prepare,
    *,
    terminate: bool = True,
    seconds: int = 2,
    patience: float = 5.0,
) -> list[Any]:
    """Stream and disconnect; return what the user's handlers heard."""
    client = StreamingClient(options(double, patience))
    heard = heard_by(client)
    prepare(client)
    client.connect(WITH_HEARTBEATS)
    client.stream([SECOND] * seconds)
    eventually(lambda: heard)
    client.disconnect(terminate=terminate)
    return heard


def in_async(
    double: Provider,
    prepare: Prepare,
    *,
    terminate: bool = True,
    seconds: int = 2,
    patience: float = 5.0,
) -> list[Any]:
    """Do the same with the asynchronous client."""

    async def session() -> list[Any]:
        client = AsyncStreamingClient(options(double, patience))
        heard = heard_by(client)
        prepare(client)
        await client.connect(WITH_HEARTBEATS)
        await client.stream([SECOND] * seconds)
        async with asyncio.timeout(10):
            while not heard:  # noqa: ASYNC110  a list sets no event
                await asyncio.sleep(0.005)
        await client.disconnect(terminate=terminate)
        look_at_the_end_of(client)
        return heard

    return asyncio.run(session())


def look_at_the_end_of(client: Any) -> None:
    """Take what ended the SDK's reading: it never looks, and asyncio would say so much later."""
    reading = getattr(client, "_read_task", None)
    if reading is not None and reading.done() and not reading.cancelled():
        reading.exception()


STREAMS = [in_sync, in_async]
Stream = Callable[..., list[Any]]


def begin(session_id: str, **fields: Any) -> str:
    return json.dumps(
        {
            "type": "Begin",
            "id": session_id,
            "expires_at": 1_900_000_000,
            "configuration": {"model": "universal-streaming-english", "mode": "x"},
            **fields,
        }
    )


def heartbeat(milliseconds: int) -> str:
    return json.dumps({"type": "Heartbeat", "total_duration_ms": milliseconds})


def termination(seconds: str = "7", audio: str = "3") -> str:
    return (
        '{"type": "Termination", "audio_duration_seconds": '
        + audio
        + ', "session_duration_seconds": '
        + seconds
        + "}"
    )
