"""The double on a port of its own, a plain HTTP client for it, and AssemblyAI's description."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.webhooks import WebhookRules
from sandbox.receiver import Receiver

SPEC = Path(__file__).resolve().parents[2].parent / "shared/specs/assemblyai-openapi.json"
FAST = WebhookRules(attempts=4, retry_wait=0.05, timeout=1.0)


@dataclasses.dataclass(frozen=True)
class Api:
    """What a client of one key does with the API."""

    http: httpx.Client

    def submit(self, audio_url: str = "https://audio.example/a.mp3", **params: Any) -> Any:
        answer = self.http.post("/v2/transcript", json={"audio_url": audio_url, **params})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, transcript_id: str) -> Any:
        answer = self.http.get(f"/v2/transcript/{transcript_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self, transcript_id: str) -> str:
        return str(self.get(transcript_id)["status"])


@pytest.fixture
def double() -> Iterator[AssemblyAISandbox]:
    with AssemblyAISandbox(latency=0.02, rules=FAST, seed=7) as double:
        yield double


@pytest.fixture
def api_of(double: AssemblyAISandbox) -> Iterator[Callable[[str], Api]]:
    clients: list[httpx.Client] = []

    def api_of(key: str) -> Api:
        headers = {"authorization": key}
        clients.append(httpx.Client(base_url=double.base_url, headers=headers, trust_env=False))
        return Api(clients[-1])

    yield api_of
    for client in clients:
        client.close()


@pytest.fixture
def api(api_of: Callable[[str], Api]) -> Api:
    return api_of("key-a")


@pytest.fixture(scope="module")
def anyones_http() -> Iterator[httpx.Client]:
    """A client of a double that several tests share; for requests that change nothing."""
    with (
        AssemblyAISandbox() as double,
        httpx.Client(
            base_url=double.base_url, headers={"authorization": "k"}, trust_env=False
        ) as http,
    ):
        yield http


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def conforms() -> Callable[[str, Any], None]:
    """Check a document against a schema of AssemblyAI's own API description."""
    if not SPEC.exists():
        pytest.skip(f"AssemblyAI's API description is not at {SPEC}")
    contents = json.loads(SPEC.read_text())
    registry: Registry[Any] = Registry().with_resource(
        "urn:assemblyai", DRAFT202012.create_resource(contents)
    )

    def conforms(schema: str, document: Any) -> None:
        validator = Draft202012Validator(
            {"$ref": f"urn:assemblyai#/components/schemas/{schema}"},
            registry=registry,
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )
        assert not [error.message for error in validator.iter_errors(document)]

    return conforms
