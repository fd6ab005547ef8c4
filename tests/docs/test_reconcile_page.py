"""Every example of docs/reconcile.md is run, and shows what the page shows."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from click.testing import CliRunner

from meter.cli import cli
from meter.plugins import load_plugins
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import JobPlan
from support.waiting import eventually

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reconcile.md").read_text()
METER = Path(sys.executable).with_name("meter")
SHOWN_DAY, NEXT_DAY = "2026-11-20", "2026-11-21"
DAY = datetime.now(UTC).date() - timedelta(days=3)
"""AssemblyAI lists 90 days: the page's day is one of these, whenever this runs."""


def today(text: str) -> str:
    return text.replace(SHOWN_DAY, str(DAY)).replace(NEXT_DAY, str(DAY + timedelta(days=1)))


def marked(verb: str, name: str) -> str:
    (found,) = re.findall(
        rf"<!-- {verb}: {name} -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    )
    return today(str(found))


def meter(line: str) -> str:
    ran = CliRunner().invoke(cli, shlex.split(line)[1:], obj=load_plugins())
    return ran.output


def shows(name: str) -> None:
    line, _, printed = marked("shows", name).partition("\n")
    assert meter(line.removeprefix("$ ")) == printed


def submit(double: AssemblyAISandbox, name: str, customer: str, seconds: int) -> None:
    double.plan_next(JobPlan(status="completed", audio_duration=seconds, webhook_copies=0))
    httpx.post(
        f"{double.base_url}/v2/transcript",
        json={
            "audio_url": f"https://a.example/{name}.mp3",
            "webhook_url": f"https://m.example/webhooks/assemblyai?customer_id={customer}",
        },
        headers={"authorization": "key"},
        trust_env=False,
    ).raise_for_status()
    eventually(lambda: all(truth.status == "completed" for truth in double.truth()))


def session(name: str, customer: str, seconds: float, hour: int) -> str:
    at = datetime.combine(DAY, time(hour), UTC).isoformat()
    about = {"kind": "stream_terminated", "provider_id": name, "customer_id": customer}
    return json.dumps({**about, "seconds": seconds, "occurred_at": at}) + "\n"


def test_the_page_on_reconciling_shows_what_its_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = datetime.combine(DAY, time(12), UTC)
    with AssemblyAISandbox(latency=0, now=lambda: noon) as double, contextlib.chdir(tmp_path):
        monkeypatch.setenv("ASSEMBLYAI_API_KEY", "key")
        monkeypatch.setenv("METER_WEBHOOK_SECRET", "secret")
        monkeypatch.setenv("ASSEMBLYAI_URL", double.base_url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        Path("pipelines.yaml").write_text(marked("runs", "file"))
        lines = [session("s-1", "acme", 61.5, 10), session("s-2", "globex", 30.25, 11)]
        Path("sessions.jsonl").write_text("".join(lines))
        submit(double, "one", "acme", 60)
        submit(double, "two", "globex", 120)
        run = [str(METER), "run", "--once", "--log-level", "error"]
        subprocess.run(run, check=True, timeout=60)
        submit(double, "lost", "acme", 90)
        with closing(sqlite3.connect("usage.db", isolation_level=None)) as usage:
            usage.execute("DELETE FROM usage WHERE event_id LIKE '%:s-1'")
        shows("differences")
        for line in marked("runs", "ways").splitlines():
            subprocess.run([METER, *shlex.split(line)[1:]], check=True, timeout=60)
        shows("clean")
        Path("usage.json").write_text(marked("runs", "usage"))
        Path("mapping.yaml").write_text(marked("runs", "mapping"))
        shows("unmapped")
        shows("mapped")


def test_the_event_that_the_page_shows_is_one() -> None:
    (line,) = re.findall(r'^\{"kind": "stream_terminated".*\}$', PAGE, re.MULTILINE)
    assert json.loads(line)["provider_id"] == "s-9"
