"""A raw client of the streaming double, and AssemblyAI's description of what it may say."""

import dataclasses
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import Event
from websockets.sync.client import ClientConnection, connect

from meter.sandbox.streaming import StreamingSandbox

SPECS = Path(__file__).resolve().parents[2].parent / "shared/specs"
PATIENCE_SECONDS = 10.0
SECOND = b"\x10\x00" * 16000
"""A second of audio at the default rate."""


class Watched(ClientConnection):
    """A connection that counts the pings it was sent."""

    pings = 0

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.pings += 1
        super().process_event(event)


@dataclasses.dataclass
class Conversation:
    """One raw socket; `code` and `reason` are the close frame's, None when there was none."""

    socket: Watched
    code: int | None = None
    reason: str | None = None

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def speak(self, seconds: float = 1.0, *, chunk_seconds: float = 0.1) -> None:
        audio, size = SECOND * math.ceil(seconds), round(chunk_seconds * 32000)
        for start in range(0, round(seconds * 32000), size):
            self.socket.send(audio[start : start + size])

    def hear(self) -> Any:
        return json.loads(self.socket.recv(timeout=PATIENCE_SECONDS))

    def hear_until(self, kind: str) -> list[Any]:
        heard = [self.hear()]
        while heard[-1]["type"] != kind:
            heard.append(self.hear())
        return heard

    def rest(self) -> list[Any]:
        """Read until the socket is closed."""
        heard = []
        try:
            while True:
                heard.append(self.hear())
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                self.code, self.reason = closed.rcvd.code, closed.rcvd.reason
        return heard

    def leave(self) -> list[Any]:
        self.say("Terminate")
        return self.rest()


@contextmanager
def dialled(
    double: StreamingSandbox, *, key: str | None = "key-a", **params: Any
) -> Iterator[Conversation]:
    headers = {} if key is None else {"Authorization": key}
    with connect(
        f"{double.url}/v3/ws?{urlencode(params)}",
        additional_headers=headers,
        proxy=None,
        open_timeout=PATIENCE_SECONDS,
        max_queue=None,
        create_connection=Watched,
    ) as socket:
        assert isinstance(socket, Watched)
        yield Conversation(socket)


def token_answer(
    double: StreamingSandbox, *, key: str | None = "key-a", method: str = "GET", **params: Any
) -> httpx.Response:
    headers = {} if key is None else {"Authorization": key}
    url = f"{double.http_url}/v3/token"
    return httpx.request(method, url, params=params, headers=headers, trust_env=False)


def token_for(double: StreamingSandbox, **params: Any) -> str:
    answer = token_answer(double, **{"expires_in_seconds": 60, **params})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def conforms(message: Any, *, u3: bool = False) -> bool:
    """Check a message against AssemblyAI's description; False where it has none of that type."""
    name = "assemblyai-streaming-u3-pro.yml" if u3 else "assemblyai-streaming.yml"
    schema = {"Begin": "SessionBegins"}.get(message["type"], message["type"])
    contents = described(name)
    if f"{schema}Payload" not in contents["components"]["schemas"]:
        return False
    check(contents, f"/components/schemas/{schema}Payload", message)
    return True


def described(name: str) -> Any:
    """Return one of AssemblyAI's own API descriptions."""
    if not (SPECS / name).exists():
        pytest.skip(f"AssemblyAI's API description is not at {SPECS / name}")
    return yaml.safe_load((SPECS / name).read_text())


def check(contents: Any, pointer: str, document: Any) -> None:
    """Check a document against the schema at a JSON pointer."""
    registry: Registry[Any] = Registry().with_resource(
        "urn:assemblyai", DRAFT202012.create_resource(contents)
    )
    validator = Draft202012Validator(
        {"$ref": f"urn:assemblyai#{pointer}"},
        registry=registry,
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
    assert not [error.message for error in validator.iter_errors(document)]
