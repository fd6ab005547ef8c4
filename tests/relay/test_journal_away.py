"""A journal that cannot be written: no new sessions, and none of the open ones is harmed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from meter.events import StreamTerminated
from relay.running import Relayed, token
from relay.wire import BINARY, TERMINATE, TEXT, Frame, Provider, Wire
from support.waiting import eventually

Begun = tuple[Wire, Wire]


@contextmanager
def journal_away(relayed: Relayed) -> Iterator[None]:
    """Take the file from under the relay, and put it back: until then every write is refused."""
    elsewhere = Path(f"{relayed.path}.away")
    relayed.path.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(relayed.path)


def test_without_a_journal_no_session_is_opened_and_the_client_is_told_when_to_retry(
    relayed: Relayed, provider: Provider
) -> None:
    once = token(single_use=True)
    with journal_away(relayed):
        for _ in range(3):
            refused = relayed.dial(once)
            assert refused.status == 503
            assert int(refused.header("retry-after") or "") > 0
            assert refused.header("content-type") == "application/json"
            refused.read_all()
    assert provider.connections == 0
    assert relayed.openings() == 0
    assert relayed.open_sessions() == []
    assert relayed.dial(once).status == 101


def test_a_journal_that_is_away_for_a_moment_delays_a_message_and_loses_nothing(
    begun: Begun, relayed: Relayed
) -> None:
    client, upstream = begun
    with journal_away(relayed):
        upstream.say("Turn", transcript="before")
        upstream.say("Termination", session_duration_seconds=5)
        upstream.say("Turn", transcript="behind")
        assert client.hear()["transcript"] == "before"
        client.send(BINARY, b"audio goes on")
        assert upstream.frame() == Frame(BINARY, b"audio goes on")
        (session,) = relayed.open_sessions()
        eventually(lambda: session._held)
    assert client.hear()["type"] == "Termination"
    assert relayed.sessions()["s1"].seconds == 5  # still before the application saw it
    assert client.hear()["transcript"] == "behind"


@pytest.mark.parametrize("without", ["Begin", "Termination"])
def test_a_journal_that_stays_away_keeps_nothing_from_the_application(
    relayed: Relayed, provider: Provider, without: str
) -> None:
    client = relayed.dial()
    upstream = provider.accept()
    said = ["Begin", "Turn", "Termination"]
    if without == "Termination":
        upstream.say("Begin", id="s1")
        assert client.hear()["type"] == said.pop(0)
    with journal_away(relayed):
        if without == "Begin":
            upstream.say("Begin", id="s1")
            assert client.hear()["type"] == said.pop(0)
    with journal_away(relayed) if without == "Termination" else nullcontext():
        upstream.say("Turn", transcript="1")
        upstream.say("Termination", session_duration_seconds=5)
        upstream.close(1000)
        assert [m["type"] for m in client.rest()] == said
        assert client.code == 1000
        assert list(upstream.frames()) == []
        upstream.vanish()
    eventually(lambda: not relayed.open_sessions())
    (event,) = relayed.events()
    assert isinstance(event, StreamTerminated)
    assert event.billed_seconds == 5
    assert relayed.states() == {"s1": "closed"}
    assert relayed.openings() == 0


@pytest.mark.parametrize("what", ["refused", "closed", "lost", "vanished"])
def test_what_ends_while_the_journal_is_away_is_settled_once_it_is_back(
    relayed: Relayed, provider: Provider, what: str
) -> None:
    client = relayed.dial()
    upstream = provider.accept()
    if what in {"lost", "vanished"}:
        upstream.say("Begin", id="s1")
        client.hear()
    with journal_away(relayed):
        if what == "refused":
            upstream.say("Error", error_code=1008, error="no")
            upstream.close(1008)
            client.rest()
            list(upstream.frames())
        elif what == "vanished":
            client.vanish()
            assert upstream.frame() == Frame(TEXT, TERMINATE)
            upstream.say("Termination", session_duration_seconds=2)
        elif what == "closed":
            client.close(1000)
            assert upstream.frame() == Frame(TEXT, TERMINATE)
        if what == "vanished":
            eventually(lambda: all(s._held for s in relayed.open_sessions()))
        upstream.vanish()
        if what != "vanished":
            client.rest()
            eventually(lambda: all(s._upstream_ended for s in relayed.open_sessions()))
    eventually(lambda: not relayed.open_sessions())
    assert relayed.openings() == 0
    expected: dict[str, tuple[list[str], int]] = {
        "refused": ([], 0),
        "closed": ([], 1),  # it may have begun
        "lost": (["stream_abandoned"], 0),
        "vanished": (["stream_terminated"], 0),
    }
    assert (relayed.kinds(), len(relayed.quarantined())) == expected[what]
