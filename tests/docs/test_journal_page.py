"""docs/journal.md, from top to bottom: its commands run, and show what the page shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from meter.clock import SystemClock
from meter.config import load_config
from meter.events import encode_event
from meter.journal import Quarantined, open_journal
from meter.plugins import load_plugins
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import JobPlan
from support.facts import completed
from support.waiting import eventually

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "journal.md").read_text()
METER = Path(sys.executable).with_name("meter")
FILE = """
collectors:
  import: {{type: jsonl, path: events.jsonl}}
  transcripts: {{type: webhook, api_key: key, secret: secret, base_url: "{url}"}}
sinks: {{ledger: {{type: sqlite, path: usage.db}}}}
pipelines: {{usage: {{from: [import, transcripts], to: [ledger]}}}}
"""
HOOK = "https://meter.example/webhooks/assemblyai?customer_id=acme"


def commands() -> list[tuple[str, str]]:
    """Return every command of the page, with the output that it shows."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown))
    return found


def steady(text: str, folder: Path) -> str:
    """Return an output without what depends on the version of SQLite, the folder and the date."""
    text = text.replace(f"{folder}/", "")
    text = re.sub(r"^warning: AssemblyAI lists 90 days: .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\d+ (pages|bytes)", r"N \1", text)


def fill(folder: Path, double: AssemblyAISandbox) -> None:
    """Make a journal of four events, and two jobs that it lacks."""
    (folder / "pipelines.yaml").write_text(FILE.format(url=double.base_url))
    events = [completed("t-1", collector="import")]
    events += [completed(f"t-{n}", customer_id="globex", collector="import") for n in (2, 3, 4)]
    (folder / "events.jsonl").write_bytes(b"\n".join(encode_event(event) for event in events))
    with closing(open_journal(str(folder / "meter.db"), SystemClock())) as journal:
        journal.append(events).wait()
        item = Quarantined("transcripts", "receipt:1", "a webhook of unknown shape", "{}")
        journal.quarantine([item]).wait()
        journal.register_sink("ledger", "sqlite", skip_existing=False, not_before=None).wait()
    (folder / "meter.db").chmod(0o600)
    for _ in range(2):
        double.plan_next(JobPlan(status="completed", audio_duration=30, webhook_copies=0))
        httpx.post(
            f"{double.base_url}/v2/transcript",
            json={"audio_url": "https://a.example/a.mp3", "webhook_url": HOOK},
            headers={"authorization": "key"},
            trust_env=False,
        ).raise_for_status()
    eventually(lambda: all(job.status == "completed" for job in double.truth()))


def test_the_page_on_the_journal_shows_what_its_commands_print(tmp_path: Path) -> None:
    environ = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    with AssemblyAISandbox(latency=0) as double:
        fill(tmp_path, double)
        for command, shown in commands():
            ran = subprocess.run(
                [METER, *shlex.split(command)[1:]],
                cwd=tmp_path,
                env=environ,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            assert steady(ran.stdout, tmp_path) == steady(shown, tmp_path), (command, ran.stdout)
    lines = (tmp_path / "everything.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["whole"]
    assert (tmp_path / "backup.db").exists()
    assert len(commands()) == 8


def test_the_file_that_imports_is_correct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    path = tmp_path / "pipelines.yaml"
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    secrets = {"ASSEMBLYAI_API_KEY": "key", "METER_WEBHOOK_SECRET": "secret"}
    assert load_config(path, load_plugins(), environ=secrets).warnings == ()
