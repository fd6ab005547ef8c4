"""`POST /v1/tokens` on a real socket: who gets a token, and what it says."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from meter.clock import SystemClock
from meter.collectors.intake import Intake
from meter.collectors.interface import CollectorContext
from meter.collectors.relay.collector import StreamingCollector, StreamingOptions
from meter.collectors.relay.tokens import read_token
from meter.config import ServerOptions
from meter.http import Route
from meter.journal import open_journal
from meter.logs import FieldLogger
from meter.server.app import App
from meter.server.listening import HttpServer, bind
from meter.server.tokens import TOKENS_PATH, TokenDesk
from support.plugging import plugins_with
from support.waiting import eventually

SECRET = "a-token-secret-of-more-than-32-characters"
ADMIN = "the-admin-secret"
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ask]:
    """A served token desk for the collectors that the test names; the default is one, `live`."""
    names: tuple[str, ...] = getattr(request, "param", ("live",))
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    collectors = {
        name: StreamingCollector(
            StreamingOptions(api_key=SecretStr("key"), token_secret=SecretStr(SECRET)),
            CollectorContext(
                name=name,
                collectors=frozenset(names),
                intake=Intake(journal, plugins_with()),
                journal=journal,
                clock=SystemClock(),
                log=FieldLogger(logging.getLogger("test"), {}),
            ),
        )
        for name in names
    }
    listener = bind("127.0.0.1", 0)
    desk = {"desk": TokenDesk(collectors, SecretStr(ADMIN))}
    options = ServerOptions()

    async def issue(asked: Any) -> Any:
        return await desk["desk"].issue(asked)

    app = App(
        [("meter", Route("POST", TOKENS_PATH, issue))],
        options=options,
        journal=journal,
        clock=SystemClock(),
    )
    server = HttpServer(app, receipt_deadline=options.receipt_deadline)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
    )
    thread.start()
    eventually(lambda: server.started)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}{TOKENS_PATH}"

    def post(body: Any, secret: str | None = ADMIN, *, off: bool = False) -> httpx.Response:
        if off:
            desk["desk"] = TokenDesk(collectors, None)
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        return httpx.post(url, headers=headers, trust_env=False, **given)

    yield post
    server.should_exit = True
    thread.join(20)
    journal.close()


def test_a_token_says_what_was_asked_for(ask: Ask) -> None:
    answer = ask(
        {
            "customer_id": "Müller & Söhne",
            "dimensions": {"project_id": "p1"},
            "ttl_seconds": 90,
            "max_session_seconds": 600,
            "single_use": True,
        }
    )
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["expires_in_seconds"] == 90
    now = SystemClock().now()
    grant = read_token(answer.json()["token"], SECRET, "live", now=now)
    assert grant.customer_id == "Müller & Söhne"
    assert grant.dimensions == {"project_id": "p1"}
    assert grant.max_session == timedelta(minutes=10)
    assert grant.single_use
    assert grant.until is not None
    assert grant.until - now <= timedelta(seconds=90)


@pytest.mark.parametrize("secret", [None, "wrong", f"{ADMIN}x", ADMIN.upper(), SECRET])
def test_without_the_admin_secret_there_is_none(ask: Ask, secret: str | None) -> None:
    answer = ask({"customer_id": "acme"}, secret)
    assert answer.status_code == 401
    assert ADMIN not in answer.text
    assert "token" not in answer.json()


def test_where_no_admin_secret_is_set_it_is_off(ask: Ask) -> None:
    answer = ask({"customer_id": "acme"}, off=True)
    assert answer.status_code == 403
    assert "server.admin_secret" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        ({}, "customer_id"),
        ({"customer_id": ""}, "customer_id: expected whose session it will be"),
        ({"customer_id": 7}, "customer_id"),
        ({"customer_id": "a", "ttl": 5}, "unknown field `ttl`"),
        ({"customer_id": "a", "ttl_seconds": 0}, "ttl: expected 1 s to 24 h"),
        ({"customer_id": "a", "ttl_seconds": 10**15}, "too large"),
        ({"customer_id": "a", "max_session_seconds": 10_801}, "max_session: expected 1 s to 3 h"),
        ({"customer_id": "a", "dimensions": {"n": 1}}, "dimensions"),
        ({"customer_id": "a", "collector": "other"}, "collector: expected one of live"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(ask: Ask, body: Any, words: str) -> None:
    answer = ask(body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@pytest.mark.parametrize("ask", [("eu", "us")], indirect=True)
def test_with_two_relays_the_collector_must_be_named(ask: Ask) -> None:
    answer = ask({"customer_id": "acme"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "collector: expected one of eu, us"
    token = ask({"customer_id": "acme", "collector": "us"}).json()["token"]
    assert read_token(token, SECRET, "us", now=SystemClock().now()).customer_id == "acme"
