"""The command line, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

from meter.clock import SystemClock
from meter.events import encode_event
from meter.journal import Settlement, open_journal
from support.facts import completed, failed

METER = Path(sys.executable).with_name("meter")
PIPELINES = Path(__file__).resolve().parents[2] / "pipelines.yaml"
SECRETS = {
    "ASSEMBLYAI_API_KEY": "aai-key-value",
    "METER_WEBHOOK_SECRET": "hook-value",
    "METER_TOKEN_SECRET": "token-value-of-more-than-32-characters",
    "METER_INGEST_SECRET": "ingest-value",
    "METER_ADMIN_SECRET": "admin-value",
    "STRIPE_API_KEY": "sk_test_stripe-value",
}

HEAVY = ("stripe", "assemblyai", "httpx", "sqlite_utils", "uvicorn", "starlette", "rich")

IMPORT_FILE = """
journal: m.db
collectors: {import: {type: jsonl, path: events.jsonl}}
sinks: {ledger: {type: sqlite, path: usage.db}}
pipelines: {usage: {from: import, to: ledger}}
"""


def meter(
    *arguments: str, cwd: Path, environ: dict[str, str] | None = None, python: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, str(METER), *arguments],
        cwd=cwd,
        env={**os.environ, **(SECRETS if environ is None else environ)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipelines.yaml").write_text(IMPORT_FILE)
    (tmp_path / "events.jsonl").write_bytes(
        b"\n".join([encode_event(completed(1)), encode_event(failed(2)), b"{"])
    )
    return tmp_path


@pytest.mark.parametrize("arguments", [("--help",), ("check", str(PIPELINES))])
def test_looking_imports_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ran = meter(*arguments, cwd=tmp_path, python=("-X", "importtime"))
    assert ran.returncode == 0, ran.stderr
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "click" in imported
    assert not imported & set(HEAVY)


def test_check_says_what_a_correct_file_will_do(tmp_path: Path) -> None:
    ran = meter("check", str(PIPELINES), cwd=tmp_path)
    assert ran.returncode == 0
    assert "ledger (sqlite), from beginning: atomic with checkpoint" in ran.stdout
    assert "export (csv), from beginning: repairs on open" in ran.stdout
    assert "billing (stripe), from now: idempotent within a window" in ran.stdout
    assert (
        "usage: transcripts, live, apps → ledger, export, billing"
        " (async_completed, stream_terminated)"
    ) in ran.stdout
    assert list(tmp_path.iterdir()) == []


def test_check_says_everything_that_is_wrong_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "pipelines.yaml").write_text(
        """
jurnal: m.db
server: {port: seventy}
collectors:
  hooks: {type: webhok, api_key: x, secret: y}
  more: {type: webhook, api_key: "${NO_SUCH_KEY}", secrt: y}
sinks:
  ledger: {type: sqlite, pth: usage.db}
  export: {type: csv, path: "x-{moth}.csv"}
  export: {type: csv, path: y.csv}
pipelines:
  usage: {from: [hook], to: [ledgr], kinds: [async_complete], wher: {}}
