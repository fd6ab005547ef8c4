"""Pages of docs/ whose console blocks are run from top to bottom, each with what it prints."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner

from meter.cli import cli
from meter.plugins import load_plugins

DOCS = Path(__file__).resolve().parents[2] / "docs"
METER = Path(sys.executable).with_name("meter")
_DIFFERS = {
    r"\d{4}-\d\d-\d\dT[\d:.]+Z": "TIME",
    r"[0-9a-f]{8}-[0-9a-f-]{27}": "ID",
    r"\b[\w.-]+@[\w.-]+": "WHO",
    r"\d+ (s|min|h|d) (ago|old)": "AGE",
    r"\d+ (bytes|pages)": "SIZE",
    r"[\d,]+\.\d GiB": "ROOM",
    r"─+": "─",
    r" +": " ",
    r"^\{.*\n": "",  # a line of the log
}
"""What differs each time, and the widths that follow from it."""


@dataclass
class Shown:
    """One command of a page.

    Attributes:
        place: what stands before its `$`; empty on most pages.
        command: the line.
        printed: what the page shows below it.
    """

    place: str
    command: str
    printed: list[str] = field(default_factory=list)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def shown(text: str) -> list[Shown]:
    """Return every command of the console blocks, in order."""
    found: list[Shown] = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if prompt := re.match(r"(\w*)\$ (.*)", line):
                found.append(Shown(prompt[1], prompt[2]))
            elif found[-1].command.endswith("\\"):
                found[-1].command = f"{found[-1].command[:-1].rstrip()} {line.strip()}"
            else:
                found[-1].printed.append(line)
    return found


def printed_by(command: str, folder: Path, environ: dict[str, str]) -> str:
    """Run one line in a folder; answer what it prints. `export` changes the variables.

    `meter` runs in this process, which is quicker; `meter run` in its own, for it has the signals.
    """
    if command.startswith("export "):
        listing = "import json, os; print(json.dumps(dict(os.environ)))"
        said = _shell(f"{command} && {shlex.quote(sys.executable)} -c '{listing}'", folder, environ)
        environ |= json.loads(said)
        return ""
    if command.startswith("unset "):
        for name in command.split()[1:]:
            environ.pop(name, None)
        return ""
    if not command.startswith("meter ") or re.match("meter run|.*[|>]", command):
        return _shell(command, folder, environ)
    variables: Mapping[str, str | None] = {name: environ.get(name) for name in {*environ}}
    with chdir(folder):
        ran = CliRunner(env=variables).invoke(cli, shlex.split(command)[1:], obj=load_plugins())
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.output


def _shell(command: str, folder: Path, environ: Mapping[str, str]) -> str:
    path = f"{METER.parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**os.environ, **environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.stdout


def steady(text: str) -> str:
    """Return an output without what differs each time."""
    for pattern, word in _DIFFERS.items():
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return re.sub(" $", "", text, flags=re.MULTILINE).strip()
