"""What streams against a relay: the real SDK in both forms, and a plain WebSocket client."""

import asyncio
import dataclasses
import json
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import jwt
import pytest
from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    StreamingClient,
    StreamingClientOptions,
    StreamingError,
    StreamingEvents,
    StreamingParameters,
    StreamingSessionParameters,
)
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import Event
from websockets.sync.client import ClientConnection, connect

from acceptance.process import pipelines, wait_until

COLLECTOR = "live"
TOKEN_SECRET = "t0ken-secret-of-the-acceptance-tests-0123456789"
SAMPLE_RATE = 16_000
SECOND = bytes(range(256)) * (SAMPLE_RATE * 2 // 256)
CHUNK_SECONDS = 0.2
FASTER = 10
"""So many times faster than real time do the tests speak, at most."""
PATIENCE_SECONDS = 30.0
TESTS = Path(__file__).resolve().parents[1]
THE_SDKS_OWN = [
    pytest.mark.filterwarnings(r"ignore:connect\(\) must be used as a context:DeprecationWarning"),
    pytest.mark.filterwarnings(r"ignore:ConnectionClosed\.(code|reason) is:DeprecationWarning"),
]
"""It uses websockets as websockets 17 wants it no more."""


def relayed(
    double_url: str, *, port: int = 0, webhook: str | None = None, **options: Any
) -> dict[str, Any]:
    """Return a pipelines file with a relay to the double, and a webhook collector if asked for."""
    live = {
        "type": "streaming",
        "api_key": "${ASSEMBLYAI_API_KEY}",
        "token_secret": "${METER_TOKEN_SECRET}",
        "upstream": double_url,
        **options,
    }
    others = {} if webhook is None else pipelines(webhook)["collectors"]
    return pipelines(port=port, collectors={COLLECTOR: live, **others})


def token(customer_id: str, dimensions: Mapping[str, str] | None = None, **claims: Any) -> str:
    """Sign a token as an application in any language would, without meter's own code."""
    now = int(time.time())
    named = {"aud": COLLECTOR, "sub": customer_id, "iat": now, "exp": now + 300}
    given = {"dimensions": dict(dimensions)} if dimensions else {}
    return jwt.encode(
        {**named, "jti": str(uuid.uuid4()), **given, **claims}, TOKEN_SECRET, algorithm="HS256"
    )


def ws(url: str) -> str:
    """Return meter's address as the SDK's `api_host` wants it."""
    return f"ws{url.removeprefix('http')}"


# -- an event loop for what is asynchronous --------------------------------------------------------


class Loop:
    """An event loop in a thread of its own, for the asynchronous SDK and for cables."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.do(self._cancel_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, coroutine: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a coroutine function in the loop, and wait for its end."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(
            coroutine(*arguments, **named), self._loop
        )
        return future.result(PATIENCE_SECONDS * 2)

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# -- the real SDK ----------------------------------------------------------------------------------


class Voice:
    """One session of the real SDK; `heard` is what its handlers were given.

    With a loop it is the asynchronous client, without one the other; both are driven alike.
    `terminate_timeout` is the SDK's own option.
    """

    def __init__(
        self,
        host: str,
        *,
        loop: Loop | None = None,
        api_key: str | None = None,
        token: str | None = None,
        terminate_timeout: float = PATIENCE_SECONDS,
    ) -> None:
        options = StreamingClientOptions(
            api_host=host,
            api_key=api_key,
            token=token,
            terminate_timeout=terminate_timeout,
            # A second attempt would be a second session: the tests count them.
            max_connection_retries=0,
            connect_timeout=PATIENCE_SECONDS,
        )
        self.heard: list[dict[str, Any]] = []
        self._loop = loop
        self._client: Any = (StreamingClient if loop is None else AsyncStreamingClient)(options)
        for event in StreamingEvents:
            self._client.on(event, self._hear)

    def connect(self, **params: Any) -> Self:
        self._do("connect", StreamingParameters(sample_rate=SAMPLE_RATE, **params))
        return self

    def speak(self, seconds: float, *, faster: float = FASTER) -> Self:
        """Say something; it is always the same of the same length."""
        for chunk in chunks(seconds):
            self._do("stream", chunk)
            time.sleep(CHUNK_SECONDS / faster)
        return self

    def configure(self, **params: Any) -> None:
        self._do("set_params", StreamingSessionParameters(**params))

    def force_endpoint(self) -> None:
        self._do("force_endpoint")

    def keep_alive(self) -> None:
        self._do("keep_alive")

    def leave(self) -> None:
        """Terminate, and wait for the Termination as the SDK does."""
        self._do("disconnect", terminate=True)

    def hang_up(self) -> None:
        """Close without a Terminate; also what ends a client whose session is over."""
        self._do("disconnect")

    def await_(self, kind: str, count: int = 1) -> dict[str, Any]:
        wait_until(lambda: len(self.of(kind)) >= count, showing=lambda: self.heard)
        return self.of(kind)[-1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in list(self.heard) if message["type"] == kind]

    @property
    def is_over(self) -> bool:
        return bool(self.of("Termination") or self.of("Error"))

    def _hear(self, _client: object, message: Any) -> None:
        if isinstance(message, StreamingError):
            self.heard.append({"type": "Error", "code": message.code, "text": str(message)})
        else:
            self.heard.append(message.model_dump())

    def _do(self, name: str, *arguments: Any, **named: Any) -> None:
        method = getattr(self._client, name)
        if self._loop is None:
            method(*arguments, **named)
        else:
            self._loop.do(method, *arguments, **named)


def chunks(seconds: float) -> Iterator[bytes]:
    audio = (SECOND * math.ceil(seconds))[: round(seconds * SAMPLE_RATE) * 2]
    size = round(CHUNK_SECONDS * SAMPLE_RATE) * 2
    for start in range(0, len(audio), size):
        yield audio[start : start + size]


# -- a plain client --------------------------------------------------------------------------------


class Watched(ClientConnection):
    """A connection that counts the pings it was sent."""

    pings = 0

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.pings += 1
        super().process_event(event)


@dataclasses.dataclass
class Plain:
    """A WebSocket client without an SDK: all messages, their fragments, and the close frame."""

    socket: Watched
    messages: list[Any] = dataclasses.field(default_factory=list)
    fragments: list[int] = dataclasses.field(default_factory=list)
    code: int | None = None
    reason: str | None = None

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def speak(self, seconds: float) -> None:
        for chunk in chunks(seconds):
            self.socket.send(chunk)
            time.sleep(CHUNK_SECONDS / FASTER)

    def hear(self) -> Any:
        """Return the next message; its fragments are counted in `fragments`."""
        pieces = list(self.socket.recv_streaming())
        text = "".join(str(piece) for piece in pieces)
        self.fragments.append(len(pieces))
        self.messages.append(json.loads(text, parse_float=Decimal))
        return self.messages[-1]

    def rest(self) -> Self:
        """Read to the end, and note the close frame."""
        try:
            while True:
                self.hear()
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                self.code, self.reason = closed.rcvd.code, closed.rcvd.reason
        return self

    def leave(self) -> Self:
        self.say("Terminate")
        return self.rest()


@contextmanager
def plain(host: str, authorization: str | None, **params: Any) -> Iterator[Plain]:
    headers = {} if authorization is None else {"Authorization": authorization}
    with connect(
        f"{host}/v3/ws?{urlencode({'sample_rate': SAMPLE_RATE, **params})}",
        additional_headers=headers,
        proxy=None,
        open_timeout=PATIENCE_SECONDS,
        max_queue=None,
        create_connection=Watched,
    ) as connection:
        assert isinstance(connection, Watched)
        yield Plain(connection)
