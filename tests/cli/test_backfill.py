"""`meter backfill` as a real process, against AssemblyAI's double."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.desk_site import METER
from cli.journal_site import meter
from meter.clock import SystemClock
from meter.journal import open_journal
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Answer, Faults, JobPlan
from support.waiting import eventually

KEY = "a-key-that-nobody-may-see"
FILE = """
journal: m.db
collectors:
  transcripts:
    {{type: webhook, api_key: "${{AAI_KEY}}", secret: "${{HOOK_SECRET}}", path: /hook,
      base_url: "{url}"}}
  import: {{type: jsonl, path: events.jsonl}}
sinks: {{ledger: {{type: sqlite, path: usage.db}}}}
pipelines: {{usage: {{from: [transcripts, import], to: [ledger]}}}}
"""
HOOK = "https://meter.example/hook"
LATELY = f"{datetime.now(UTC) - timedelta(days=7):%Y-%m-%d}"


@pytest.fixture
def double() -> Iterator[AssemblyAISandbox]:
    with AssemblyAISandbox(latency=0, keys=[KEY]) as running:
        yield running


class Site:
    def __init__(self, folder: Path, double: AssemblyAISandbox) -> None:
        self.folder, self.double = folder, double
        self.environ = {**os.environ, "NO_PROXY": "127.0.0.1", "AAI_KEY": KEY}
        (folder / "events.jsonl").touch()
        (folder / "pipelines.yaml").write_text(FILE.format(url=double.base_url))

    def meter(
        self, *arguments: str, exits: int = 0, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [METER, *arguments],
            cwd=self.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == exits, ran.stdout + ran.stderr
        assert KEY not in ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran

    def submit(self, *customers: str | None) -> None:
        plan = JobPlan(status="completed", audio_duration=60, webhook_copies=0)
        self.double.plan_next(*[plan] * len(customers))
        with httpx.Client(trust_env=False, headers={"authorization": KEY}) as client:
            for customer in customers:
                hook = f"{HOOK}?customer_id={customer}" if customer else HOOK
                body = {"audio_url": "https://audio.example/a.mp3", "webhook_url": hook}
                client.post(f"{self.double.base_url}/v2/transcript", json=body).raise_for_status()
        eventually(lambda: all(t.status == "completed" for t in self.double.truth()))


@pytest.fixture
def site(tmp_path: Path, double: AssemblyAISandbox) -> Site:
    return Site(tmp_path, double)


def counts(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (found,) = json.loads(ran.stdout)["collectors"].values()
    return {name: count for name, count in found.items() if count}


def test_it_collects_tells_what_it_found_and_what_is_next(site: Site) -> None:
    site.submit("acme", "acme", None)
    tried = site.meter("backfill", "--from", LATELY, "--dry-run", "--json")
    assert (counts(tried)["walked"], counts(tried)["wanted"]) == (3, 3)
    assert not (site.folder / "m.db").exists(), "a dry run makes no journal"
    ran = site.meter("backfill", "--from", LATELY, exits=1)
    header, _, row, *rest = ran.stdout.splitlines()
    assert header.split("  ")[0] == "collector"
    assert row.split() == ["transcripts", "3", "0", "2", "0", "1", "0", "0", "0", "0"]
    assert rest[1:] == [
        "no `meter run` works on this journal; deliver what is new now: meter run --once",
        "what is in quarantine: meter quarantine list",
    ]
    again = site.meter("backfill", "--from", LATELY, "--json")
    assert counts(again) == {
        "complete": True,
        "reached": counts(again)["reached"],
        "walked": 3,
        "known": 3,
    }
    assert again.stderr == "", "nobody watches: no progress"
    main, terminal = os.openpty()
    command = [str(METER), "backfill", "--from", "2020-01-01"]
    subprocess.run(
        command, cwd=site.folder, env=site.environ, stderr=terminal, timeout=60, check=True
    )
    os.close(terminal)
    watched = os.read(main, 100_000).decode()
    os.close(main)
    assert "transcripts: 3 jobs" in watched, "who watches sees how far it is"
    assert "warning: AssemblyAI lists 90 days: of before 20" in watched
    site.meter("run", "--once", "--log-level", "error", HOOK_SECRET="s")
    assert "      2          2 " in site.meter("status").stdout


def test_a_refused_key_is_named_and_never_shown(site: Site) -> None:
    wrong = "another-key-that-nobody-may-see"
    ran = site.meter("backfill", "--from", LATELY, exits=2, AAI_KEY=wrong)
    assert "meter: pipelines.yaml, collectors.transcripts.api_key: AssemblyAI answered 401" in (
        ran.stderr
    )
    assert wrong not in ran.stdout + ran.stderr
    missing = site.meter("backfill", "--from", LATELY, exits=2, AAI_KEY="")
    assert "collectors.transcripts.api_key: (not set: AAI_KEY)" in missing.stderr


def test_a_list_that_cannot_be_read_exits_1_and_says_that_it_goes_on(site: Site) -> None:
    site.submit("acme")
    site.double.faults = Faults(get_server_error=1.0)
    ran = site.meter("backfill", "--from", LATELY, "--json", exits=1)
    assert not json.loads(ran.stdout)["collectors"]["transcripts"]["complete"]
    assert "the same command goes on where it stopped" in ran.stderr


def test_ctrl_c_exits_130_and_the_same_command_goes_on(site: Site) -> None:
    slow = JobPlan(
        status="completed",
        audio_duration=60,
        webhook_copies=0,
        answers=(Answer(delay_seconds=60),),
    )
    site.double.plan_next(slow)  # the oldest job is alone on the second page
    site.submit(*["acme"] * 201)
    command = ["backfill", "--from", LATELY, "--collector", "transcripts"]

    def a_page_is_done() -> bool:
        if not (site.folder / "m.db").exists():
            return False
        with closing(open_journal(str(site.folder / "m.db"), SystemClock())) as journal:
            return journal.bookmarks.get(name) is not None

    name = f"backfill:transcripts:{LATELY}T00:00:00+00:00/"
    with subprocess.Popen(
        [str(METER), *command],
        cwd=site.folder,
        env=site.environ,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        eventually(a_page_is_done, 30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "interrupted; the same command goes on where it stopped" in said
    ran = site.meter(*command, "--json")
    assert "goes on before 20" in ran.stderr
    found = counts(ran)
    assert (found["walked"], found["recorded"], found["resumed"]) == (201, 201, True)


def test_beside_a_running_meter_what_it_collects_is_delivered_by_that_one(site: Site) -> None:
    text = (site.folder / "pipelines.yaml").read_text() + "server: {port: 0}\n"
    (site.folder / "pipelines.yaml").write_text(text)
    environ = {**site.environ, "HOOK_SECRET": "s"}
    command = [str(METER), "run", "--log-level", "error"]

    def delivered() -> int:
        if not (site.folder / "usage.db").exists():
            return 0
        with closing(sqlite3.connect(site.folder / "usage.db")) as usage:
            return int(usage.execute("SELECT count(*) FROM usage").fetchone()[0])

    def walked() -> bool:
        if not (site.folder / "m.db").exists():
            return False
        with closing(open_journal(str(site.folder / "m.db"), SystemClock())) as journal:
            return journal.cursor("transcripts") is not None

    with subprocess.Popen(command, cwd=site.folder, env=environ) as running:
        try:
            eventually(walked, 30)
            site.submit("acme", "acme")
            ran = site.meter("backfill", "--from", LATELY)
            assert "the running `meter run` delivers what is new" in ran.stdout
            eventually(lambda: delivered() == 2, 30)
            for look in (["check"], ["copy", "copy.db"], ["export", "-o", "x.jsonl"], ["prune"]):
                meter(site.folder, "journal", *look)
        finally:
            running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say which time: --from DAY, or --month YYYY-MM"),
        (["--month", "2026-13"], "expected a month such as 2026-11"),
        (["--month", "2026-11", "--from", "2026-11-01"], "--month stands alone"),
        (["--from", "2026-01-02", "--to", "2026-01-02"], "expected to be later than --from"),
        (["--from", "2999-01-01"], "there are no jobs from 2999-01-01T00:00:00Z on yet"),
        (["--from", "2026-01-01", "--collector", "transcript"], "did you mean 'transcripts'"),
        (["--from", "2026-01-01", "--collector", "import"], "import is of type jsonl"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(
    tmp_path: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from meter.cli import cli
    from meter.plugins import load_plugins

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AAI_KEY", KEY)
    Path("pipelines.yaml").write_text(FILE.format(url="http://127.0.0.1:1"))
    ran = CliRunner().invoke(cli, ["backfill", *arguments], obj=load_plugins())
    assert ran.exit_code == 2
    assert words in ran.output
    assert not Path("m.db").exists(), "nothing is made"
