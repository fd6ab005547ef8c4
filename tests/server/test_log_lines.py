"""Log lines of real runs: who and what each is about, and what never stands in one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from acceptance.packages import unpacked
from acceptance.process import SECRET, Meter, pipelines, wait_until
from meter.cli import logs
from server.conftest import INGEST, STREAMING, fact, post_events

OWN = {"at", "level", "event", "logger"}


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    meter = Meter(tmp_path / "site", packages=unpacked(tmp_path / "packages"))
    yield meter
    meter.kill()


def test_every_line_says_whom_it_is_about(meter: Meter) -> None:
    (meter.folder / "mood").write_text("refuses job-2")
    odd = {"type": "stranger", "path": "out", "mood": "mood"}
    config = pipelines("http://127.0.0.1:9", sinks={"odd": odd})
    config["collectors"] |= {"apps": {"type": "ingest", "secret": INGEST}, "live": STREAMING}
    config["pipelines"] = {
        "none": {"from": ["live"], "to": ["export"], "kinds": ["stream_abandoned"]},
        "all": {"from": ["apps", "transcripts"], "to": ["ledger", "odd"]},
        "some": {"from": ["apps"], "to": ["odd", "export"]},
    }
    meter.configure(config).start()
    post_events(meter, fact(1), fact(2))
    post_events(meter, fact(1, customer_id="another"))
    post_events(meter, secret="wrong")
    wait_until(lambda: meter.logs("event.dead_lettered") and meter.logs("event.conflict"))
    wait_until(lambda: meter.logs("backfill.failed"))
    (meter.folder / "mood").write_text("fatal")
    post_events(meter, fact(3))
    wait_until(lambda: meter.logs("sink.parked"))
    meter.stop()
    lines = meter.logs()
    assert all(line.keys() >= OWN for line in lines)

    feeds = {"ledger": ["all"], "odd": ["all", "some"], "export": ["none", "some"]}
    fed = {"transcripts": ["all"], "apps": ["all", "some"]}
    about_sinks = [line for line in lines if "sink" in line]
    about_collectors = [line for line in lines if "collector" in line]
    assert {line["sink"] for line in about_sinks} == feeds.keys()
    assert {line["collector"] for line in about_collectors} == {"transcripts", "apps"}
    assert all(line["pipelines"] == feeds[line["sink"]] for line in about_sinks)
    assert all(line["pipelines"] == fed[line["collector"]] for line in about_collectors)

    (dead,) = meter.logs("event.dead_lettered")
    assert (dead["event_id"], dead["sink"]) == ("assemblyai:transcript:job-2", "odd")
    (conflict,) = meter.logs("event.conflict")
    assert conflict["event_id"] == "assemblyai:transcript:job-1"
    (refused,) = [line for line in meter.logs("http.refused") if line["path"] == "/v1/events"]
    assert refused["collector"] == "apps"
    for line in lines:
        named = line["logger"].startswith(("meter.delivery", "meter.sinks"))
        assert not named or "sink" in line, line


def test_no_line_has_a_secret_a_query_or_an_address_of_audio(meter: Meter) -> None:
    config = pipelines("http://127.0.0.1:9", server={"admin_secret": "adm1n-s3cret"})
    config["collectors"] |= {"apps": {"type": "ingest", "secret": INGEST}, "live": STREAMING}
    config["pipelines"]["usage"]["from"] = list(config["collectors"])
    meter.configure(config).spawn("--log-level", "debug").wait_ready()
    audio = "https://bucket.example/hidden-recording.mp3?signature=hidden-signature"
    meter.post("customer_id=hidden-customer", {"audio_url": audio, "text": "hidden-words"})
    meter.post("customer_id=hidden-customer", {"transcript_id": "t1", "status": "completed"})
    meter.post("customer_id=hidden-customer", audio, secret="hidden-guess")
    post_events(meter, fact(1, customer_id="a"), secret="hidden-guess")
    post_events(meter, fact(1, audio_url=audio))
    httpx.get(f"{meter.url}/v3/ws?token=hidden-token", trust_env=False)
    httpx.get(f"{meter.url}/nowhere?token=hidden-token", trust_env=False)
    meter.get("/metrics?token=hidden-token")
    wait_until(lambda: meter.logs("receipt.retry") and meter.logs("receipt.quarantined"))
    meter.stop()
    text = meter.log.read_text()
    assert meter.logs("http.refused")
    for hidden in ("hidden", SECRET, INGEST, "adm1n-s3cret", STREAMING["token_secret"]):
        assert hidden not in text


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """What `set_up` writes; the loggers are put back as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield capsys
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_address_in_a_text_loses_its_query_and_its_password(
    lines: pytest.CaptureFixture[str],
) -> None:
    texts = {
        "https://h/a.mp3?X-Sig=abc&y=1,2 and so on": "https://h/a.mp3?… and so on",
        "at 'wss://h/v3/ws?token=abc'": "at 'wss://h/v3/ws?…'",
        "http://user:pass@h/x": "http://…@h/x",
        "is it there? a=b": "is it there? a=b",
        "another project, key or region?": "another project, key or region?",
        "user@example.com": "user@example.com",
    }
    logs.set_up("json", "info")
    for text in texts:
        logging.getLogger("x").info("said", extra={"error": text, "all": {"of": [text]}})
    told = [json.loads(line) for line in lines.readouterr().err.splitlines()]
    assert [line["error"] for line in told] == list(texts.values())
    assert [line["all"]["of"] for line in told] == [[text] for text in texts.values()]


def test_a_traceback_loses_them_too(lines: pytest.CaptureFixture[str]) -> None:
    for style in ("json", "text"):
        logs.set_up(style, "info")
        try:
            raise ValueError("https://h/?api_key=abc\x1b[2J")
        except ValueError:
            logging.getLogger("x").exception("failed")
        told = lines.readouterr().err
        assert "https://h/?…" in told
        assert "abc" not in told
        assert "\x1b" not in told


def test_a_field_that_is_called_like_one_of_ours_does_not_take_its_place(
    lines: pytest.CaptureFixture[str],
) -> None:
    logs.set_up("json", "info")
    logging.getLogger("x").info("stripe.reported", extra={"event": "evt_1", "at": "noon"})
    line = json.loads(lines.readouterr().err)
    assert (line["event"], line["event_"], line["at_"]) == ("stripe.reported", "evt_1", "noon")
    assert line["at"].endswith("+00:00")


def test_text_for_a_terminal_cannot_move_its_cursor(lines: pytest.CaptureFixture[str]) -> None:
    logs.set_up("text", "info")
    extra = {"customer_id": "a\x1b[2J\nb", "pipelines": ["usage", "billing"]}
    logging.getLogger("x").info("session.ending", extra=extra)
    (line,) = lines.readouterr().err.splitlines()
    assert line.endswith(r"session.ending         customer_id=a\x1b[2J\nb pipelines=usage,billing")
