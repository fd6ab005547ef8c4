"""Tab offers what may stand next: by the real bash, and by the classes that answer each shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from meter.cli import cli
from meter.cli.completing import ASKED_BY, SHELLS
from meter.clock import SystemClock
from meter.journal import open_journal
from meter.plugins import load_plugins
from support.facts import completed

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

METER = Path(sys.executable).with_name("meter")
FILE = """
collectors:
  jobs: {type: webhook, api_key: "${NOT_SET}", secret: "${NOT_SET}"}
  live: {type: streaming, api_key: "${NOT_SET}", token_secret: "${NOT_SET}"}
sinks:
  ledger: {type: sqlite, path: usage.db}
  billing: {type: stripe}
"""
HEAVY = {"assemblyai", "httpx", "pydantic", "rich", "sqlite_utils", "stripe", "uvicorn"}
KINDS = ["async_completed", "stream_terminated", "async_failed", "stream_abandoned"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipelines.yaml").write_text(FILE)
    (tmp_path / "other.yml").write_text("sinks: {elsewhere: {type: csv}}\n")
    (tmp_path / "usage.db").touch()
    monkeypatch.chdir(tmp_path)


def items(line: str, shell: str = "bash") -> list[CompletionItem]:
    """Return what is offered at the end of a command line."""
    *words, last = line.split(" ")
    asked = SHELLS[shell](cli, {"obj": load_plugins()}, "meter", ASKED_BY)
    return asked.get_completions(words, last)


def offered(line: str, shell: str = "bash") -> list[str]:
    return [item.value for item in items(line, shell)]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sta", ["status"]),
        ("quarantine as", ["assign"]),
        ("run --log-f", ["--log-format"]),
        ("run --log-format ", ["auto", "json", "text"]),
        ("events --kind ", KINDS),
        ("status ", ["other.yml", "pipelines.yaml"]),
        ("status oth", ["other.yml"]),
        ("replay --sink ", ["ledger", "billing"]),
        ("replay --sink l", ["ledger"]),
        ("replay --sink = b", ["billing"]),
        ("replay other.yml --sink ", ["elsewhere"]),
        ("dead-letters --sink ", ["ledger", "billing"]),
        ("stripe plan --sink ", ["billing"]),
        ("token --collector ", ["live"]),
        ("backfill --collector ", ["jobs"]),
        ("quarantine list --collector ", ["jobs", "live"]),
        ("init --collect ", ["webhook", "streaming", "ingest"]),
        ("init --collect webhook,s", ["webhook,streaming"]),
        ("init --sink csv,", ["csv,sqlite", "csv,parquet", "csv,stripe", "csv,http"]),
        ("no-such-command --sink ", ["ledger", "billing"]),
        ("completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_what_may_stand_next_is_offered(shell: str, line: str, expected: list[str]) -> None:
    load_plugins().add_commands(cli)
    assert offered(line, shell) == expected


def test_every_command_is_offered_with_what_it_does() -> None:
    load_plugins().add_commands(cli)
    told = {item.value: item.help for item in items("", "zsh")}
    assert {"init", "run", "check", "usage", "stripe", "completion"} <= told.keys()
    assert str(told["token"]).startswith("Print a token for the relay of PIPELINES")


def test_customers_of_late_are_offered_the_latest_first(tmp_path: Path) -> None:
    journal = open_journal(str(tmp_path / "meter.db"), SystemClock())
    names = ["globex", "acme", "a b", "'; rm -rf", "Müller", "acme"]
    for number, name in enumerate(names):
        journal.append([completed(f"t-{number}", customer_id=name)]).wait()
    while_running = offered("usage --customer ")
    journal.close()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert offered("usage --customer ") == while_running == ["acme", "Müller", "globex"]
    assert offered("token --customer g") == ["globex"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    (tmp_path / "pipelines.yaml").write_text("journal: usage.db")
    assert offered("usage --customer ") == [], "an empty file is no journal"


@pytest.mark.parametrize("text", ["sinks: [", "sinks: 3", "[]", "sinks: {a: &a [*a]}", "\x00", ""])
def test_a_file_that_cannot_be_read_offers_nothing_and_says_nothing(
    text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pipelines.yaml").write_text(text)
    assert offered("token --collector ") == []
    assert offered("token --customer ") == []
    (tmp_path / "pipelines.yaml").unlink()
    assert offered("token --collector ") == []
    assert capfd.readouterr() == ("", "")


def test_where_no_file_is_yaml_any_file_will_do(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    assert [(item.type, item.value) for item in items("status below/")] == [("file", "below/")]


@pytest.mark.parametrize(
    ("shell", "words"), [("zsh", "#compdef meter"), ("fish", "complete --no-files --command meter")]
)
def test_the_script_of_each_shell_is_printed(shell: str, words: str) -> None:
    printed = CliRunner().invoke(cli, ["completion", shell], obj=load_plugins())
    assert printed.exit_code == 0, printed.output
    assert words in printed.output
    by_variable = CliRunner(env={"SHELL": f"/usr/bin/{shell}"}).invoke(
        cli, ["completion"], obj=load_plugins()
    )
    assert by_variable.output == printed.output


def test_a_shell_that_is_not_known_is_told() -> None:
    ran = CliRunner(env={"SHELL": "/bin/sh"}).invoke(cli, ["completion"], obj=load_plugins())
    assert ran.exit_code == 2
    assert "which shell? One of bash, zsh, fish" in ran.output


def bash() -> str:
    found = shutil.which("bash")
    if found is None:
        pytest.skip("there is no bash here")
    version = subprocess.run(
        [found, "--norc", "-c", "echo $((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1]))"],
        capture_output=True,
        text=True,
        check=True,
    )
    if int(version.stdout) < 404:
        pytest.skip("this bash is older than 4.4, which click's script needs")
    return found


def test_a_real_bash_completes_commands_values_and_files() -> None:
    script = """
        eval "$(meter completion bash)"
        complete -p meter
        press() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _meter_completion meter
            echo "${COMPREPLY[@]}"
        }
        press meter rep
        press meter replay --sink l
        press meter check pipe
    """
    ran = subprocess.run(
        [bash(), "--norc", "-c", script],
        env={**os.environ, "PATH": f"{METER.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.splitlines() == [
        "complete -o nosort -F _meter_completion meter",
        "replay",
        "ledger",
        "pipelines.yaml",
    ]
    assert ran.stderr == ""


@pytest.mark.parametrize("words", ["meter ", "meter replay --sink "])
def test_a_press_of_tab_imports_nothing_heavy(words: str) -> None:
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split())), ASKED_BY: "bash_complete"}
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", METER],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "plain," in ran.stdout
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "click" in imported
    assert not imported & HEAVY
    assert "meter.cli.init_answers" not in imported, "no command is, but the one at hand"
