"""Every example of docs/usage.md is run, and shows what the page shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "usage.md").read_text()
METER = Path(sys.executable).with_name("meter")


def marked(name: str) -> str:
    (found,) = re.findall(
        rf"<!-- runs: {name} -->\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    )
    return str(found)


def run(folder: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [METER, *arguments], cwd=folder, capture_output=True, timeout=60, check=True
    )
    return ran.stdout.decode().replace("\r\n", "\n")


def test_the_page_on_usage_shows_what_its_commands_print(tmp_path: Path) -> None:
    (tmp_path / "pipelines.yaml").write_text(marked("file"))
    (tmp_path / "events.jsonl").write_text(marked("events"))
    run(tmp_path, "run", "--once", "--log-level", "error")
    shown = re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    ran = 0
    for block in shown:
        for command, printed in re.findall(
            r"^\$ meter (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE
        ):
            assert run(tmp_path, *shlex.split(command)) == printed, command
            ran += 1
    assert ran == 5
