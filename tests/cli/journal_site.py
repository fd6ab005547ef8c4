"""Folders with a journal each, and the commands that look after it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.desk_site import METER
from meter.cli import cli
from meter.clock import SystemClock
from meter.collectors.intake import Intake
from meter.collectors.interface import CollectorContext
from meter.collectors.jsonl import JsonlCollector
from meter.journal import open_journal
from meter.plugins import load_plugins

FILE = """
journal: m.db
collectors:
  transcripts: {type: jsonl, path: empty.jsonl}
  apps: {type: jsonl, path: empty.jsonl}
  import: {type: jsonl, path: "${IMPORT:-empty.jsonl}"}
sinks: {ledger: {type: sqlite, path: usage.db}}
pipelines: {usage: {from: [transcripts, apps, import], to: [ledger]}}
"""
PLUGINS = load_plugins()


def site(folder: Path, journal: Path | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "pipelines.yaml").write_text(FILE)
    (folder / "empty.jsonl").touch()
    if journal is not None:
        shutil.copy2(journal, folder / "m.db")
    return folder


def meter(folder: Path, *arguments: str, exits: int = 0) -> Result:
    """Run a command in this process: it differs from a process of its own in nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ran = CliRunner().invoke(cli, arguments, obj=PLUGINS)
    assert ran.exit_code == exits, (ran.output, ran.exception)
    return ran


def run_once(folder: Path, imported: Path | None = None, exits: int = 0) -> str:
    """Collect and deliver, in a process of its own."""
    environ = {**os.environ, **({} if imported is None else {"IMPORT": str(imported)})}
    command = [str(METER), "run", "--once", "--log-level", "error"]
    ran = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == exits, ran.stdout + ran.stderr
    return ran.stderr


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


CARRIED = {
    "events": "SELECT event_id, body FROM events ORDER BY offset",
    "sessions": "SELECT * FROM sessions ORDER BY event_id",
    "quarantine": "SELECT collector, key, reason, provider_id, payload, fetched, state, times,"
    " first_at, last_at FROM quarantine ORDER BY id",
    "receipts": "SELECT collector, received_at, query, fields, attempts, first_error_at,"
    " last_error FROM receipts WHERE state = 'open' ORDER BY id",
    "collectors": "SELECT name, cursor FROM collectors WHERE cursor IS NOT NULL",
    "watched": "SELECT * FROM watched ORDER BY 1, 2",
}
"""Everything that an export holds, with every field of it."""


def contents(folder: Path) -> dict[str, list[Any]]:
    return {name: rows(folder / "m.db", sql) for name, sql in CARRIED.items()}


def read_in(folder: Path, export: Path) -> dict[str, int]:
    """Read a file with the collector `import`, and nothing else."""
    clock = SystemClock()
    journal = open_journal(str(folder / "m.db"), clock)
    context = CollectorContext(
        name="import",
        collectors=frozenset({"transcripts", "apps", "import"}),
        intake=Intake(journal, PLUGINS),
        journal=journal,
        clock=clock,
        log=logging.LoggerAdapter(logging.getLogger("test"), {}),
    )
    collector = JsonlCollector(JsonlCollector.Options(path=export), context)
    try:
        asyncio.run(collector.run(once=True))
    finally:
        journal.close()
    return collector.counts