"""
    )
    ran = meter("check", cwd=tmp_path)
    assert ran.returncode == 2
    message = ran.stderr
    for place, words in [
        ("2:1", "did you mean 'journal'"),
        ("3:16", "a whole number"),
        ("5:17", "did you mean 'webhook'"),
        ("6:34", "NO_SUCH_KEY"),
        ("6:52", "did you mean 'secret'"),
        ("8:26", "did you mean 'path'"),
        ("9:29", "{month}"),
        ("10:3", "second time"),
        ("12:18", "did you mean 'hooks'"),
        ("12:30", "did you mean 'ledger'"),
        ("12:46", "did you mean 'async_completed'"),
        ("12:63", "did you mean 'where'"),
    ]:
        assert any(
            line.removeprefix("meter: ").startswith(f"pipelines.yaml:{place}: ") and words in line
            for line in message.splitlines()
        ), (place, words, message)


def test_check_names_a_missing_file_and_what_to_do(tmp_path: Path) -> None:
    ran = meter("check", cwd=tmp_path)
    assert ran.returncode == 2
    assert "not found; run in the folder of your pipelines.yaml" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_schema_is_json_schema_for_editors(tmp_path: Path) -> None:
    ran = meter("check", "--schema", cwd=tmp_path)
    jsonschema.Draft202012Validator.check_schema(json.loads(ran.stdout))


def test_plugins_lists_types_with_guarantees(tmp_path: Path) -> None:
    listed = json.loads(meter("plugins", "--json", cwd=tmp_path).stdout)
    assert {(t["section"], t["type"], t["guarantee"]) for t in listed["types"]} == {
        ("collector", "ingest", None),
        ("collector", "jsonl", None),
        ("collector", "streaming", None),
        ("collector", "webhook", None),
        ("sink", "csv", "repairs on open"),
        ("sink", "http", "at least once"),
        ("sink", "parquet", "repairs on open"),
        ("sink", "sqlite", "atomic with checkpoint"),
        ("sink", "stripe", "idempotent within a window"),
    }
    assert listed["faults"] == []
    assert "usage-meter" in meter("plugins", cwd=tmp_path).stdout


def test_once_delivers_and_status_shows_where_everything_is(folder: Path) -> None:
    ran = meter("run", "--once", cwd=folder)
    assert ran.returncode == 1
    assert "1 more in quarantine; to look: meter quarantine list" in ran.stderr
    assert meter("run", "--once", cwd=folder).returncode == 0, "nothing new was set aside"
    status = meter("status", cwd=folder)
    assert status.returncode == 0
    assert "recorded     2 events: 1 async_completed, 1 async_failed" in status.stdout
    assert "quarantine   1 from import" in status.stdout
    (balance,) = json.loads(meter("status", "--json", cwd=folder).stdout)["balances"]
    assert (balance["delivered"], balance["filtered"], balance["balances"]) == (1, 1, True)


def test_status_exits_1_when_a_sum_does_not_balance(folder: Path) -> None:
    assert meter("run", "--once", cwd=folder).returncode == 1
    journal = open_journal(str(folder / "m.db"), SystemClock())
    now = SystemClock().now()
    journal.settle(Settlement("ledger", "new", None, now, delivered=[1])).wait()
    journal.close()
    ran = meter("status", cwd=folder)
    assert ran.returncode == 1
    assert "NO: 3 accounted for" in ran.stdout


def test_paths_are_relative_to_the_file_wherever_it_is_run_from(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "events.jsonl").write_bytes(encode_event(completed(1)))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    ran = meter("run", "--once", str(folder / "pipelines.yaml"), cwd=elsewhere)
    assert ran.returncode == 0, ran.stderr
    assert (folder / "usage.db").exists()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("sinks", "words"),
    [
        ("{a: {type: sqlite, path: m.db}}", "5:33: sinks.a.path: is where the journal writes"),
        (
            "{a: {type: csv, path: x.csv}, b: {type: csv, path: x.csv}}",
            "is where the sink 'a' writes",
        ),
        ("{a: {type: csv, path: x}, b: {type: sqlite, path: x}}", "is where the sink 'a' writes"),
    ],
)
def test_two_that_would_write_one_file_are_refused(folder: Path, sinks: str, words: str) -> None:
    (folder / "pipelines.yaml").write_text(
        "\njournal: m.db\ncollectors: {import: {type: jsonl, path: e.jsonl}}\n\n"
        f"sinks: {sinks}\npipelines: {{usage: {{from: import, to: a}}}}\n"
    )
    ran = meter("check", cwd=folder)
    assert ran.returncode == 2
    assert words in ran.stderr


def test_two_tables_of_one_database_are_fine(folder: Path) -> None:
    two = "{ledger: {type: sqlite, path: u.db}, b: {type: sqlite, path: u.db, table: other}}"
    text = IMPORT_FILE.replace("{ledger: {type: sqlite, path: usage.db}}", two)
    (folder / "pipelines.yaml").write_text(text)
    assert meter("check", cwd=folder).returncode == 0


def test_status_of_a_journal_that_is_not_there_makes_none(folder: Path) -> None:
    ran = meter("status", cwd=folder)
    assert ran.returncode == 4
    assert "there is no journal" in ran.stderr
    assert not (folder / "m.db").exists()


def test_no_output_holds_a_secret(folder: Path) -> None:
    (folder / "pipelines.yaml").write_text(PIPELINES.read_text().replace("path:", "pth:"))
    for arguments in (["check"], ["run", "--once"], ["status"]):
        ran = meter(*arguments, cwd=folder)
        assert ran.returncode == 2
        assert not any(secret in ran.stdout + ran.stderr for secret in SECRETS.values())


def test_a_sink_without_a_sandbox_is_refused_by_name(folder: Path) -> None:
    package = folder / "site" / "meter_odd.py"
    package.parent.mkdir()
    package.write_text(
        """
from meter import hookimpl
from meter.sinks import FilePath, Guarantee, Options, Report, Sink

class Odd(Sink):
    type = "odd"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = Options

    def deliver(self, batch):
        return Report.everything(batch)

@hookimpl
def meter_register_sinks():
    return [Odd]
"""
    )
    info = package.parent / "meter_odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: meter-odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[meter]\nodd = meter_odd\n")
    text = PIPELINES.read_text().replace("type: sqlite, path: usage.db", "type: odd")
    (folder / "pipelines.yaml").write_text(text)
    ran = meter("run", "--sandbox", cwd=folder, environ={"PYTHONPATH": str(package.parent)})
    assert ran.returncode == 3
    assert "sinks.ledger: type 'odd' has no sandbox" in ran.stderr
