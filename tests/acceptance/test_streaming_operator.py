"""What an operator sees of the relay: its troubles in `meter status`, and never a secret."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from acceptance.process import Meter, wait_until
from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox

pytestmark = pytest.mark.acceptance

KEY = "k3y-that-assemblyai-knows"
TOKEN_SECRET = "t0ken-secret-of-the-operators-tests"


@pytest.fixture
def double() -> Iterator[StreamingSandbox]:
    with StreamingSandbox(keys=(KEY,)) as running:
        yield running


def site(meter: Meter, upstream: str, *, key: str = KEY, **options: Any) -> Meter:
    live = {"type": "streaming", "api_key": key, "token_secret": TOKEN_SECRET, **options}
    return meter.configure(
        {
            "journal": "meter.db",
            "server": {"host": "127.0.0.1", "port": 0},
            "collectors": {"live": {**live, "upstream": upstream}},
            "sinks": {"ledger": {"type": "sqlite", "path": "usage.db"}},
            "pipelines": {"usage": {"from": ["live"], "to": ["ledger"]}},
        }
    )


def token(meter: Meter) -> str:
    return meter.command("token", "--customer", "acme", "--ttl", "1h").stdout.strip()


def dialled(meter: Meter, given: str, *, in_query: bool = False) -> Any:
    url = f"{meter.url.replace('http', 'ws', 1)}/v3/ws?sample_rate=16000"
    if in_query:
        return connect(f"{url}&token={given}", compression=None, proxy=None)
    return connect(url, additional_headers={"Authorization": given}, compression=None, proxy=None)


def session(meter: Meter, given: str, *, in_query: bool = False) -> list[Any]:
    """Stream a moment, terminate, and return every message."""
    with dialled(meter, given, in_query=in_query) as websocket:
        heard = [json.loads(websocket.recv())]
        websocket.send(bytes(3200))
        websocket.send('{"type": "Terminate"}')
        return heard + [json.loads(message) for message in websocket]


def troubles(meter: Meter) -> dict[str, str]:
    return dict(meter.status()[1]["collectors"])


def test_a_refused_key_stands_in_status_until_a_session_begins(
    meter: Meter, double: StreamingSandbox
) -> None:
    site(meter, double.url, key="revoked").start()
    with dialled(meter, token(meter)) as websocket:
        assert json.loads(websocket.recv())["type"] == "Error"
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    wait_until(lambda: troubles(meter))
    assert "check api_key, and that upstream is its region" in troubles(meter)["live"]
    assert meter.logs("session.refused")[0]["customer_id"] == "acme"
    meter.stop()
    site(meter, double.url).start()
    assert session(meter, token(meter))[-1]["type"] == "Termination"
    wait_until(lambda: not troubles(meter))


def test_an_upstream_out_of_reach_stands_in_status(meter: Meter) -> None:
    site(meter, "ws://127.0.0.1:9").start()
    with pytest.raises(InvalidStatus) as refused:
        dialled(meter, token(meter))
    assert refused.value.response.status_code == 502
    wait_until(lambda: troubles(meter))
    assert "ws://127.0.0.1:9 could not be reached" in troubles(meter)["live"]


def test_no_log_level_shows_a_key_a_token_or_a_word(meter: Meter, double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(), StreamPlan())
    site(meter, double.url).spawn("--log-level", "debug").wait_ready()
    tokens = [token(meter), token(meter)]
    heard = session(meter, tokens[0]) + session(meter, tokens[1], in_query=True)
    assert httpx.get(f"{meter.url}/v3/ws?token={tokens[0]}", trust_env=False).status_code == 426
    meter.stop()
    shown = meter.log.read_bytes()
    for path in meter.folder.rglob("*"):
        if path.is_file() and path != meter.file:
            shown += path.read_bytes()
    for secret in (KEY, TOKEN_SECRET, *tokens, *(part.split(".")[2] for part in tokens)):
        assert secret.encode() not in shown
    words = {word["text"] for message in heard for word in message.get("words", ())}
    assert not [word for word in words if len(word) > 6 and word.encode() in shown]


def test_an_unseen_session_keeps_its_own_time(meter: Meter, double: StreamingSandbox) -> None:
    double.plan_next(StreamPlan(begin=False))
    site(meter, double.url).start()
    with dialled(meter, token(meter)):
        wait_until(double.live)
        meter.kill()
    meter.start()
    wait_until(lambda: quarantined(meter.folder))
    ((reason, payload),) = quarantined(meter.folder)
    said = json.loads(payload)
    assert said["customer_id"] == "acme"
    assert said["asked_at"] in reason
    (truth,) = double.truth()
    assert abs(float(said["asked_at"][17:26]) - truth.started_at.second) < 60


def test_two_relays_on_one_path_are_told_by_check_with_their_place(meter: Meter) -> None:
    site(meter, "wss://streaming.assemblyai.com")
    text = meter.file.read_text()
    relay = text[text.index("  live:") : text.index("sinks:")]
    meter.file.write_text(text.replace("sinks:", relay.replace("live:", "more:") + "sinks:"))
    checked = meter.command("check")
    assert checked.returncode == 2
    assert "collectors.more" in checked.stderr
    assert "/v3/ws is where the collector 'live' listens; expected another path" in checked.stderr


def test_looking_needs_no_secret_and_a_token_only_its_own(meter: Meter) -> None:
    site(meter, "wss://streaming.assemblyai.com", key="${NO_SUCH_KEY}")
    text = meter.file.read_text().replace(TOKEN_SECRET, "${NO_SUCH_SECRET}")
    meter.file.write_text(text)
    assert meter.command("status").returncode == 4, "there is no journal yet"
    refused = meter.command("token", "--customer", "acme")
    assert refused.returncode == 2
    assert "token_secret: (not set: NO_SUCH_SECRET)" in refused.stderr
    meter.file.write_text(text.replace("${NO_SUCH_SECRET}", TOKEN_SECRET))
    assert token(meter).count(".") == 2
    assert meter.command("check").returncode == 2


def quarantined(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{folder / 'meter.db'}?mode=ro", uri=True)) as journal:
        return journal.execute("SELECT reason, payload FROM quarantine").fetchall()
