"""Limits of the collector and of a token, and the end of the process: told, and recorded first."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from meter.collectors.relay.relay import TICK_SECONDS
from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from relay.running import Relayed, Start, token
from relay.wire import BINARY, PING, PONG, TERMINATE, TEXT, Frame, Provider, Wire, request
from support.waiting import eventually

SECOND = timedelta(seconds=1)


def assert_too_many(wire: Wire) -> None:
    (error,) = wire.rest()
    assert error["error_code"] == wire.code == 3009
    assert wire.reason == "Unauthorized Connection: Too many concurrent sessions"


@pytest.mark.parametrize(
    ("limits", "others"),
    [({"max_sessions": 2}, 3009), ({"max_sessions_per_customer": 2}, None)],
)
def test_beyond_a_limit_the_provider_is_not_asked_and_an_ended_session_makes_room(
    start: Start, provider: Provider, limits: dict[str, Any], others: int | None
) -> None:
    relayed = start(provider.url, **limits)
    first = relayed.dial(sub="a")
    upstream = provider.accept()
    relayed.dial(sub="a")
    provider.accept()
    once = token(sub="a", single_use=True)
    for _ in range(3):
        assert_too_many(relayed.dial(once))
    other = relayed.dial(sub="b")
    if others:
        assert_too_many(other)
    else:
        provider.accept()
    assert provider.connections == (2 if others else 3)
    assert relayed.openings() == provider.connections

    first.close(1000)
    upstream.say("Begin", id="s1")
    upstream.say("Termination", session_duration_seconds=1)
    upstream.close(1000)
    upstream.vanish()
    eventually(lambda: len(relayed.open_sessions()) == (1 if others else 2))
    again = relayed.dial(once)  # which the limit did not use up
    provider.accept().say("Begin", id="s4")
    assert again.hear()["id"] == "s4"


def test_what_never_came_to_be_counts_for_no_limit(start: Start, provider: Provider) -> None:
    relayed = start(provider.url, max_sessions=1)
    provider.answer_next(
        b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n", b"no\r\n\r\n"
    )
    assert [relayed.dial().status for _ in range(3)] == [429, 502, 101]


@pytest.mark.parametrize(
    ("options", "claims"),
    [
        ({"idle_timeout": SECOND}, {}),
        ({"max_session": SECOND}, {"max_session_seconds": 1000}),
        ({"max_session": 1000 * SECOND}, {"max_session_seconds": 0.5}),
    ],
    ids=["idle", "the collector's is less", "the token's is less"],
)
def test_a_session_beyond_its_time_is_told_3008_after_it_was_billed(
    start: Start, double: StreamingSandbox, options: dict[str, Any], claims: dict[str, Any]
) -> None:
    relayed = start(double.url, **options)
    double.plan_next(StreamPlan(termination_delay_seconds=0.5))
    client = relayed.dial(**claims)
    said = client.rest()
    assert [said[0]["type"], said[-1]["type"]] == ["Begin", "Termination"]
    assert client.code == 3008
    assert client.reason.startswith("Session Expired: ")
    (session,), (truth,) = relayed.sessions().values(), double.truth()
    assert (session.state, session.seconds) == ("closed", truth.session_seconds)
    assert truth.messages["Terminate"] == 1


def test_without_a_termination_a_session_beyond_its_time_is_told_3008_all_the_same(
    start: Start, double: StreamingSandbox
) -> None:
    relayed = start(double.url, max_session=SECOND, termination_timeout=SECOND)
    double.plan_next(StreamPlan(ignore_terminate=True))
    client = relayed.dial()
    said = client.rest()
    assert said[-1]["type"] == "Error"
    assert said[-1]["error_code"] == client.code == 3008
    eventually(lambda: list(relayed.states().values()) == ["abandoned"])


def test_audio_and_keepalives_are_no_idleness(start: Start, double: StreamingSandbox) -> None:
    relayed = start(double.url, idle_timeout=SECOND)
    client = relayed.dial()
    client.hear()
    # Ticks are the relay's own: after six of them an idle session would be over.
    (session,) = relayed.open_sessions()
    ticks = 0
    while ticks < 6:
        client.say("KeepAlive") if ticks % 2 else client.send(BINARY, b"\0" * 3200)
        eventually(lambda: session.client.active)
        eventually(lambda: not session.client.active)
        ticks += 1
    assert session._ending is None
    client.say("Terminate")
    assert client.rest()[-1]["type"] == "Termination"
    assert client.code == 1000


@pytest.mark.parametrize("who", ["the application pings", "the provider pings"])
def test_pings_and_pongs_are_no_sign_of_use(start: Start, provider: Provider, who: str) -> None:
    relayed = start(provider.url, idle_timeout=SECOND)
    client = relayed.dial()
    upstream = provider.accept()
    upstream.say("Begin", id="s1")
    client.hear()
    (session,) = relayed.open_sessions()
    now = relayed.collector._relay.now
    last = relayed.inside(now)
    for _ in range(8):
        if session._ending is not None:
            break
        if who == "the provider pings":
            upstream.send(PING, b"?")
            assert client.frame() == Frame(PING, b"?")
        client.send(PONG if who == "the provider pings" else PING, b"?")
        upstream.frame()
        eventually(lambda: relayed.inside(now) > last + TICK_SECONDS)  # noqa: B023  # at once
        last = relayed.inside(now)
    assert session._ending is not None
    assert upstream.frame() == Frame(TEXT, TERMINATE)


# -- the end of the process ----------------------------------------------------------------------


def test_a_clean_end_tells_every_application_and_records_every_session(
    honest: Relayed, double: StreamingSandbox
) -> None:
    clients = [honest.dial(sub=f"customer {n}") for n in range(5)]
    for client in clients:
        assert client.hear()["type"] == "Begin"
    double.plan_next(StreamPlan(begin_delay_seconds=0.3))
    clients.append(honest.dial())
    stopping = threading.Thread(target=honest.stop)
    stopping.start()
    for client in clients:
        assert client.rest()[-1]["type"] == "Termination"
        assert (client.code, client.reason) == (
            1012,
            "meter is restarting; please connect again",
        )
    stopping.join()
    billed = dict(billed_rows(honest))
    assert billed == {t.session_id: str(t.session_seconds) for t in double.truth()}
    assert len(billed) == 6


def billed_rows(relayed: Relayed) -> list[tuple[str, str]]:
    """Read what was billed, from the file: the journal is closed."""
    return relayed.rows(
        "SELECT s.provider_id, json_extract(e.body, '$.seconds') || '' FROM sessions s"
        " JOIN events e USING (event_id) WHERE s.state = 'closed'"
    )


def test_a_clean_end_waits_for_nobody_for_ever(start: Start, double: StreamingSandbox) -> None:
    relayed = start(double.url)
    double.plan_next(StreamPlan(ignore_terminate=True), StreamPlan(handshake_delay_seconds=60))
    client = relayed.dial()
    assert client.hear()["type"] == "Begin"
    waiting = relayed.connect()
    waiting.raw(request("/v3/ws", headers={"Authorization": token()}))
    eventually(lambda: relayed.openings() == 1)
    stopping = threading.Thread(target=relayed.stop)
    stopping.start()
    assert client.rest()[-1]["error_code"] == client.code == 1012
    stopping.join()
    states = dict(relayed.rows("SELECT state, count(*) FROM sessions GROUP BY 1"))
    assert states == {"abandoned": 1}
    assert relayed.openings() == 1  # for the next start to settle


def test_a_session_beyond_its_time_is_billed_though_its_application_reads_nothing(
    start: Start, double: StreamingSandbox
) -> None:
    relayed = start(double.url, max_session=2 * SECOND, termination_timeout=2 * SECOND)
    double.plan_next(StreamPlan(turns_flood=8_000_000))
    relayed.dial(buffer=4096)
    (session,) = relayed.open_sessions()
    eventually(lambda: session._stalled_at is not None)
    eventually(lambda: list(relayed.states().values()) not in ([], ["open"]))
    assert list(relayed.states().values()) == ["closed"]
