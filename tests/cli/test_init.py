"""`meter init`: whatever the answers, what it makes passes `meter check`, and runs."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from acceptance.process import LOCAL, Meter, free_port, wait_until
from meter.cli import cli
from meter.config import load_config
from meter.plugins import Plugins, load_plugins
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import JobPlan
from meter.sandbox.streaming import StreamingSandbox
from meter.sinks import Batch, Guarantee, Options, Report, Secret, Sink
from support.plugging import Registers, plugins_with

METER = Path(sys.executable).with_name("meter")
COLLECT = ("webhook", "streaming", "ingest")
SINKS = ("sqlite", "csv", "parquet", "stripe", "http")
GIVEN = {
    "ASSEMBLYAI_API_KEY": "key",
    "STRIPE_API_KEY": "rk_test_key",
    "USAGE_URL": "https://example.com/usage",
    "USAGE_AUTHORIZATION": "'Bearer key'",
}


def some(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return every choice of one or more."""
    return [chosen for n in range(1, len(names) + 1) for chosen in combinations(names, n)]


def init(folder: Path, *options: str, plugins: Plugins | None = None) -> Result:
    arguments = ["init", str(folder), *options]
    return CliRunner().invoke(cli, arguments, obj=plugins or load_plugins())


def filled_in(folder: Path) -> dict[str, str]:
    """Return the variables of `.env`, and what a person puts into those that are empty."""
    lines = (folder / ".env").read_text().splitlines()
    pairs = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    return {name: value or GIVEN[name].strip("'") for name, value in pairs.items()}


@pytest.mark.parametrize("collect", some(COLLECT), ids="-".join)
def test_every_combination_of_answers_is_a_correct_file_without_a_warning(
    tmp_path: Path, collect: tuple[str, ...]
) -> None:
    plugins = load_plugins()
    for number, sinks in enumerate(some(SINKS)):
        region, public_url, journal = _turn(number)
        folder = tmp_path / "-".join(sinks)
        ran = init(
            folder,
            *("--collect", ",".join(collect), "--sink", ",".join(sinks), "--region", region),
            *("--public-url", public_url, "--journal", journal, "--env"),
            plugins=plugins,
        )
        assert ran.exit_code == 0, ran.output
        config = load_config(folder / "pipelines.yaml", plugins, environ=filled_in(folder))
        assert config.warnings == ()
        assert [each.type for each in config.collectors.values()] == list(collect)
        assert [each.type for each in config.sinks.values()] == list(sinks)
        (pipeline,) = config.pipelines.values()
        assert pipeline.from_ == tuple(config.collectors)
        assert pipeline.to == tuple(config.sinks)
        assert config.journal == str(folder / journal)
        for each in config.collectors.values():
            if each.type == "webhook":
                assert (".eu." in each.options.base_url) is (region == "eu")
                assert each.options.public_url == (public_url or None)
            elif each.type == "streaming":
                assert (".eu." in each.options.upstream) is (region == "eu")
        snippets = {path.name for path in folder.glob("*.py")}
        wanted = {"webhook": "submit_job", "streaming": "stream_client", "ingest": "stream_tap"}
        assert snippets == {f"{wanted[each]}.py" for each in collect}
        for name in snippets:
            code = (folder / name).read_text()
            compile(code, name, "exec")
            assert (public_url or "http://127.0.0.1:8787") in code


