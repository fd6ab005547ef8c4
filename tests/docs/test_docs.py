"""What the docs show, runs."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from acceptance.process import Meter, wait_until
from meter import errors, hookspecs
from meter.cli import cli
from meter.config import load_config
from meter.plugins import load_plugins
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import JobPlan
from meter.sandbox.streaming import StreamingSandbox
from meter_stripe.commands import stripe

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
METER = Path(sys.executable).with_name("meter")
SECRETS = {
    "ASSEMBLYAI_API_KEY": "key",
    "METER_WEBHOOK_SECRET": "secret",
    "METER_TOKEN_SECRET": "not-a-real-secret-but-long-enough",
    "METER_INGEST_SECRET": "secret",
    "METER_ADMIN_SECRET": "secret",
    "STRIPE_API_KEY": "sk_test_key",
    "STRIPE_WEBHOOK_SECRET": "whsec_secret",
}


STREAMING = (ROOT / "docs" / "streaming.md").read_text()
STRIPE = (ROOT / "docs" / "stripe.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def marked(name: str, text: str = README) -> str:
    (found,) = re.findall(
        rf"<!-- runs: {name} -->\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    return str(found)


def run(*command: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **SECRETS, "NO_PROXY": "127.0.0.1", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_readme_has_two_commands_and_ci_runs_them() -> None:
    first, second = blocks("sh")
    assert "meter run pipelines.yaml --sandbox" in first
    assert "pytest" in second
    ci = (ROOT / ".ci" / "run").read_text()
    assert "readme_command 1" in ci
    assert "readme_command 2" in ci


@pytest.mark.parametrize(
    "text",
    [
        *blocks("yaml"),
        *blocks("yaml", STREAMING),
        *blocks("yaml", STRIPE),
        (ROOT / "pipelines.yaml").read_text(),
    ],
)
def test_every_pipelines_file_shown_is_correct(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    path.write_text(text)
    config = load_config(path, load_plugins(), environ=SECRETS)
    assert config.warnings == ()
    assert set(config.pipelines) == set(yaml.safe_load(text)["pipelines"])


def test_the_submit_snippet_names_the_customer_exactly(tmp_path: Path) -> None:
    with AssemblyAISandbox(latency=0) as double:
        double.plan_next(JobPlan(status="completed", audio_duration=1, webhook_copies=0))
        script = (
            f"import assemblyai\nassemblyai.settings.base_url = {double.base_url!r}\n"
            "assemblyai.settings.api_key = 'key'\n"
            + marked("submit")
            + "print(submit('https://a.example/a.mp3', 'Müller & Söhne', project_id='a+b').id)\n"
        )
        ran = run(sys.executable, "-c", script, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        (job,) = double.truth()
    assert job.webhook_url == (
        "https://meter.example.com/webhooks/assemblyai"
        "?customer_id=M%C3%BCller+%26+S%C3%B6hne&project_id=a%2Bb"
    )


def test_the_sink_shown_and_the_line_shown_work_together(tmp_path: Path) -> None:
    (tmp_path / "meter_lines.py").write_text(marked("sink"))
    info = tmp_path / "meter_lines-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: meter-lines\nVersion: 1.0\n")
    (entry,) = blocks("toml")
    points = entry.replace("[project.entry-points.meter]", "[meter]").replace('"', "")
    (info / "entry_points.txt").write_text(points)
    (tmp_path / "events.jsonl").write_text(marked("line"))
    (tmp_path / "pipelines.yaml").write_text(
        "collectors: {import: {type: jsonl, path: events.jsonl}}\n"
        "sinks: {out: {type: lines, path: out.txt}}\n"
        "pipelines: {all: {from: import, to: out}}\n"
    )
    ran = run(str(METER), "run", "--once", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out.txt").read_text() == "assemblyai:transcript:t-1 acme 61.5\n"
    assert len(marked("sink").splitlines()) < 40


@pytest.mark.parametrize("name", ["relay-client", "tap", "recorder"])
def test_the_streaming_snippets_record_what_the_double_bills(tmp_path: Path, name: str) -> None:
    calls = {
        "relay-client": "transcribe(audio)",
        "tap": "transcribe(audio, 'acme', project_id='p1')",
        "recorder": "main(audio)",
    }
    with StreamingSandbox() as double:
        site = Meter(tmp_path / "site").configure(
            {
                "journal": "meter.db",
                "server": {"port": 0},
                "collectors": {
                    "live": {
                        "type": "streaming",
                        "api_key": "key",
                        "token_secret": SECRETS["METER_TOKEN_SECRET"],
                        "upstream": double.url,
                    },
                    "apps": {"type": "ingest", "secret": SECRETS["METER_INGEST_SECRET"]},
                },
                "sinks": {"ledger": {"type": "sqlite", "path": "usage.db"}},
                "pipelines": {"usage": {"from": ["live", "apps"], "to": ["ledger"]}},
            }
        )
        site.start()
        try:
            token = site.command("token", "--customer", "acme").stdout.strip()
            ran = run(
                *(sys.executable, "-W", "ignore::DeprecationWarning", "-c"),
                f"audio = bytes(32_000)\n{marked(name, STREAMING)}\n{calls[name]}\n",
                cwd=tmp_path,
                METER_URL=site.url,
                METER_TOKEN=token,
                METER_STREAMING=site.url.replace("http", "ws", 1),
                ASSEMBLYAI_STREAMING_HOST=double.url,
                ASSEMBLYAI_STREAMING_URL=f"{double.url}/v3/ws",
                XDG_STATE_HOME=str(tmp_path / "state"),
            )
            assert ran.returncode == 0, ran.stderr
            wait_until(lambda: json.loads(site.command("sessions", "--json").stdout))
            wait_until(
                lambda: (
                    json.loads(site.command("sessions", "--json").stdout)[0]["state"] == "closed"
                )
            )
            (session,) = json.loads(site.command("sessions", "--json").stdout)
        finally:
            site.kill()
        (truth,) = double.truth()
    assert session["customer_id"] == "acme"
    assert session["session_id"] == truth.session_id
    assert session["seconds"] == str(truth.session_seconds)


def test_every_command_is_documented_and_tested() -> None:
    documented = (ROOT / "docs" / "commands.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in cli.commands:
        assert f"## meter {name}" in documented
        assert f'"{name}"' in tests


def test_the_list_of_commands_says_of_each_what_its_own_help_says() -> None:
    load_plugins().add_commands(cli)
    for name, listed in cli.commands.items():
        assert listed.get_short_help_str(200) == real(name).get_short_help_str(200)


def test_every_hook_says_when_and_is_tested() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    hooks = {n: f for n, f in vars(hookspecs).items() if n.startswith("meter_")}
    assert len(hooks) == 9
    for name, function in hooks.items():
        text = inspect.getdoc(function) or ""
        assert "When:" in text
        assert "If it raises" in text
        assert f"def {name}(" in tests, f"{name} has no test"


def test_every_error_is_drawn_in_the_tree() -> None:
    drawing = inspect.getdoc(errors) or ""
    for name in errors.__all__:
        assert name in drawing
    classes = {
        n
        for n, o in vars(errors).items()
        if isinstance(o, type) and o.__module__ == errors.__name__
    }
    assert classes == set(errors.__all__)


def test_links_in_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def shown_code(text: str) -> Iterator[str]:
    """Yield what stands between backticks, and the commands of console blocks, on one line."""
    yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", without_blocks(text)))
    for block in blocks("console", text):
        yield from re.findall(r"^\$ (.+)$", block, re.MULTILINE)


def command_shown(code: str) -> tuple[click.Command, list[str]]:
    """Find the command that a line calls, and the words that follow its name."""
    _, name, *rest = code.split()
    command: click.Command = stripe if name == "stripe" else real(name)
    if isinstance(command, click.Group) and rest:
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def real(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def options_of(command: click.Command) -> set[str]:
    return {name for param in command.params for name in param.opts if name.startswith("--")}


def test_every_command_and_option_of_the_page_on_stripe_exists() -> None:
    codes = set(shown_code(STRIPE))
    called = {code for code in codes if re.match(r"meter [a-z]", code)}
    named = set()
    for code in called:
        command, words = command_shown(code)
        named.add(command.name)
        assert {word for word in words if word.startswith("--")} <= options_of(command), code
    assert named > stripe.commands.keys(), "each of them is on the page"
    everything = set().union(*map(options_of, stripe.commands.values()))
    alone = {code.split()[0] for code in codes if code.startswith("--")}
    assert alone
    assert alone <= everything


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_the_docs_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text())):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link
