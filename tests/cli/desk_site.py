"""A folder with a pipelines file of two sinks, one of which does as a test tells it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from meter.events import encode_event
from support.facts import completed, failed

METER = Path(sys.executable).with_name("meter")
TESTS = Path(__file__).resolve().parents[1]
KEY = "a-key-that-nobody-may-see"
FILE = """
journal: m.db
server: {port: 0}
collectors: {import: {type: jsonl, path: events.jsonl}}
sinks:
  ledger: {type: sqlite, path: usage.db}
  billing: {type: desk, says: says.json, key: "${DESK_KEY}"}
pipelines: {usage: {from: import, to: [ledger, billing]}}
"""
T = "assemblyai:transcript:"
EVENTS = [
    *(completed(n, customer_id="ünï", collector="import") for n in ("a", "b", "c", "d", "e")),
    failed("f", collector="import"),
]
SAYS: dict[str, Any] = {
    "events": {
        f"{T}a": "rejected: no such meter",
        f"{T}b": "rejected: no such meter",
        f"{T}c": "held: no customer for 'ünï'\x1b[2J",
        f"{T}d": "later: waits for its minute",
    }
}


class Site:
    """A folder with a pipelines file, and the plugin on the path of every command."""

    def __init__(self, folder: Path, plugin: Path) -> None:
        self.folder = folder
        self._path = os.pathsep.join([str(plugin), str(TESTS / "cli")])
        (folder / "pipelines.yaml").write_text(FILE)
        (folder / "events.jsonl").write_bytes(b"\n".join(encode_event(e) for e in EVENTS))
        self.says(**SAYS)

    def says(self, **words: Any) -> None:
        (self.folder / "says.json").write_text(json.dumps(SAYS | words))

    def environ(self, *, key: bool = True) -> dict[str, str]:
        environ = {**os.environ, "PYTHONPATH": self._path}
        environ.pop("DESK_KEY", None)
        return environ | ({"DESK_KEY": KEY} if key else {})

    def meter(
        self, *arguments: str, exits: int = 0, key: bool = False
    ) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [METER, *arguments],
            cwd=self.folder,
            env=self.environ(key=key),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == exits, ran.stdout + ran.stderr
        assert KEY not in ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        assert "\x1b" not in ran.stdout + ran.stderr
        return ran

    def json(self, *arguments: str, exits: int = 0) -> Any:
        return json.loads(self.meter(*arguments, "--json", exits=exits).stdout)

    def deliver(self) -> None:
        self.meter("run", "--once", "--log-level", "error", exits=1, key=True)

    def delivers(self, said: list[str]) -> None:
        events = [completed(f"{n:02}", collector="import") for n in range(len(said))]
        (self.folder / "events.jsonl").write_bytes(b"\n".join(encode_event(e) for e in events))
        self.says(events={e.event_id: words for e, words in zip(events, said, strict=True)})
        self.deliver()


def install(site: Path) -> Path:
    """Put the plugin where a command finds it; answer the folder for its path."""
    info = site / "meter_desk-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: meter-desk\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[meter]\ndesk = desk_sink\n")
    return site