def _turn(number: int) -> tuple[str, str, str]:
    """Return region, public address and journal: each pair of them comes up."""
    return (
        ("us", "eu")[number % 2],
        ("", "https://meter.example.com/m")[number // 2 % 2],
        ("meter.db", "d/é 1.db", "${x}.db", "007")[number // 4 % 4],
    )


def test_what_is_written_holds_no_secret_but_in_a_file_of_the_owners(tmp_path: Path) -> None:
    ran = init(tmp_path, "--collect", ",".join(COLLECT), "--sink", "sqlite,stripe", "--yes")
    assert ran.exit_code == 0, ran.output
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    made = {n: v for n, v in filled_in(tmp_path).items() if n not in GIVEN}
    assert set(made) == {f"METER_{n}_SECRET" for n in ("WEBHOOK", "TOKEN", "ADMIN", "INGEST")}
    assert len({*made.values()}) == 4
    assert all(re.fullmatch(r"[\w-]{43}", value) for value in made.values())
    for path in tmp_path.iterdir():
        if path.name != ".env":
            assert not any(value in path.read_text() for value in made.values()), path
    assert not any(value in ran.output for value in made.values())
    assert "  meter stripe setup " in ran.output
    example = (tmp_path / ".env.example").read_text().splitlines()
    variables = [n for n, line in enumerate(example) if re.fullmatch(r"[A-Z_]+=.*", line)]
    assert {example[n] for n in variables} == {f"{name}=" for name in filled_in(tmp_path)}
    assert all(example[n - 1].startswith("# ") for n in variables), "each is explained"


def test_only_what_was_asked_for_is_there_and_every_line_of_it_says_what_it_is(
    tmp_path: Path,
) -> None:
    init(tmp_path, "--collect", "ingest", "--sink", "csv", "--no-env", "--yes")
    text = (tmp_path / "pipelines.yaml").read_text()
    for absent in ("webhook", "ASSEMBLYAI", "stripe", "admin_secret", "public_url", "sqlite"):
        assert absent not in text
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {".env.example", ".gitignore", "pipelines.yaml", "stream_tap.py"}
    assert "METER_INGEST_SECRET=" in (tmp_path / ".env.example").read_text()
    assert "exports/" in (tmp_path / ".gitignore").read_text()


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    mine = {"pipelines.yaml": "mine\n", ".env": "METER_OTHER=1\n", ".gitignore": "*.db\n"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    ran = init(tmp_path, "--yes")
    assert ran.exit_code == 2
    assert f"{tmp_path / 'pipelines.yaml'}: there already" in ran.output
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == mine
    for number in ("", "2"):
        ran = init(tmp_path, "--yes", "--force")
        assert ran.exit_code == 0, ran.output
        assert f"(the one before is now pipelines.yaml.bak{number})" in ran.output
    assert (tmp_path / "pipelines.yaml.bak").read_text() == "mine\n"
    assert (tmp_path / ".env").read_text() == mine[".env"], "secrets in use are never moved away"
    assert (tmp_path / ".gitignore").read_text() == mine[".gitignore"]
    assert f"add to {tmp_path / '.env'}: ASSEMBLYAI_API_KEY METER_WEBHOOK_SECRET\n" in ran.output
    assert f"add to {tmp_path / '.gitignore'}: .env *.db-wal" in ran.output


def test_a_dangling_link_is_in_the_way_too(tmp_path: Path) -> None:
    (tmp_path / "pipelines.yaml").symlink_to(tmp_path / "elsewhere")
    assert init(tmp_path, "--yes").exit_code == 2
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--collect", "webhok"), "no 'webhok' here; did you mean webhook?"),
        (("--collect", ","), "at least one of webhook, streaming, ingest"),
        (("--sink", "sqlite,csw"), "did you mean csv?"),
        (("--journal", "postgresql://db/meter"), "expected a file, such as meter.db"),
        (("--journal", "usage.db"), "sinks.ledger.path: is where the journal writes already"),
        (("--public-url", "meter.example.com"), "such as https://meter.example.com"),
        (("--public-url", "https://a.example/?x=1"), "such as https://meter.example.com"),
        (("--public-url", 'https://a.example/"\\'), "such as https://meter.example.com"),
        (("--region", "asia"), "'asia' is not one of"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    ran = init(tmp_path / "new", *options, "--yes")
    assert ran.exit_code == 2, ran.output
    assert words in " ".join(ran.output.split())
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    ran = init(tmp_path / "taken" / "new", "--yes")
    assert ran.exit_code == 2
    assert os.strerror(errno.ENOTDIR) in ran.output


def test_where_nobody_can_be_asked_the_defaults_are_named(tmp_path: Path) -> None:
    ran = init(tmp_path, "--region", "eu")
    assert ran.exit_code == 0, ran.output
    words = "collect webhook, sinks sqlite, journal meter.db, public_url none, env yes"
    assert f"nobody can be asked here; by default: {words}\n" in ran.output
    assert "region" not in ran.output.split("\n")[0]


class _TillOptions(Options):
    """What a plugin wants."""

    till: str
    key: Secret
    room: int = 5


class _Till(Sink):
    """A stranger's sink."""

    type = "till"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = _TillOptions

    def deliver(self, batch: Batch) -> Report:
        return Report.everything(batch)


def test_a_plugins_sink_has_a_line_for_each_option_that_it_must_have(tmp_path: Path) -> None:
    plugins = plugins_with(Registers(_Till))
    ran = init(tmp_path, "--sink", "till,sqlite", "--yes", plugins=plugins)
    assert ran.exit_code == 0, ran.output
    environ = {**filled_in_with(tmp_path, "made-up"), "ASSEMBLYAI_API_KEY": "key"}
    config = load_config(tmp_path / "pipelines.yaml", plugins, environ=environ)
    assert config.sinks["till"].options.till == "made-up"
    assert "`meter run --sandbox` has no double for till" in ran.output


def filled_in_with(folder: Path, value: str) -> dict[str, str]:
    lines = (folder / ".env.example").read_text().splitlines()
    return {line[:-1]: value for line in lines if re.fullmatch(r"[A-Z_]+=", line)}


# -- real processes --------------------------------------------------------------------------------


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("collect", "sinks"), [("ingest", "csv"), ("webhook,streaming,ingest", "sqlite,parquet,stripe")]
)
def test_what_it_makes_runs_in_the_sandbox(tmp_path: Path, collect: str, sinks: str) -> None:
    pytest.importorskip("pyarrow")
    made = init(tmp_path, "--collect", collect, "--sink", sinks, "--yes")
    assert "meter run --sandbox " in made.output
    done = Meter(tmp_path).command("run", "--sandbox", "--jobs", "3", "--streams", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same." in done.stdout
    assert done.stdout.count(": balances") == len(sinks.split(","))


@pytest.fixture
def doubles() -> Iterator[tuple[AssemblyAISandbox, StreamingSandbox]]:
    with AssemblyAISandbox(latency=0) as rest, StreamingSandbox() as streaming:
        yield rest, streaming


@pytest.mark.acceptance
def test_the_code_that_it_makes_has_each_job_and_session_billed_to_its_customer(
    tmp_path: Path, doubles: tuple[AssemblyAISandbox, StreamingSandbox]
) -> None:
    rest, streaming = doubles
    options = ("--collect", ",".join(COLLECT), "--sink", "sqlite", "--yes")
    assert init(tmp_path, *options).exit_code == 0
    file, port = tmp_path / "pipelines.yaml", free_port()
    text = file.read_text().replace("https://api.assemblyai.com", rest.base_url)
    text = text.replace("wss://streaming.assemblyai.com", streaming.url)
    file.write_text(text.replace("port: 8787", f"port: {port}"))
    run = Meter(tmp_path)
    run._environ |= filled_in(tmp_path)
    run.start()
    (tmp_path / "audio").write_bytes(bytes(32_000))
    environ = {
        **run._environ,
        **filled_in(tmp_path),
        "METER_URL": run.url,
        "ASSEMBLYAI_BASE_URL": rest.base_url,
        "ASSEMBLYAI_STREAMING_HOST": streaming.url,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "NO_PROXY": LOCAL,
    }
    rest.plan_next(JobPlan(status="completed", audio_duration=61))
    try:
        for name, what in (
            ("submit_job", "https://audio.example/a.mp3"),
            ("stream_client", "audio"),
            ("stream_tap", "audio"),
        ):
            ran = subprocess.run(
                [
                    *(sys.executable, "-W", "ignore::DeprecationWarning", f"{name}.py"),
                    *(what, f"Müller & {name}", "p 1"),
                ],
                cwd=tmp_path,
                env=environ,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
        wait_until(lambda: len(run.command("events", "--json").stdout.splitlines()) == 3)
        events = [json.loads(line) for line in run.command("events", "--json").stdout.splitlines()]
    finally:
        run.kill()
    assert {event["customer_id"] for event in events} == {
        "Müller & submit_job",
        "Müller & stream_client",
        "Müller & stream_tap",
    }
    assert all(event["dimensions"]["project_id"] == "p 1" for event in events)
    seconds = {event["customer_id"]: event["seconds"] for event in events}
    assert seconds["Müller & submit_job"] == "61"
    assert len(streaming.truth()) == 2


@pytest.mark.acceptance
def test_on_a_terminal_it_asks_and_asks_again_when_an_answer_cannot_be(tmp_path: Path) -> None:
    answers = ["webhok", "webhook,streaming", "sqlite", "https://m.example.com", "eu", "n"]
    terminal, theirs = pty.openpty()
    asking = subprocess.Popen(
        [METER, "init", "--journal", "j.db"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(terminal, "".join(f"{answer}\n" for answer in answers).encode())
    told = ""
    with suppress(OSError):  # how the end of the other side is told
        while more := os.read(terminal, 4096):
            told += more.decode()
    os.close(terminal)
    assert asking.wait(30) == 0, told
    assert "did you mean webhook?" in told
    assert "live sessions through meter's relay" in told
    assert "The journal" not in told, "what an option says is not asked for"
    text = (tmp_path / "pipelines.yaml").read_text()
    assert "journal: j.db" in text
    assert "public_url: https://m.example.com" in text
    assert "wss://streaming.eu.assemblyai.com" in text
    assert not (tmp_path / ".env").exists()


def test_the_folder_of_the_journal_is_made_and_the_journal_is_kept_out_of_git(
    tmp_path: Path,
) -> None:
    ran = CliRunner().invoke(
        cli, ["init", str(tmp_path), "--yes", "--journal", "data/m.sqlite"], obj=load_plugins()
    )
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "data").is_dir()
    assert "data/m.sqlite*" in (tmp_path / ".gitignore").read_text().splitlines()
