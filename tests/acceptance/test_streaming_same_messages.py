"""The real SDK and plain clients see through the relay what they see without it.

Everything is compared message for message and in order. What no two sessions share is left out:
ids, dates, what the wall clock says, and how many Heartbeats or pings fall into a session.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from acceptance.process import API_KEY, Meter, wait_until
from acceptance.streaming import (
    THE_SDKS_OWN,
    TOKEN_SECRET,
    Loop,
    Plain,
    Voice,
    plain,
    relayed,
    token,
    ws,
)
from meter.sandbox.stream_books import StreamTruth
from meter.sandbox.stream_plans import Missing, StreamPlan
from meter.sandbox.streaming import StreamingSandbox

pytestmark = [pytest.mark.acceptance, *THE_SDKS_OWN]

ASKS = "UpdateConfiguration"
OF_CHANCE = {
    "id",
    "expires_at",
    "session_duration_seconds",
    "total_duration_ms",
    "realtime_factor",
}


@pytest.fixture(autouse=True)
def _token_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METER_TOKEN_SECRET", TOKEN_SECRET)


@pytest.fixture
def double() -> Iterator[StreamingSandbox]:
    with StreamingSandbox(keys={API_KEY}, heartbeat_seconds=0.05) as double:
        yield double


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


@pytest.fixture
def relay(meter: Meter, double: StreamingSandbox) -> Meter:
    return meter.configure(relayed(double.url)).start()


# -- the real SDK ----------------------------------------------------------------------------------

Script = Callable[[Voice, StreamingSandbox], None]


def plainly(voice: Voice, _double: StreamingSandbox) -> None:
    voice.connect(speech_model="universal-streaming-english").speak(5.3).leave()


def formatted_by_another_model(voice: Voice, _double: StreamingSandbox) -> None:
    voice.connect(speech_model="u3-rt-pro", speaker_labels=True, language_detection=True)
    voice.speak(4).leave()


def with_heartbeats(voice: Voice, _double: StreamingSandbox) -> None:
    voice.connect(session_heartbeat=True).speak(2)
    wait_until(lambda: any(m["total_audio_received_ms"] == 2000 for m in voice.of("Heartbeat")))
    voice.leave()


def with_controls(voice: Voice, _double: StreamingSandbox) -> None:
    voice.connect(format_turns=False).speak(1.6)
    voice.force_endpoint()
    voice.configure(format_turns=True, max_turn_silence=700)
    voice.speak(3)
    voice.keep_alive()
    voice.force_endpoint()
    voice.speak(0.6)
    voice.leave()


def with_heartbeats_for_a_while(voice: Voice, _double: StreamingSandbox) -> None:
    voice.connect().speak(1)
    assert not voice.of("Heartbeat")
    voice.configure(session_heartbeat=True)
    voice.await_("Heartbeat", 2)
    voice.configure(session_heartbeat=False)
    voice.speak(1).leave()


def without_heartbeats(voice: Voice, _double: StreamingSandbox) -> None:
    voice.connect(session_heartbeat=False).speak(4).leave()
    assert not voice.of("Heartbeat")


def failed(code: int) -> Script:
    def script(voice: Voice, double: StreamingSandbox) -> None:
        voice.connect().speak(3)
        wait_until(lambda: len(voice.of("Turn")) >= 3)
        double.error(double.live()[-1], code, f"because of {code}, said the provider")
        voice.await_("Error")
        voice.hang_up()

    return script


def expired(voice: Voice, double: StreamingSandbox) -> None:
    voice.connect().speak(1)
    voice.await_("Turn")
    double.expire(double.live()[-1])
    voice.await_("Error")
    voice.hang_up()


def refused(voice: Voice, double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(refuse_status=(429, '{"error":"slow down"}')))
    voice.connect()
    assert voice.await_("Error")["code"] == 429


def turned_away(voice: Voice, double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(close_at_once=(3009, "Too many concurrent sessions")))
    voice.connect()
    voice.await_("Error")
    voice.hang_up()


def with_an_error_before_its_termination(voice: Voice, double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(error_before_termination=True))
    voice.connect().speak(1).leave()


SCRIPTS = (
    plainly,
    formatted_by_another_model,
    with_heartbeats,
    with_heartbeats_for_a_while,
    without_heartbeats,
    with_controls,
    failed(3005),
    expired,
    refused,
    turned_away,
    with_an_error_before_its_termination,
)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_sdk_sees_the_same_messages_through_the_relay_as_without_it(
    relay: Meter, double: StreamingSandbox, loop: Loop, kind: str
) -> None:
    in_loop = None if kind == "sync" else loop
    for script in SCRIPTS:
        direct = Voice(double.url, loop=in_loop, api_key=API_KEY)
        through = Voice(ws(relay.url), loop=in_loop, token=token("acme", {"project_id": "p"}))
        for voice in (direct, through):
            before = len(double.truth())
            script(voice, double)
            wait_until(lambda: not double.live())
            rows = double.truth()[before:]
            assert len(rows) <= 1
        name = getattr(script, "__qualname__", "")
        assert seen(through) == seen(direct), name
        assert bool(through.of("Heartbeat")) == bool(direct.of("Heartbeat")), name
        first, second = double.truth()[-2:] if rows else (None, None)
        if first is not None and second is not None:
            assert heard_of(second) == heard_of(first), name
            own = second.messages.get(ASKS, 0) - first.messages.get(ASKS, 0)
            assert own in ((0, 1) if script is with_heartbeats_for_a_while else (0,)), name
    assert relay.stop() == 0


def seen(voice: Voice) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in message.items() if name not in OF_CHANCE}
        for message in voice.heard
        if message["type"] != "Heartbeat"
    ]


def heard_of(row: StreamTruth) -> tuple[object, ...]:
    """Return what the provider was told in a session, less what meter may ask for: Heartbeats."""
    params = {n: v for n, v in row.params.items() if n != "session_heartbeat"}
    messages = {n: v for n, v in row.messages.items() if n != ASKS}
    return row.audio_frames, row.audio_sha256, messages, params, row.ended, row.api_key


# -- a plain client --------------------------------------------------------------------------------


def _leaves(client: Plain) -> None:
    client.speak(2.4)
    client.leave()


def _listens(client: Plain) -> None:
    client.rest()


def _sends_a_short_chunk(client: Plain) -> None:
    client.socket.send(b"\0" * 20)
    client.rest()


def _sends_no_json(client: Plain) -> None:
    client.socket.send('{"type": ')
    client.rest()


def _asks_for_nonsense(client: Plain) -> None:
    client.say("Sing")
    client.rest()


def _sends_in_fragments(client: Plain) -> None:
    client.hear()
    client.socket.send([b"\x01\x02" * 800, b"\x03\x04" * 800])
    client.socket.send(['{"type":', '"Force', 'Endpoint"}'])
    client.socket.send(['{"type":"Termi', 'nate"}'])
    client.rest()


def _is_pinged(client: Plain) -> None:
    client.speak(2)
    wait_until(lambda: client.socket.pings >= 3)
    client.leave()


def _pings(client: Plain) -> None:
    client.hear()
    assert client.socket.ping().wait(30)
    client.leave()


PLAIN: dict[str, tuple[StreamPlan, Callable[[Plain], None]]] = {
    "an honest session": (StreamPlan(), _leaves),
    "fragments from the provider": (StreamPlan(fragmented=True), _leaves),
    "fragments from the client": (StreamPlan(), _sends_in_fragments),
    "pings of the provider": (StreamPlan(ping_every_seconds=0.02), _is_pinged),
    "pings of the client": (StreamPlan(), _pings),
    "Begin twice": (StreamPlan(begin_twice=True), _leaves),
    "Termination twice": (StreamPlan(termination_twice=True), _leaves),
    "no Termination": (StreamPlan(no_termination=True), _leaves),
    "a fractional duration": (StreamPlan(fractional_duration=True), _leaves),
    "a duration that is null": (
        StreamPlan(termination_fields={"session_duration_seconds": None}),
        _leaves,
    ),
    "a duration that is missing": (
        StreamPlan(termination_fields={"session_duration_seconds": Missing.MISSING}),
        _leaves,
    ),
    "an error before the Termination": (StreamPlan(error_before_termination=True), _leaves),
    "a flood of Turns": (StreamPlan(turns_flood=300_000), _leaves),
    "a short chunk": (StreamPlan(), _sends_a_short_chunk),
    "no JSON": (StreamPlan(), _sends_no_json),
    "an unknown message": (StreamPlan(), _asks_for_nonsense),
    "expiry": (StreamPlan(expire_after_seconds=0.1), _listens),
    **{
        f"error {code}": (StreamPlan(error_after=(0.1, code, text)), _listens)
        for code, text in (
            (3005, "Server error: An unexpected error occurred"),
            (3006, "Invalid Message Type"),
            (3007, "Input duration violation: 20.0 ms. Expected between 50 and 1000 ms"),
            (3008, "Session Expired: Maximum session duration exceeded"),
            (3009, "ü" * 200),
        )
    },
    **{
        f"turned away with {code}": (StreamPlan(close_at_once=(code, "No, thanks")), _listens)
        for code in (1008, 3005, 3009)
    },
}


def test_a_plain_client_gets_every_frame_and_the_same_close_code_and_reason(
    relay: Meter, double: StreamingSandbox
) -> None:
    for name, (plan, script) in PLAIN.items():
        found = []
        for host, authorization in ((double.url, API_KEY), (ws(relay.url), token("acme"))):
            double.plan_next(plan)
            with plain(host, authorization, keyterms_prompt='["a b","ü"]') as client:
                script(client)
            assert bool(client.socket.pings) == (plan.ping_every_seconds is not None), name
            found.append(client)
        direct, through = found
        assert (through.code, through.reason) == (direct.code, direct.reason), name
        assert words(through) == words(direct), name
        if plan.fragmented:
            assert through.fragments == direct.fragments
            assert min(through.fragments) > 1
        assert direct.code is not None
    assert relay.stop() == 0


def words(client: Plain) -> list[dict[str, Any]]:
    return [{n: v for n, v in m.items() if n not in OF_CHANCE} for m in client.messages]


@pytest.mark.parametrize(("status", "body"), [(401, '{"error":"no"}'), (429, "{}"), (503, "busy")])
def test_a_refused_handshake_keeps_its_status_and_its_body(
    relay: Meter, double: StreamingSandbox, status: int, body: str
) -> None:
    for host, authorization in ((double.url, API_KEY), (ws(relay.url), token("acme"))):
        double.plan_next(StreamPlan(refuse_status=(status, body)))
        with pytest.raises(InvalidStatus) as refusal, plain(host, authorization):
            pass
        response = refusal.value.response
        assert (response.status_code, response.body) == (status, body.encode())
        assert response.headers["content-type"] == "application/json"
    assert not double.truth()
