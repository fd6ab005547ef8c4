"""What docs/http.md shows and says."""

from __future__ import annotations

import json
import logging
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from click.testing import CliRunner

from http_sink.conftest import Opener, batch_of
from http_sink.documented import PAGE, blocks, marked
from http_sink.double import Destination, Said
from meter.cli import cli
from meter.clock import SystemClock
from meter.config import load_config
from meter.plugins import load_plugins
from meter.sinks import Guarantee, SinkContext, SinkState
from meter_http.options import BodyOptions, HttpOptions, ResultsOptions
from meter_http.placeholders import NAMES
from meter_http.sink import HttpSink
from support.facts import completed

SECRET = "whsec_" + "a" * 32
VARIABLES = dict.fromkeys(
    (
        *("METER_INGEST_SECRET", "EVENTS_TOKEN", "OPENMETER_TOKEN"),
        *("LAGO_API_KEY", "METRONOME_TOKEN"),
    ),
    "secret",
)
EVENT = completed(
    "t-1",
    seconds=Decimal("61.5"),
    model="universal",
    collector="apps",
    dimensions={"project_id": "7"},
)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_pipelines_file_shown_is_correct(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    path.write_text(text)
    config = load_config(path, load_plugins(), environ=VARIABLES)
    assert config.warnings == ()
    assert set(config.sinks) == set(yaml.safe_load(text)["sinks"])


def test_the_batch_shown_is_what_is_sent(sink: Opener, destination: Destination) -> None:
    sink().deliver(batch_of([EVENT]))
    assert json.loads(destination.asked[0].body) == json.loads(marked("shown: batch"))


def test_the_headers_shown_are_what_is_sent(sink: Opener, destination: Destination) -> None:
    sink(mode="binary").deliver(batch_of([EVENT]))
    sent = destination.asked[0].headers
    lines = marked("shown: binary").splitlines()
    assert len(lines) == len([name for name in sent if name.startswith("ce-")])
    for line in lines:
        name, _, value = line.partition(": ")
        assert sent[name] == value


def verifier() -> Any:
    space: dict[str, Any] = {}
    exec(marked("runs: verify"), space)
    return space["verify"]


def test_the_verifier_shown_takes_what_is_signed_and_nothing_else(destination: Destination) -> None:
    options = HttpOptions.model_validate(
        {"url": destination.url, "signing_secret": ["whsec_" + "b" * 32, SECRET]}
    )
    log = logging.LoggerAdapter(logging.getLogger("test"), {})
    sink = HttpSink(options, SinkContext("out", "j", cast("SinkState", None), SystemClock(), log))
    sink.open()
    sink.deliver(batch_of([EVENT]))
    sink.close()
    (asked,) = destination.asked
    verify = verifier()
    verify(SECRET, asked.headers, asked.body)
    with pytest.raises(ValueError, match="not signed with this secret"):
        verify(SECRET, asked.headers, asked.body + b" ")
    with pytest.raises(ValueError, match="not signed with this secret"):
        verify("whsec_" + "c" * 32, asked.headers, asked.body)
    old = {**asked.headers, "webhook-timestamp": "1"}
    with pytest.raises(ValueError, match="not signed with this secret"):
        verify(SECRET, old, asked.body)


def test_the_command_that_makes_a_secret_makes_one(
    sink: Opener, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [text for text in blocks("console") if "whsec_" in text]
    (code,) = re.findall(r'-c "(.+)"', line)
    exec(code)
    sink(signing_secret=capsys.readouterr().out.strip())


def test_every_placeholder_is_on_the_page() -> None:
    for name in NAMES:
        assert f"`{{{name}}}`" in PAGE, name


def test_the_statuses_on_the_page_are_the_defaults() -> None:
    options = HttpOptions(url="https://api.example.com")
    refused = ", ".join(map(str, options.refused_statuses))
    assert f"| {refused} (`refused_statuses`) |" in PAGE
    assert options.duplicate_statuses == [409]
    assert "409 (`duplicate_statuses`)" in PAGE


def test_every_option_that_the_page_sets_exists() -> None:
    known = {
        *HttpOptions.model_fields,
        *BodyOptions.model_fields,
        *ResultsOptions.model_fields,
        *("file", "type"),
    }
    for block in blocks("yaml"):
        for entry in yaml.safe_load(block)["sinks"].values():
            assert entry.keys() <= known
    assert "event_type" in PAGE


def test_the_page_promises_what_the_class_promises() -> None:
    assert HttpSink.guarantee is Guarantee.AT_LEAST_ONCE
    assert "**At least once.**" in PAGE
    assert HttpSink.sandboxed(HttpOptions(url="https://api.example.com"), {}) is None
    assert "There is no sandbox for this sink" in PAGE


def test_meter_check_says_the_guarantee_and_tries_the_address(
    destination: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = blocks("yaml")
    path = tmp_path / "pipelines.yaml"
    path.write_text(first.replace("https://events.example.com", destination.url))
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    destination.answering = lambda _a: Said(405)
    ran = CliRunner().invoke(cli, ["check", "--connect", str(path)], obj=load_plugins())
    assert ran.exit_code == 0, ran.output
    assert "warehouse (http), from beginning: at least once" in ran.output
    assert f"{destination.url}/usage can be reached (OPTIONS: HTTP 405)" in ran.output
    assert not destination.asked
