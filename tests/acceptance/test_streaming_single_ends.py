"""Ends of sessions that need no chance: each with its one outcome."""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.exceptions import InvalidStatus

from acceptance.books import rows
from acceptance.process import API_KEY, Meter, wait_until
from acceptance.streaming import THE_SDKS_OWN, TOKEN_SECRET, Loop, Voice, plain, relayed, token, ws
from acceptance.streaming_books import (
    ABANDONED,
    BILLED,
    UNSEEN,
    events,
    found_in,
    in_journal,
    in_sinks,
)
from acceptance.streaming_harm import Cable
from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox

pytestmark = [pytest.mark.acceptance, *THE_SDKS_OWN]

TIME_SCALE = 60


@pytest.fixture(autouse=True)
def _token_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METER_TOKEN_SECRET", TOKEN_SECRET)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


def test_sigterm_ends_sessions_upstream_records_them_and_tells_every_client(
    meter: Meter, loop: Loop
) -> None:
    with (
        StreamingSandbox(keys={API_KEY}, heartbeat_seconds=0.1, time_scale=TIME_SCALE) as double,
        contextlib.ExitStack() as clients,
    ):
        meter.configure(relayed(double.url, termination_timeout="1s")).start()
        double.plan_next(StreamPlan(ignore_terminate=True))
        deaf, *others = [
            clients.enter_context(plain(ws(meter.url), token("globex"))) for _ in range(3)
        ]
        voices = [
            Voice(ws(meter.url), loop=in_loop, token=token("acme")).connect().speak(1)
            for in_loop in (None, loop, None, loop)
        ]
        for client in (deaf, *others):
            assert client.hear()["type"] == "Begin"
        assert meter.stop(seconds=20) == 0
        for voice in voices:
            assert voice.await_("Termination")["audio_duration_seconds"] == 1
            voice.hang_up()
        for client in (deaf, *others):
            client.rest()
            assert client.code == 1012
            assert "restarting" in str(client.reason)
        assert [client.messages[-1]["type"] for client in others] == ["Termination"] * 2
        assert [m["type"] for m in deaf.messages] == ["Begin", "Error"]
        wait_until(lambda: not double.live())
        abandoned, *terminated = double.truth()

    assert {row.ended for row in terminated} == {"terminated"}
    bills = {event["provider_id"]: event["seconds"] for event in events(meter.folder, BILLED)}
    assert bills == {row.session_id: row.session_seconds for row in terminated}
    (bound,) = events(meter.folder, ABANDONED)
    assert bound["provider_id"] == abandoned.session_id
    assert 0 < bound["lower_seconds"] <= abandoned.session_seconds <= bound["upper_seconds"]
    assert meter.status()[0] == 0


def test_a_session_whose_begin_a_kill_kept_from_meter_is_counted_and_not_billed(
    meter: Meter,
) -> None:
    with StreamingSandbox(keys={API_KEY}) as double:
        meter.configure(relayed(double.url)).start()
        double.plan_next(StreamPlan(begin_delay_seconds=30))
        with plain(ws(meter.url), token("acme", {"project_id": "p"})) as client:
            wait_until(double.live)
            meter.kill()
            assert client.rest().messages == []
        wait_until(lambda: not double.live())
        assert meter.start().stop() == 0
    ((reason, payload),) = rows(
        meter.folder / "meter.db", "SELECT reason, payload FROM quarantine WHERE state = 'open'"
    )
    assert reason.startswith(UNSEEN)
    said = json.loads(payload)
    assert said.pop("asked_at") in reason
    assert said == {"customer_id": "acme", "dimensions": {"project_id": "p"}}
    assert not found_in(meter.folder).states
    assert in_sinks(meter.folder) == ([], [])
    assert meter.status()[1]["events"] == {}


def test_a_session_whose_handshake_the_network_swallowed_is_counted_and_not_billed(
    meter: Meter, loop: Loop
) -> None:
    with StreamingSandbox(keys={API_KEY}) as double:
        cable = Cable(loop, double.url, swallowing=True)
        meter.configure(relayed(cable.host)).start()
        with ThreadPoolExecutor(1) as pool:
            refused = pool.submit(status_of_a_handshake, ws(meter.url), token("acme"))
            wait_until(lambda: double.live() and cable.answered.is_set())
            cable.reset()
            assert refused.result() == 502
        wait_until(lambda: not double.live())
        assert meter.stop() == 0
        assert [row.ended for row in double.truth()] == ["client_gone"]
    assert found_in(meter.folder).unseen == {"acme": 1}
    assert in_journal(meter.folder) == []


def test_a_session_that_lasts_its_full_length_is_within_its_bounds_though_its_begin_was_late(
    meter: Meter,
) -> None:
    with StreamingSandbox(keys={API_KEY}, max_session_seconds=4) as double:
        meter.configure(relayed(double.url)).start()
        double.plan_next(StreamPlan(begin_delay_seconds=3))
        with plain(ws(meter.url), token("acme")) as client:
            assert client.rest().code == 3008
        wait_until(lambda: events(meter.folder, ABANDONED))
        assert meter.stop() == 0
        (row,) = double.truth()
    (bound,) = events(meter.folder, ABANDONED)
    assert bound["lower_seconds"] <= row.session_seconds <= bound["upper_seconds"]


def test_a_session_whose_provider_fell_silent_is_bounded_and_its_client_is_told(
    meter: Meter, loop: Loop
) -> None:
    with StreamingSandbox(keys={API_KEY}, heartbeat_seconds=0.1, time_scale=TIME_SCALE) as double:
        cable = Cable(loop, double.url)
        file = relayed(cable.host, termination_timeout="1s", idle_timeout="1s")
        meter.configure(file).start()
        with plain(ws(meter.url), token("acme")) as client:
            client.speak(2)
            cable.fall_silent()
            client.rest()
        assert (client.code, client.messages[-1]["error_code"]) == (3008, 3008)
        cable.close()
        wait_until(lambda: not double.live())
        assert meter.stop() == 0
        (row,) = double.truth()
    (bound,) = events(meter.folder, ABANDONED)
    assert bound["provider_id"] == row.session_id
    assert 0 < bound["lower_seconds"] <= row.session_seconds <= bound["upper_seconds"]
    assert in_sinks(meter.folder) == ([], [])


def status_of_a_handshake(host: str, given: str) -> int:
    try:
        with plain(host, given):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code
