"""`meter init`: a pipelines file, its variables, and the code that submits, to begin with."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meter.cli.init_answers import (
    COLLECTORS,
    DEFAULTS,
    Answers,
    chosen,
    journal,
    public,
    sinks_of,
)
from meter.commands.people import on_terminal
from meter.errors import ConfigurationError

if TYPE_CHECKING:
    from meter.cli.init_files import NewFile
    from meter.plugins import Plugins
    from meter.sinks import Options

__all__ = ["init"]

TEMPLATE: Final = Path(__file__).parent / "init_template"
SNIPPETS: Final = {
    "webhook": ("submit_job.py", "how your application submits a job"),
    "streaming": ("stream_client.py", "how a client gets a token and streams through the relay"),
    "ingest": ("stream_tap.py", "how your server has meter told of a session that it holds"),
}
CUSTOMERS: Final = """\
# Your customer ids and Stripe's, a line each; it is read again whenever it changes. Put your first
# customer in the place of {}:
#
#     acme: cus_NffrFeUfNV2Hib
{}
"""
IGNORED: Final = (".env", "*.db", "*.db-wal", "*.db-shm", "*.lock", "meter-sandbox-*/")
DATA: Final = {"csv": "exports/", "parquet": "lake/"}
"""What else is no business of git, by type of sink."""


def _read_by(reader: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a callback that reads an option's value, and leaves what was not given alone."""

    def read(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
        return None if value is None else reader(value)

    return read


def _collectors(
    _context: click.Context, _option: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...] | None:
    return chosen(value, COLLECTORS) if value else None


def _sinks(
    context: click.Context, _option: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...] | None:
    found: Plugins = context.obj
    return chosen(value, sinks_of(found.sinks.names())) if value else None


@click.command()
@click.argument(
    "folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), required=False
)
@click.option(
    "--collect",
    multiple=True,
    callback=_collectors,
    metavar="WHAT",
    help=f"Of {', '.join(COLLECTORS)}; several with commas between.",
)
@click.option(
    "--sink",
    "sinks",
    multiple=True,
    callback=_sinks,
    metavar="TYPE",
    help="Such as sqlite, csv, stripe: see `meter plugins`; several with commas between.",
)
@click.option("--journal", callback=_read_by(journal), help="The journal's file.")
@click.option("--public-url", callback=_read_by(public), help="What the world calls this server.")
@click.option("--region", type=click.Choice(["us", "eu"]), help="AssemblyAI's region.")
@click.option("--env/--no-env", default=None, help="Whether to make a .env with fresh secrets.")
@click.option("--yes", is_flag=True, help="Ask nothing: what no option says is as by default.")
@click.option("--force", is_flag=True, help="Keep files that are in the way as .bak, and go on.")
@click.pass_obj
def init(found: Plugins, /, folder: Path, *, yes: bool, force: bool, **given: Any) -> None:
    """Make a pipelines file in FOLDER, with its variables and the code that submits jobs.

    On a terminal it asks for what no option says; elsewhere, and with --yes, that is as by default.
    Nothing that is there is overwritten. What it makes runs at once: meter run --sandbox
    """
    from meter.cli.init_files import write

    answers = _answers(found, given, yes=yes)
    files = _files(found, answers)
    folders = [(folder / answers.journal).parent]
    told = write(folder, files, folders=folders, force=force)
    width = max(map(len, told))
    click.echo(f"in {folder.absolute()}:")
    for name, words in told.items():
        click.echo(f"  {name.ljust(width)}  {words}")
    for line in (*_lacking(folder, files), *_next(folder, answers, found)):
        click.echo(line)


def _answers(found: Plugins, given: dict[str, Any], *, yes: bool) -> Answers:
    """Return what the flags say, and what a person, or nobody, adds."""
    from meter.cli.init_answers import answered_by_asking

    open_questions = [name for name, value in given.items() if value is None]
    if open_questions and not yes and on_terminal():
        return answered_by_asking(given, sinks_of(found.sinks.names()))
    answers = Answers(**(asdict(DEFAULTS) | {k: v for k, v in given.items() if v is not None}))
    if open_questions and not yes:
        words = ", ".join(f"{name} {_shown(getattr(answers, name))}" for name in open_questions)
        click.echo(f"nobody can be asked here; by default: {words}")
    return answers


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"


def _files(found: Plugins, answers: Answers) -> dict[str, NewFile]:
    """Return the files, by name.

    Raises:
        ConfigurationError: the pipelines file would have faults.
    """
    from string import Template

    from meter.cli.init_env import env_text, example_text
    from meter.cli.init_file import HOSTS, pipelines_text, variables
    from meter.cli.init_files import NewFile

    text = pipelines_text(answers, _options(found, answers))
    _prove(found, answers, text)
    needed = variables(text)
    files = {"pipelines.yaml": NewFile(text, "what is collected, and where it goes")}
    if needed:
        files[".env.example"] = NewFile(
            example_text(needed), "its variables, each explained; no secret in it"
        )
        if answers.env:
            empty = ", ".join(each.name for each in needed if not each.own)
            words = "fresh secrets, which only you can read"
            files[".env"] = NewFile(
                env_text(needed), f"{words}; fill in {empty}" if empty else words
            )
    if "stripe" in answers.sinks:
        files["customers.yaml"] = NewFile(CUSTOMERS, "your customers at Stripe; empty as yet")
    base_url, streaming_host = HOSTS[answers.region]
    values = {
        "meter_url": answers.public_url or "http://127.0.0.1:8787",
        "base_url": base_url,
        "streaming_host": streaming_host,
    }
    for kind in answers.collect:
        name, words = SNIPPETS[kind]
        template = Template((TEMPLATE / f"{name}.txt").read_text(encoding="utf-8"))
        files[name] = NewFile(template.substitute(values), words)
    folders = [folder for kind, folder in DATA.items() if kind in answers.sinks]
    journal = [] if answers.journal.endswith(".db") else [f"{answers.journal}*"]
    ignored = "\n".join([*IGNORED, *journal, *folders])
    files[".gitignore"] = NewFile(f"{ignored}\n", "keeps secrets and data out of git")
    return files


def _options(found: Plugins, answers: Answers) -> dict[str, type[Options]]:
    return {name: found.sinks.found[name].cls.Options for name in answers.sinks}


def _prove(found: Plugins, answers: Answers, text: str) -> None:
    """Read the file as `meter check` would, before anything is written.

    A plugin's own options may want more than can be guessed; `meter check` says so to the person.

    Raises:
        ConfigurationError: it would have faults.
    """
    from tempfile import TemporaryDirectory

    from meter.cli.init_answers import SINKS
    from meter.cli.init_env import fresh_secret
    from meter.cli.init_file import variables
    from meter.config import ConfigFaults, load_config

    if not set(answers.sinks) <= set(SINKS):
        return
    made_up = {"USAGE_URL": "https://example.com/usage", "STRIPE_API_KEY": "rk_test_made_up"}
    environ = {each.name: made_up.get(each.name, fresh_secret()) for each in variables(text)}
    with TemporaryDirectory(prefix="meter-init-") as folder:
        path = Path(folder, "pipelines.yaml")
        path.write_text(text, encoding="utf-8")
        try:
            load_config(path, found, environ=environ)
        except ConfigFaults as error:
            faults = "\n".join(f"{fault.path}: {fault.message}" for fault in error.faults)
            raise ConfigurationError(f"that cannot be:\n{faults}") from None


def _lacking(folder: Path, files: dict[str, NewFile]) -> list[str]:
    """Say what a file that was there before lacks: variables of `.env`, lines of `.gitignore`."""
    lines = []
    for name in {".env", ".gitignore"} & files.keys():
        try:
            there = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue  # it was there before, and is somebody's own affair
        known = {line.partition("=")[0].removeprefix("export ").strip() for line in there}
        wanted = [
            line.partition("=")[0]
            for line in files[name].text.splitlines()
            if line and not line.startswith("#")
        ]
        if missing := [each for each in wanted if each not in known]:
            lines.append(f"add to {folder / name}: {' '.join(missing)}")
    return sorted(lines)


def _next(folder: Path, answers: Answers, found: Plugins) -> Sequence[str]:
    """Say which commands come next."""
    from meter.cli.init_answers import SINKS
    from meter.cli.init_env import LOADING

    lines = ["", "next:"]
    if folder.absolute() != Path.cwd():
        lines.append(f"  cd {shlex.quote(str(folder))}")
    real = [name for name in answers.sinks if not _has_sandbox(found, name)]
    if not real:
        lines.append("  meter run --sandbox      # all of it against local doubles: no account")
    lines += [
        *([] if answers.env else ["  cp .env.example .env && chmod 600 .env"]),
        "  $EDITOR .env             # fill in what is empty",
        f"  {LOADING}",
        *(
            ["  meter stripe setup       # says what Stripe lacks"]
            if "stripe" in answers.sinks
            else []
        ),
        "  meter check --connect    # tries every key, address and path",
        "  meter run",
    ]
    if real:
        lines.append(
            f"`meter run --sandbox` has no double for {', '.join(real)}: it refuses the file"
        )
    strangers = [name for name in answers.sinks if name not in SINKS]
    if strangers:
        lines.append(f"look at what pipelines.yaml has for {', '.join(strangers)}: `meter check`")
    return lines


def _has_sandbox(found: Plugins, name: str) -> bool:
    """Tell whether a type has a way to run against doubles: it overrides `sandboxed`."""
    from meter.sinks import Sink

    own: Any = getattr(found.sinks.found[name].cls.sandboxed, "__func__", None)
    return own is not Sink.sandboxed.__func__  # type: ignore[attr-defined]  # because mypy sees no class method here
