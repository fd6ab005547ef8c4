"""A folder with a pipelines file, usage, and sinks of a test's own beside meter's."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from click.testing import CliRunner, Result

from meter import hookimpl
from meter.cli import cli
from meter.clock import SystemClock
from meter.config import load_config
from meter.errors import RetryableSinkError
from meter.events import Event
from meter.journal import open_journal
from meter.sinks import Batch, Guarantee, Options, Report, Sink, Written
from meter.testing.bench import SteppedWorker
from support.facts import NOON, completed, terminated
from support.plugging import plugins_with

FILE = """
journal: m.db
collectors: {apps: {type: ingest, secret: "${NOT_SET_HERE}"}}
sinks:
  ledger: {type: sqlite, path: usage.db}
  export: {type: csv, path: "exports/{customer_id}.csv"}
pipelines: {usage: {from: apps, to: [ledger, export]}}
"""
T, S = "assemblyai:transcript:", "assemblyai:session:"
EVENTS: list[Event] = [
    *(
        completed(f"t-{n}", collector="apps", occurred_at=NOON + timedelta(hours=n))
        for n in range(8)
    ),
    *(terminated(f"s-{n}", seconds=Decimal("61.5"), customer_id="=évil\x1b[2J") for n in range(3)),
]  # fmt: skip


class Broken(Sink):
    """Says that it can be read, and cannot."""

    type = "broken"
    guarantee = Guarantee.AT_LEAST_ONCE
    guarantee_note = "not"
    Options = Options

    def deliver(self, batch: Batch) -> Report:
        return Report.everything(batch)

    def written(self, since: object, until: object) -> Iterator[Written]:
        del since, until
        print("a plugin may print")  # noqa: T201  because that must not reach the data
        yield Written(EVENTS[0].event_id)
        raise RetryableSinkError("the warehouse sleeps")


class Silent(Broken):
    """Offers no way to read it back."""

    type = "silent"

    def written(self, since: object, until: object) -> None:  # type: ignore[override]  # because it has no rows
        del since, until


class Racing(Broken):
    """Has other rows each time that it is read: things happen meanwhile."""

    type = "racing"
    rows: ClassVar[list[Written]] = []
    turns: ClassVar[list[list[Callable[[], None]]]] = []

    def written(self, since: object, until: object) -> Iterator[Written]:
        del since, until
        for happens in self.turns.pop(0):
            happens()
        yield from self.rows


class Registered:
    @hookimpl
    def meter_register_sinks(self) -> list[type[Sink]]:
        return [Broken, Silent, Racing]


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = plugins_with(Registered())
        self.file(FILE)

    def file(self, text: str) -> None:
        (self.folder / "pipelines.yaml").write_text(text)

    def deliver(self, *events: Event) -> None:
        config = load_config(
            self.folder / "pipelines.yaml", self.plugins, environ={"NOT_SET_HERE": "x"}
        )
        with closing(open_journal(str(self.folder / "m.db"), SystemClock())) as journal:
            if events:
                journal.append(events).wait()
            for entry in config.sinks.values():
                worker = SteppedWorker(
                    *(entry, config.pipelines.values()),
                    journal=journal, plugins=self.plugins, clock=SystemClock(),
                )  # fmt: skip
                while worker.step():
                    pass
                worker.close()

    def sql(self, words: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.folder / "usage.db", isolation_level=None)) as db:
            db.execute(words, values)

    def within(self, *arguments: str, exits: int = 0) -> Result:
        with contextlib.chdir(self.folder):
            ran = CliRunner().invoke(cli, ["reconcile", *arguments], obj=self.plugins)
        assert ran.exit_code == exits, ran.output
        assert "Traceback" not in ran.output
        return ran

    def json(self, *arguments: str, exits: int = 0) -> Any:
        ran = self.within("--format", "json", *arguments, exits=exits)
        return json.loads(ran.stdout)

    def told(self, *arguments: str, exits: int = 1) -> set[tuple[str, str, str]]:
        found = self.json(*arguments, exits=exits)["differences"]
        return {
            (d["side"], " ".join([d["difference"], d["field"]]).strip(), d["event_id"])
            for d in found
        }

    def side(self, name: str, *arguments: str, exits: int = 0) -> Any:
        (found,) = [s for s in self.json(*arguments, exits=exits)["sides"] if s["name"] == name]
        return found
