"""What goes wrong between AssemblyAI and its SDK, and what the tap makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from decimal import Decimal
from typing import Any, Self

import pytest
from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    StreamingClient,
    StreamingClientOptions,
    StreamingEvents,
)
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

import meter
from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from recording.conftest import Recording
from recording.ingest import Ingest
from recording.streams import (
    SECOND,
    STREAMS,
    WITH_HEARTBEATS,
    Stream,
    begin,
    look_at_the_end_of,
    options,
    termination,
)

# The SDK's read thread dies of what its models refuse; that stays as it is.
thread_dies = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def tapping(recorder: meter.Recorder) -> Any:
    return lambda client: meter.tap(client, customer_id="a", to=recorder)


@thread_dies
@pytest.mark.parametrize("stream", STREAMS)
def test_a_fraction_that_kills_the_read_loop_is_billed_exactly(
    stream: Stream, double: StreamingSandbox, ingest: Ingest, recording: Recording
) -> None:
    ingest.start()
    recorder = recording()
    double.plan_next(
        StreamPlan(termination_fields={"session_duration_seconds": Decimal("12.345678901")})
    )
    heard = stream(double, tapping(recorder), patience=1)
    assert recorder.flush()
    assert ingest.billed == {double.truth()[0].session_id: Decimal("12.345678901")}
    assert "Termination" not in {event.type for event in heard}


@thread_dies
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("duration", [None, -1, "60", True, [60], Decimal("1E+30")])
def test_a_duration_that_is_none_is_set_aside_and_never_billed(
    stream: Stream,
    duration: Any,
    double: StreamingSandbox,
    ingest: Ingest,
    recording: Recording,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ingest.start()
    recorder = recording()
    double.plan_next(StreamPlan(termination_fields={"session_duration_seconds": duration}))
    stream(double, tapping(recorder), patience=1)
    assert recorder.flush()
    assert ingest.billed == {}
    assert ingest.quarantined() == 1
    (session,) = ingest.sessions()
    assert session.state == "quarantined"
    assert "recording.quarantined reason='session_duration_seconds: expected" in caplog.text
    assert session.provider_id in caplog.text


def test_a_handler_that_awaits_and_is_cancelled_costs_nothing(
    double: StreamingSandbox, ingest: Ingest, recording: Recording
) -> None:
    ingest.start()
    recorder = recording()
    done: list[str] = []

    async def session() -> None:
        client = AsyncStreamingClient(options(double))

        async def slow(_client: object, _event: object) -> None:
            await asyncio.sleep(30)
            done.append("never: disconnect cancels it")

        client.on(StreamingEvents.Termination, slow)
        meter.tap(client, customer_id="a", to=recorder)
        await client.connect(WITH_HEARTBEATS)
        await client.stream(SECOND)
        await client.disconnect(terminate=True)

    asyncio.run(session())
    assert recorder.flush()
    (truth,) = double.truth()
    assert ingest.billed == {truth.session_id: truth.session_seconds}
    assert done == []


class Scripted:
    """A provider that says Begin, and what it is told to once it is asked to terminate.

    `late` comes after the client hung up; `at_once` waits for no Terminate.
    """

    def __init__(self, *answers: str, late: str | None = None, at_once: bool = False) -> None:
        self._at_once = at_once
        self._answers = answers
        self._late = late
        self._hung_up = threading.Event()
        self._server = serve(self._handle, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def _handle(self, connection: ServerConnection) -> None:
        connection.send(begin("s1"))
        for message in ['{"type":"Terminate"}'] if self._at_once else connection:
            if message == '{"type":"Terminate"}':
                with connection.send_context():  # one write: they arrive together
                    for answer in self._answers:
                        connection.protocol.send_text(answer.encode())
                if self._late is not None:
                    assert self._hung_up.wait(10)
                    with contextlib.suppress(ConnectionClosed):
                        connection.send(self._late)
                return

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._hung_up.set()
        self._server.shutdown()


ERROR = '{"type": "Error", "error_code": 3005, "error": "x"}'
NO_TURN = '{"type": "Turn", "transcript": 7}'


@pytest.mark.parametrize("stream", STREAMS)
def test_a_termination_that_is_on_its_way_with_an_error_is_recovered(
    stream: Stream, ingest: Ingest, recording: Recording
) -> None:
    """The SDK hears the Error and hangs up; the Termination lies in the buffer, unread."""
    ingest.start()
    recorder = recording()
    with Scripted(ERROR, termination("61.5")) as provider:
        heard = stream(provider, tapping(recorder))
    assert len(heard) == 2
    assert recorder.flush()
    assert ingest.billed == {"s1": Decimal("61.5")}


@pytest.mark.parametrize("stream", STREAMS)
def test_after_an_error_each_session_is_billed_exactly_or_stays_open(
    stream: Stream, double: StreamingSandbox, ingest: Ingest, recording: Recording
) -> None:
    """Which of the two is a race that the SDK and the network decide."""
    ingest.start()
    recorder = recording()
    for _ in range(5):
        double.plan_next(StreamPlan(error_before_termination=True))
        stream(double, tapping(recorder))
    assert recorder.flush()
    still_open = {session.provider_id for session in ingest.sessions("open")}
    truths = {truth.session_id: truth.session_seconds for truth in double.truth()}
    assert len(truths) == 5
    assert ingest.billed == {k: v for k, v in truths.items() if k not in still_open}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("late", [None, termination()])
def test_an_error_whose_termination_is_not_there_yet_leaves_the_session_open(
    stream: Stream, late: str | None, ingest: Ingest, recording: Recording
) -> None:
    """The SDK closes at once: what the provider sends afterwards reaches nobody."""
    ingest.start()
    recorder = recording()
    with Scripted(ERROR, late=late) as provider:
        heard = stream(provider, tapping(recorder))
    assert len(heard) == 2
    assert recorder.flush()
    assert [s.provider_id for s in ingest.sessions()] == ["s1"]
    assert len(ingest.sessions("open")) == 1
    assert ingest.quarantined() == 0


@thread_dies
@pytest.mark.parametrize("stream", STREAMS)
def test_a_termination_behind_a_message_that_the_sdk_refuses_is_recovered(
    stream: Stream, ingest: Ingest, recording: Recording
) -> None:
    """The read loop dies of a model that does not fit; the rest lies in the buffer."""
    ingest.start()
    recorder = recording()
    with Scripted(NO_TURN, termination("61.5")) as provider:
        heard = stream(provider, tapping(recorder), patience=1)
    assert [event.type for event in heard] == ["Begin"]
    assert recorder.flush()
    assert ingest.billed == {"s1": Decimal("61.5")}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("plan", [StreamPlan(), StreamPlan(no_termination=True)])
def test_without_a_termination_the_session_stays_open(
    stream: Stream,
    plan: StreamPlan,
    double: StreamingSandbox,
    ingest: Ingest,
    recording: Recording,
) -> None:
    ingest.start()
    recorder = recording()
    double.plan_next(plan)
    stream(double, tapping(recorder), terminate=plan.no_termination)
    assert recorder.flush()
    (session,) = ingest.sessions()
    assert (session.state, session.customer_id) == ("open", "a")
    assert ingest.events == []


@pytest.mark.parametrize("stream", STREAMS)
def test_a_termination_that_comes_twice_is_billed_once(
    stream: Stream, double: StreamingSandbox, ingest: Ingest, recording: Recording
) -> None:
    ingest.start()
    recorder = recording()
    double.plan_next(StreamPlan(termination_twice=True, begin_twice=True))
    stream(double, tapping(recorder))
    assert recorder.flush()
    (truth,) = double.truth()
    assert ingest.billed == {truth.session_id: truth.session_seconds}


def test_a_hundred_sessions_have_one_thread(ingest: Ingest, recording: Recording) -> None:
    ingest.start()
    recorder = recording()
    for number in range(100):
        session = recorder.session(customer_id="a")
        session.feed(begin(f"s{number}"))
        session.feed(termination())
    assert recorder.flush()
    ours = [thread for thread in threading.enumerate() if thread.name == "meter-recorder"]
    assert len(ours) == 1
    assert len(ingest.billed) == 100


@thread_dies
@pytest.mark.parametrize("client_class", [StreamingClient, AsyncStreamingClient])
def test_a_termination_is_recovered_though_the_user_never_disconnects(
    client_class: Any, ingest: Ingest, recording: Recording
) -> None:
    """The read loop is dead, and the provider ends the session by itself."""
    ingest.start()
    recorder = recording()

    async def session(url: str) -> None:
        client = client_class(StreamingClientOptions(api_host=url, api_key="k"))
        meter.tap(client, customer_id="a", to=recorder)
        connecting = client.connect(WITH_HEARTBEATS)
        if connecting is not None:
            await connecting
        async with asyncio.timeout(20):
            while not ingest.billed:  # noqa: ASYNC110  a journal sets no event
                await asyncio.sleep(0.01)
        disconnecting = client.disconnect()
        if disconnecting is not None:
            await disconnecting
        look_at_the_end_of(client)

    with Scripted(NO_TURN, termination("61.5"), at_once=True) as provider:
        asyncio.run(session(provider.url))
    assert ingest.billed == {"s1": Decimal("61.5")}
