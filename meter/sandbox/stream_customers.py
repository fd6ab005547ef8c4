"""Simulated callers, and the sessions that they stream through the real `assemblyai` SDK."""

import asyncio
import dataclasses
from collections.abc import Callable
from random import Random

from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    SpeechModel,
    StreamingError,
    StreamingEvents,
    StreamingParameters,
)

from meter.sandbox.customers import CUSTOMERS
from meter.sandbox.outcome import seeded_chance

AT_ONCE = 8
SAMPLE_RATE = 16_000
CHUNK = b"\x01\x00" * SAMPLE_RATE
"""One second of audio, the longest chunk that AssemblyAI takes."""
CHUNK_WAIT_SECONDS = 0.02
LONGEST_CHUNKS = 50
HANGS_UP_EVERY = 5
"""One caller in so many hangs up without saying so: the relay has to end the session."""
MODELS = (
    SpeechModel.universal_streaming_english,
    SpeechModel.universal_streaming_multilingual,
    SpeechModel.u3_rt_pro,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """One session as its caller saw it; `session_id` is None when it never began."""

    session_id: str | None
    customer_id: str
    project_id: str
    error: str | None


def stream_sessions(
    *,
    client_for: Callable[[str, str], AsyncStreamingClient],
    sessions: int,
    seed: int,
    on_progress: Callable[[int, int], None],
    hang_up: bool = True,
) -> list[Streamed]:
    """Stream `sessions` sessions of the simulated customers and return them in the order drawn.

    `client_for(customer_id, project_id)` makes the client of one session. Every fifth caller hangs
    up without Terminate, unless `hang_up` is false. `on_progress(done, total)` is called once a
    session. The SDK obeys proxy variables: set `NO_PROXY=127.0.0.1` where a proxy is configured.
    """
    return asyncio.run(_all(client_for, sessions, seed, on_progress, hang_up=hang_up))


async def _all(
    client_for: Callable[[str, str], AsyncStreamingClient],
    sessions: int,
    seed: int,
    on_progress: Callable[[int, int], None],
    *,
    hang_up: bool,
) -> list[Streamed]:
    turns = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(number: int) -> Streamed:
        nonlocal done
        async with turns:
            terminates = not hang_up or number % HANGS_UP_EVERY != HANGS_UP_EVERY - 1
            chance = seeded_chance(seed, "session", number)
            streamed = await _session(client_for, chance, terminates=terminates)
        done += 1
        on_progress(done, sessions)
        return streamed

    return await asyncio.gather(*(one(number) for number in range(sessions)))


async def _session(
    client_for: Callable[[str, str], AsyncStreamingClient], chance: Random, *, terminates: bool
) -> Streamed:
    customer = chance.choice(CUSTOMERS)
    project_id = chance.choice(customer.project_ids)
    session_id: str | None = None
    problem: str | None = None

    def on_begin(_client: object, event: object) -> None:
        nonlocal session_id
        session_id = getattr(event, "id", None)

    def on_error(_client: object, error: StreamingError) -> None:
        nonlocal problem
        problem = str(error)

    client = client_for(customer.customer_id, project_id)
    client.on(StreamingEvents.Begin, on_begin)
    client.on(StreamingEvents.Error, on_error)
    await client.connect(
        StreamingParameters(sample_rate=SAMPLE_RATE, speech_model=chance.choice(MODELS))
    )
    for _ in range(chance.randint(2, LONGEST_CHUNKS) if problem is None else 0):
        await client.stream(CHUNK)
        await asyncio.sleep(CHUNK_WAIT_SECONDS)
    await client.disconnect(terminate=terminates)
    return Streamed(
        session_id=session_id,
        customer_id=customer.customer_id,
        project_id=project_id,
        error=problem,
    )
