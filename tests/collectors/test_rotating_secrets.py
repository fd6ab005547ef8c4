"""While a secret is being rotated, the new and the previous one open the door, and no other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from acceptance.process import HEADER, HOOK, Meter
from meter.clock import SystemClock
from meter.collectors.relay.collector import StreamingOptions
from meter.collectors.relay.tokens import Grant, TokenRefused, make_token, read_token_of
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.streaming import StreamingSandbox

OLD = "the-old-secret-of-more-than-32-characters"
NEW = "the-new-secret-of-more-than-32-characters"
OTHER = "another-secret-of-more-than-32-characters"
FACT = {
    "kind": "async_completed",
    "provider_id": "t-9",
    "customer_id": "acme",
    "occurred_at": "2026-11-01T12:00:00Z",
    "seconds": 61,
}
SERVER = {
    "port": 0,
    "admin_secret": NEW,
    "previous_admin_secret": OLD,
    "metrics_secret": "a-third-secret-of-more-than-32-characters",
}


@pytest.fixture(scope="module")
def rotating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meter]:
    """A `meter run` with every secret new, and every previous one still taken."""
    with AssemblyAISandbox(latency=0) as rest, StreamingSandbox() as streaming:
        both = {"secret": NEW, "previous_secret": OLD}
        key = {"api_key": "key"}
        signing = {"token_secret": NEW, "previous_token_secret": OLD}
        collectors = {
            "jobs": {"type": "webhook", **key, **both, "base_url": rest.base_url},
            "apps": {"type": "ingest", **both},
            "live": {"type": "streaming", **key, **signing, "upstream": streaming.url},
        }
        run = Meter(tmp_path_factory.mktemp("rotating")).configure(
            {
                "server": SERVER,
                "collectors": collectors,
                "sinks": {"ledger": {"type": "sqlite", "path": "usage.db"}},
                "pipelines": {"usage": {"from": list(collectors), "to": "ledger"}},
            }
        )
        run.start()
        yield run
        run.kill()


def posted(url: str, body: Any, **headers: str) -> int:
    return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=30).status_code


def test_a_webhook_is_taken_with_either_secret_and_with_no_other(rotating: Meter) -> None:
    body = {"transcript_id": "t-1", "status": "completed"}
    url = f"{rotating.url}{HOOK}?customer_id=acme"
    sent = [NEW, OLD, OTHER, "", OLD[:-1]]
    assert [posted(url, body, **{HEADER: s}) for s in sent] == [200, 200, 401, 401, 401]
    (used,) = [line for line in rotating.logs("secret.previous") if line["collector"] == "jobs"]
    assert used["times"] == 1, "a person sees that somebody sends the old one still"
    assert OLD not in rotating.log.read_text()


def test_facts_and_requests_for_tokens_are_taken_with_either_secret(rotating: Meter) -> None:
    for path, body in [("/v1/events", FACT), ("/v1/tokens", {"customer_id": "acme"})]:
        sent = [f"Bearer {secret}" for secret in (NEW, OLD, OTHER, OLD[:-1])]
        answers = [posted(f"{rotating.url}{path}", body, Authorization=s) for s in sent]
        assert answers == [200, 200, 401, 401], path


def test_metrics_are_read_with_either_admin_secret_and_with_no_other(rotating: Meter) -> None:
    url = f"{rotating.url}/metrics"
    sent = [{"Authorization": f"Bearer {secret}"} for secret in (NEW, OLD, OTHER)]
    asked = [httpx.get(url, headers=each, trust_env=False, timeout=30) for each in sent]
    assert [answer.status_code for answer in asked] == [200, 200, 401]


def test_a_token_of_either_secret_opens_a_session(
    rotating: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", f"127.0.0.1,{os.environ.get('NO_PROXY', '')}")
    began = {}
    for secret in (NEW, OLD, OTHER):
        token = make_token(
            *(secret, "live", Grant("acme")),
            issued_at=SystemClock().now(),
            ttl=timedelta(minutes=1),
        )
        url = f"{rotating.url.replace('http', 'ws', 1)}/v3/ws?sample_rate=16000&token={token}"
        with connect(url) as session:
            began[secret] = json.loads(session.recv(20))["type"]
            with suppress(ConnectionClosed):
                session.send('{"type": "Terminate"}')
    assert began == {NEW: "Begin", OLD: "Begin", OTHER: "Error"}


def test_a_token_of_the_previous_secret_is_refused_for_its_own_fault() -> None:
    now = SystemClock().now()
    issued = now - timedelta(hours=1)
    token = make_token(OLD, "live", Grant("acme"), issued_at=issued, ttl=timedelta(minutes=1))
    with pytest.raises(TokenRefused, match="expired"):
        read_token_of(token, [NEW, OLD], "live", now=now)
    with pytest.raises(TokenRefused, match="another collector"):
        read_token_of(token, [NEW, OLD], "other", now=now)
    with pytest.raises(TokenRefused, match="not valid"):
        read_token_of(token, [NEW], "live", now=now)


def test_an_empty_previous_secret_is_none_and_a_short_one_is_refused(tmp_path: Path) -> None:
    options = StreamingOptions(
        api_key=SecretStr("key"),
        token_secret=SecretStr(NEW),
        previous_token_secret=SecretStr(""),
    )
    assert options.token_secrets() == (NEW,)
    checked = (
        Meter(tmp_path)
        .configure(
            {
                "collectors": {
                    "jobs": {
                        "type": "webhook",
                        "api_key": "key",
                        "secret": NEW,
                        "previous_secret": "${NOT_SET_ANYWHERE:-}",
                    },
                    "live": {
                        "type": "streaming",
                        "api_key": "key",
                        "token_secret": NEW,
                        "previous_token_secret": "short",
                    },
                },
                "sinks": {"ledger": {"type": "sqlite", "path": "usage.db"}},
                "pipelines": {"usage": {"from": ["jobs", "live"], "to": "ledger"}},
            }
        )
        .command("check")
    )
    assert checked.returncode == 2
    (fault,) = checked.stderr.splitlines()
    assert "collectors.live.previous_token_secret: at least 32 characters" in fault
