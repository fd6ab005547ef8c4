"""docs/troubles.md, from top to bottom: every trouble in one journal is found and cleared."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.desk_site import KEY, METER, install
from meter.clock import SystemClock
from meter.events import encode_event
from meter.journal import Journal, Quarantined, open_journal
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import JobPlan
from support.facts import completed

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "troubles.md").read_text()
T = "assemblyai:transcript:"
FILE = """
journal: meter.db
collectors:
  import: {{type: jsonl, path: events.jsonl}}
  transcripts: {{type: webhook, api_key: key, secret: secret, base_url: "{url}"}}
sinks:
  ledger: {{type: sqlite, path: usage.db}}
  billing: {{type: desk, says: says.json, key: "${{DESK_KEY}}"}}
pipelines:
  usage: {{from: [import, transcripts], to: [ledger, billing]}}
"""
EVENTS = [
    completed(f"t-{n}", customer_id=customer, collector="import")
    for n, customer in enumerate(["acme", "acme", "globex", "acme"], 1)
]
CONFLICT = completed("t-1", customer_id="globex", collector="import")


def commands() -> list[tuple[str, list[str]]]:
    """Return every command of the page, with the output that it shows."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


_DIFFERS = {
    r"\d{4}-\d\d-\d\dT[\d:.]+Z": "TIME",
    r"[0-9a-f]{8}-[0-9a-f-]{27}": "ID",
    r"[\w.-]+@[\w.-]+": "WHO",
    r"\d+ (s|min|h|d) (ago|old)": "AGE",
    r"─+": "─",
    r" +": " ",
    r"^\{.*\n": "",  # a line of the log
}
"""What differs each time, and the widths that follow from it."""


def steady(text: str) -> str:
    """Return an output without what differs each time."""
    for pattern, word in _DIFFERS.items():
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return re.sub(" $", "", text, flags=re.MULTILINE)


def put(journal: Journal, key: str, payload: Any, reason: str, **facts: Any) -> None:
    collector = facts.pop("collector", "transcripts")
    item = Quarantined(collector, key, reason, json.dumps(payload), **facts)
    journal.quarantine([item]).wait()


def trouble(folder: Path, double: AssemblyAISandbox, environ: dict[str, str]) -> None:
    """Make a journal with every kind of trouble in it."""
    (folder / "pipelines.yaml").write_text(FILE.format(url=double.base_url))
    lines = [*EVENTS, CONFLICT]
    (folder / "events.jsonl").write_bytes(b"\n".join(encode_event(e) for e in lines))
    refused = "rejected: no meter transcription_seconds"
    said = {f"{T}t-2": refused, f"{T}t-3": "held: no customer for 'globex'", f"{T}t-4": refused}
    (folder / "says.json").write_text(json.dumps({"events": said}))
    run = [str(METER), "run", "--once", "--log-level", "error"]
    ran = subprocess.run(run, cwd=folder, env=environ, check=False, capture_output=True)
    assert ran.returncode == 1, ran.stderr
    double.plan_next(JobPlan(status="completed", audio_duration=30, webhook_copies=0))
    made = httpx.post(
        f"{double.base_url}/v2/transcript",
        json={"audio_url": "https://a.example/a.mp3"},
        headers={"authorization": "key"},
        trust_env=False,
    )
    lost = made.raise_for_status().json()["id"]
    journal = open_journal(str(folder / "meter.db"), SystemClock())
    at = {"received_at": "2026-11-22T12:00:00Z"}
    facts = {"status": "completed", "audio_duration": 61}
    nobody = {**at, "query": "order=9", "transcript": facts}
    put(
        *(journal, "transcript:t-90:order=9", nobody, "no customer_id in the webhook URL"),
        provider_id="t-90",
    )
    put(
        *(journal, "transcript:t-91:", {**at, "query": "customer_id=acme", "transcript_id": lost}),
        "AssemblyAI answered 404, after 16 attempts",
        provider_id=lost,
        fetched=False,
    )
    line = {"line": 9, "text": '{"kind": "async_completed"'}
    put(journal, "line:9", line, "line 9: not JSON: it ends too early", collector="import")
    journal.close()
    with closing(sqlite3.connect(folder / "usage.db", isolation_level=None)) as usage:
        usage.execute("DELETE FROM usage WHERE customer_id = 'acme'")


@pytest.mark.timeout(180)
def test_somebody_with_this_page_finds_and_clears_every_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = install(tmp_path / "plugins")
    folder = tmp_path / "site"
    folder.mkdir()
    path = os.pathsep.join([str(site), str(Path(__file__).resolve().parents[1] / "cli")])
    environ = {**os.environ, "PYTHONPATH": path, "DESK_KEY": KEY, "no_proxy": "127.0.0.1"}
    with AssemblyAISandbox(latency=0) as double:
        trouble(folder, double, environ)
        for command, shown in commands():
            if "--retry" in command:  # what the page says to put right, is
                (folder / "says.json").write_text("{}")
            ran = subprocess.run(
                [METER, *shlex.split(command)[1:]],
                cwd=folder,
                env=environ,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            expected = "".join(f"{line}\n" for line in shown)
            assert steady(ran.stdout) == steady(expected), (command, ran.stdout)
    with closing(sqlite3.connect(folder / "usage.db")) as usage:
        rows = usage.execute(
            "SELECT customer_id, count(*), sum(microseconds) FROM usage GROUP BY 1"
        )
        assert {name: (n, micros // 10**6) for name, n, micros in rows} == {
            "acme": (5, 60 * 3 + 61 + 30),
            "globex": (1, 60),
        }
    journal = open_journal(str(folder / "meter.db"), SystemClock())
    totals = journal.totals()
    journal.close()
    assert totals.quarantined == {}
    for balance in totals.balances:
        assert balance.balances
        undone = balance.dead_lettered - balance.discarded
        assert (undone, balance.held, balance.retrying, balance.pending) == (0, 0, 0, 0)
