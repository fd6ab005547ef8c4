"""The pages on tasks: their commands run, from top to bottom, and print what the pages show."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from docs.test_docs import command_shown, options_of, shown_code
from meter.cli import cli
from meter.clock import SystemClock
from meter.config import load_config
from meter.journal import Quarantined, open_journal
from meter.plugins import load_plugins
from meter.sandbox.double import AssemblyAISandbox
from support.pages import page, printed_by, shown, steady

PAGES = (
    "bill-monthly.md",
    "find-a-missing-second.md",
    "move-to-another-machine.md",
    "restore-a-backup.md",
    "rotate-a-secret.md",
)
OLD = "the-old-secret-of-more-than-32-characters"
FILE = """
journal: meter.db
collectors:
  transcripts: {{type: webhook, api_key: key, secret: "{secret}", base_url: "{url}"}}
  import: {{type: jsonl, path: events.jsonl}}
sinks:
  ledger: {{type: sqlite, path: usage.db}}
  export: {{type: csv, path: "exports/usage-{{month}}.csv"}}
pipelines:
  usage: {{from: [transcripts, import], to: [ledger, export]}}
rates:
  currency: USD
  cost:
    async_completed: {{models: {{universal-2: 0.15}}}}
    stream_terminated: {{models: {{universal-streaming: 0.15}}}}
  price:
    async_completed: {{models: {{universal-2: "0.40"}}}}
    stream_terminated: {{models: {{universal-streaming: "0.60"}}}}
"""


def fact(provider_id: str, customer: str, at: str, seconds: float | None) -> str:
    job = provider_id.startswith("t")
    kind = "async_completed" if job else "stream_terminated"
    given = {
        "kind": kind if seconds else "async_failed",
        "provider_id": provider_id,
        "customer_id": customer,
        "occurred_at": at,
        "recorded_at": at,
        **(
            {"seconds": seconds, "model": f"universal-{2 if job else 'streaming'}"}
            if seconds
            else {}
        ),
    }
    return json.dumps(given)


def today(text: str) -> str:
    """Move October and November 2026 to the last month and this one.

    AssemblyAI's list goes back 90 days, so what was true of October is not for ever.
    """
    this = datetime.now(UTC).date().replace(day=1)
    last = this - timedelta(days=1)
    text = text.replace("2026-10-31", f"{last}").replace("2026-10", f"{last:%Y-%m}")
    return text.replace("2026-11", f"{this:%Y-%m}")


FACTS = [
    fact("t-1", "acme", "2026-10-05T10:30:00Z", 5400),
    fact("t-2", "acme", "2026-10-31T23:30:00Z", 61.5),
    fact("s-1", "globex", "2026-10-20T08:00:00Z", 3600),
    fact("t-3", "acme", "2026-10-21T09:00:00Z", None),
]
NEWER = fact("t-4", "globex", "2026-11-01T00:00:00Z", 30)
Site = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Folders with a pipelines file, a double of AssemblyAI, and some facts recorded."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, f"127.0.0.1,{os.environ.get(name, '')}")
    with AssemblyAISandbox(latency=0) as double:

        def made(name: str, *, facts: list[str] = FACTS) -> Path:
            folder = tmp_path / name
            folder.mkdir()
            text = FILE.format(url=double.base_url, secret=OLD)
            (folder / "pipelines.yaml").write_text(text)
            (folder / "events.jsonl").write_text("".join(f"{today(each)}\n" for each in facts))
            if facts:
                assert printed_by("meter run --once --log-level error", folder, {}) == ""
                (folder / "meter.db").chmod(0o600)
            return folder

        yield made


def follow(
    name: str, folders: dict[str, Path], after: dict[str, Callable[[], None]] | None = None
) -> None:
    """Run a page's commands, each where its prompt says; `after` is what happens in between."""
    environ: dict[str, str] = {}
    told = shown(page(name))
    assert told
    for each in told:
        command = re.sub(r"^scp", "cp", today(each.command))
        if "new" in folders:
            command = command.replace("new:/srv/meter", str(folders["new"]))
        printed = printed_by(command, folders[each.place], environ)
        printed = printed.replace(f"{folders[each.place]}/", "")
        expected = today("\n".join(each.printed))
        assert steady(printed) == steady(expected), (each.command, printed)
        (after or {}).pop(each.command, lambda: None)()
    assert not after, "the page has every command that something follows"


