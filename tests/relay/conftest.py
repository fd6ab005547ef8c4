"""A relay, and a provider that is either honest or in the test's hands."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meter.sandbox.streaming import StreamingSandbox
from relay.running import UPSTREAM_KEY, Complaints, Relayed, Start
from relay.wire import Provider, Wire
from support.waiting import eventually


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    handler = Complaints()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.stop()


@pytest.fixture
def double() -> Iterator[StreamingSandbox]:
    with StreamingSandbox(keys=(UPSTREAM_KEY,), heartbeat_seconds=0.2) as double:
        yield double


@pytest.fixture
def start(
    tmp_path: Path, complaints: Complaints, request: pytest.FixtureRequest
) -> Iterator[Start]:
    """Start relays; none may leave a session behind, or a fault that nobody handled."""
    running: list[Relayed] = []

    def start(upstream: str, *, collect: bool = True, **options: Any) -> Relayed:
        running.append(Relayed(tmp_path, upstream, collect=collect, options=options))
        return running[-1]

    yield start
    # What fails as expected must not fail here once more.
    strict = request.node.get_closest_marker("xfail") is None
    for relayed in running:
        relayed.forget_clients()
        if strict and relayed.runs:
            eventually(lambda relayed=relayed: not relayed.open_sessions())  # type: ignore[misc]  # a bound default
        if relayed.runs:
            relayed.halt()
    if strict:
        assert not complaints.unhandled, "\n".join(complaints.unhandled)


@pytest.fixture
def relayed(start: Start, provider: Provider) -> Relayed:
    """A relay whose provider is in the test's hands."""
    return start(provider.url)


@pytest.fixture
def honest(start: Start, double: StreamingSandbox) -> Relayed:
    """A relay whose provider is the honest double."""
    return start(double.url)


@pytest.fixture
def expires_at() -> int:
    return int(datetime.now(UTC).timestamp()) + 10_800


@pytest.fixture
def begun(relayed: Relayed, provider: Provider, expires_at: int) -> tuple[Wire, Wire]:
    """The application's and the provider's end of a session whose Begin was passed on."""
    client = relayed.dial()
    assert client.status == 101
    upstream = provider.accept()
    upstream.say("Begin", id="s1", expires_at=expires_at)
    assert client.hear()["id"] == "s1"
    return client, upstream


@pytest.fixture
def impatient(start: Start, double: StreamingSandbox) -> Relayed:
    """The same, with a relay that waits for a Termination for a second only."""
    return start(double.url, termination_timeout=timedelta(seconds=1))
