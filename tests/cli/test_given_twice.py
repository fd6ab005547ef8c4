"""What a person gives twice, mistypes or lacks room for, in this process."""

from __future__ import annotations

import stat
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from meter.cli import cli
from meter.clock import SystemClock
from meter.errors import JournalError
from meter.journal import Quarantined, open_journal
from meter.plugins import load_plugins
from support.facts import completed

FILE = """
journal: kept/m.sqlite
collectors: {import: {type: jsonl, path: events.jsonl}, t: {type: webhook, api_key: k, secret: s}}
sinks: {ledger: {type: sqlite, path: usage.db}}
pipelines: {usage: {from: [import, t], to: ledger}}
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines.yaml").write_text(FILE)
    (tmp_path / "kept").mkdir()
    with closing(open_journal("kept/m.sqlite", SystemClock())) as journal:
        journal.append([completed("t1", customer_id="acme", collector="import")]).wait()
        told = '{"transcript": {"id": "%s", "status": "completed", "audio_duration": 61},'
        told += ' "received_at": "2026-11-22T12:00:00Z", "query": ""}'
        waiting = [
            Quarantined("t", f"transcript:{n}:", "no customer_id", told % n, provider_id=n)
            for n in ("t2", "t3")
        ]
        journal.quarantine(waiting).wait()
    return tmp_path


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, obj=load_plugins(), input=given)


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "--sink", "ledger", "--yes", "--reason", "x"),
        ("events",),
        ("sessions",),
        ("journal", "export"),
        ("quarantine", "assign", "1"),
    ],
)
def test_a_second_customer_is_refused_where_only_one_is_taken(arguments: tuple[str, ...]) -> None:
    ran = run(*arguments, "--customer", "acme", "--customer", "globex")
    assert ran.exit_code == 2, ran.output
    assert "--customer is given 2 times, and takes one value" in ran.output


def test_what_may_be_given_several_times_still_may() -> None:
    ran = run("usage", "--customer", "acme", "--customer", "globex", "--format", "csv")
    assert ran.exit_code == 0, ran.output
    assert "acme" in ran.output
    assert run("plugins", "-v").exit_code == 0


def test_a_plugins_own_commands_are_as_strict() -> None:
    load_plugins().add_commands(cli)
    ran = run("stripe", "cancel", "e", "--reason", "a", "--reason", "b")
    assert ran.exit_code == 2
    assert "--reason is given 2 times" in ran.output


def test_the_journal_is_its_owners_alone_and_its_folder_is_never_made(site: Path) -> None:
    path = site / "kept" / "m.sqlite"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(JournalError, match="cannot open the journal"):
        open_journal(str(site / "nowhere" / "m.db"), SystemClock())
    (site / "pipelines.yaml").write_text(FILE.replace("kept/", "nowhere/"))
    checked = run("check", "--connect").output
    assert "there is no folder nowhere" in checked.replace(f"{site}/", "")
    assert not (site / "nowhere").exists()


def test_a_missing_variable_tells_of_the_env_file_beside_it(site: Path) -> None:
    (site / "pipelines.yaml").write_text(FILE.replace("api_key: k", 'api_key: "${NEVER_SET_HERE}"'))
    bare = run("check")
    (site / ".env").touch()
    told = run("check")
    assert bare.exit_code == told.exit_code == 2
    assert "set -a; . ./.env; set +a" not in bare.output
    assert "fill in .env, and read it: set -a; . ./.env; set +a" in told.output


def test_interrupting_a_question_exits_130() -> None:
    @click.command()
    def asks() -> None:
        raise click.Abort

    cli.add_command(asks)
    try:
        assert run("asks").exit_code == 130
    finally:
        cli.commands.pop("asks")


def test_a_customer_whom_nobody_knows_is_warned_of() -> None:
    ran = run("quarantine", "assign", "1", "--customer", "tpyo")
    assert "nobody called 'tpyo' has used anything yet" in ran.output
    assert "assemblyai:transcript:" in ran.output, "and goes on where nobody can be asked"
    again = run("quarantine", "assign", "2", "--customer", "acme")
    assert again.exit_code == 0, again.output
    assert "nobody called" not in again.output
