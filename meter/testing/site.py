"""A folder with a pipelines file and a journal in it, as a user of the sink would have."""

from __future__ import annotations

import functools
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import yaml

from meter.config import Config, load_config
from meter.events import BILLED_KINDS
from meter.journal import open_journal
from meter.plugins import Plugin, Plugins, load_plugins
from meter.testing.events import COLLECTOR

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.events import Event
    from meter.journal import Journal, JournalTotals
    from meter.sinks import Sink

T = TypeVar("T")

__all__ = ["SINK", "Site", "plugins_with", "sink_class_of"]

SINK: Final = "out"
"""The name of the sink under test in the pipelines file."""


class Site:
    """A pipelines file with the sink under test, and its journal.

    Args:
        folder: where both lie; made if it is not there.
        sinks: the entries under `sinks:` by name, as in the file.
        kinds: which kinds of event the pipeline takes.
        collectors: the entries under `collectors:`; by default one that finds nothing.
    """

    def __init__(
        self,
        folder: Path,
        sinks: Mapping[str, Mapping[str, Any]],
        *,
        kinds: Sequence[str] = BILLED_KINDS,
        collectors: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "pipelines.yaml"
        self.journal_file = folder / "meter.db"
        (folder / "nothing.jsonl").touch()
        if collectors is None:
            collectors = {COLLECTOR: {"type": "jsonl", "path": "nothing.jsonl"}}
        document = {
            "journal": self.journal_file.name,
            "collectors": {name: dict(entry) for name, entry in collectors.items()},
            "sinks": {name: dict(entry) for name, entry in sinks.items()},
            "pipelines": {
                "usage": {"from": list(collectors), "to": list(sinks), "kinds": list(kinds)}
            },
        }
        text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
        self.file.write_text(text, encoding="utf-8")

    def config(self, plugins: Plugins) -> Config:
        """Read the file as every command does.

        Raises:
            ConfigurationError: `sink_config` is not what the sink accepts; the text says why.
        """
        return load_config(self.file, plugins, environ=os.environ)

    def open_journal(self, clock: Clock) -> Journal:
        """Open the journal, beside whatever runs on it."""
        return open_journal(str(self.journal_file), clock)

    def record(self, events: Sequence[Event], clock: Clock) -> None:
        """Record events, and let go of the journal."""
        self._with_journal(clock, lambda journal: journal.append(events).wait())

    def totals(self, clock: Clock) -> JournalTotals:
        """Count what the journal holds."""
        return self._with_journal(clock, lambda journal: journal.totals())

    def quarantine_reasons(self) -> list[str]:
        """Return why each thing waits in quarantine, stripped."""
        with closing(sqlite3.connect(self.journal_file)) as journal:
            rows = journal.execute("SELECT reason FROM quarantine WHERE state = 'open'").fetchall()
        return [str(reason or "").strip() for (reason,) in rows]

    def delivered(self, clock: Clock, events: Sequence[Event]) -> list[Event]:
        """Return those of the events that the journal takes for delivered to the sink."""

        def places(journal: Journal) -> list[Event]:
            return [
                event
                for event in events
                for place in journal.exceptions.places(event.event_id)
                if place.sink == SINK and place.state == "delivered"
            ]

        return self._with_journal(clock, places)

    def _with_journal(self, clock: Clock, work: Callable[[Journal], T]) -> T:
        journal = self.open_journal(clock)
        try:
            return work(journal)
        finally:
            journal.close()


def plugins_with(*added: object) -> Plugins:
    """Load the installed plugins as meter does, and add objects with hooks of a test's own."""
    plugins = load_plugins()
    for number, hooks in enumerate(added):
        name = f"test{number}"
        plugins.add(Plugin(name, "meter-testing", "0", "meter.testing"), lambda h=hooks: h)  # type: ignore[misc]  # because mypy cannot infer a lambda's default
    return plugins


def sink_class_of(sink_config: Mapping[str, Any]) -> type[Sink]:
    """Return the class behind `type:`, found by its entry point as meter finds it.

    Raises:
        PluginError: no installed plugin offers the type, or more than one does.
    """
    return _sink_class(str(sink_config.get("type")), tuple(sys.path))


@functools.cache
def _sink_class(sink_type: str, path: tuple[str, ...]) -> type[Sink]:
    """Look once for each type: every case asks, and what is installed stays."""
    del path  # where packages are found, entry points are found
    return load_plugins().sinks.resolve(sink_type).cls