def test_a_month_is_billed(site: Site) -> None:
    folder = site("site")
    follow("bill-monthly.md", {"": folder})
    assert (folder / today("meter-2026-10.db")).exists()


def test_a_missing_second_is_found(site: Site) -> None:
    folder = site("site")
    with closing(sqlite3.connect(folder / "usage.db", isolation_level=None)) as usage:
        usage.execute("DELETE FROM usage WHERE provider_id = 't-1'")
    journal = open_journal(str(folder / "meter.db"), SystemClock())
    transcript = {"status": "completed", "audio_duration": 61}
    payload = {
        "received_at": today("2026-10-20T12:00:00Z"),
        "query": "order=9",
        "transcript": transcript,
    }
    reason = "no customer_id in the webhook URL"
    item = Quarantined(
        *("transcripts", "transcript:t-9:order=9", reason, json.dumps(payload)), provider_id="t-9"
    )
    journal.quarantine([item]).wait()
    journal.close()
    follow("find-a-missing-second.md", {"": folder})
    with closing(sqlite3.connect(folder / "usage.db")) as usage:
        assert usage.execute("SELECT count(*) FROM usage").fetchone() == (3,)


def test_meter_moves_to_another_machine(site: Site) -> None:
    old, new = site("old"), site("new", facts=[])
    follow("move-to-another-machine.md", {"old": old, "new": new})
    assert not (old / "meter.db").exists()
    rows = (new / "exports" / today("usage-2026-10.csv")).read_text().splitlines()
    assert len(rows) == len(FACTS), "a header, and each billed event once"


def test_a_backup_is_restored(site: Site) -> None:
    folder = site("site")
    (folder / "backups").mkdir()

    def later() -> None:
        with (folder / "events.jsonl").open("a") as file:
            file.write(f"{today(NEWER)}\n")
        printed_by("meter run --once --log-level error", folder, {})

    first = shown(page("restore-a-backup.md"))[0].command
    follow("restore-a-backup.md", {"": folder}, {first: later})
    written = "".join(path.read_text() for path in (folder / "exports").iterdir())
    assert [written.count(f"transcript:t-{n}") for n in (1, 2, 3, 4)] == [1, 1, 0, 1]


def test_a_secret_is_rotated(tmp_path: Path) -> None:
    text = page("rotate-a-secret.md")
    (file,) = re.findall(
        r"<!-- runs: file -->\n```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    (tmp_path / "pipelines.yaml").write_text(file)
    names = re.findall(r"\$\{(\w+)\}", file)
    environ = dict.fromkeys(names, OLD)
    held: dict[str, tuple[str, str | None]] = {}
    for step in ("both", "new"):
        (block,) = re.findall(
            rf"<!-- step: {step} -->\n(```console\n.*?^```$)", text, re.DOTALL | re.MULTILINE
        )
        for each in shown(block):
            printed = printed_by(each.command, tmp_path, environ)
            assert steady(printed) == steady("\n".join(each.printed)), (each.command, printed)
        config = load_config(tmp_path / "pipelines.yaml", load_plugins(), environ=environ)
        options = config.collectors["transcripts"].options
        before = options.previous_secret
        held[step] = (
            options.secret.get_secret_value(),
            None if before is None else before.get_secret_value(),
        )
        for name in ("live", "apps"):
            assert "previous" not in repr(
                config.collectors[name].options.model_dump(exclude_none=True)
            )
    new, previous = held["both"]
    assert (len(new), previous) == (43, OLD)
    assert held["new"] == (new, None)


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_option_of_the_pages_on_tasks_exists(name: str) -> None:
    load_plugins().add_commands(cli)
    codes = {code for code in shown_code(page(name)) if re.match(r"meter [a-z]", code)}
    assert codes
    for code in codes:
        command, words = command_shown(code)
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options_of(command), code
