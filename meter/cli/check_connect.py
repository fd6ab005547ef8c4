"""`meter check --connect`: let every collector and sink try its keys, addresses and paths."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meter.cli.check_findings import Finding, findings_of
from meter.cli.check_places import journal_findings, server_findings

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import CollectorConfig, Config, SinkConfig
    from meter.journal import Journal
    from meter.plugins import Plugins

__all__ = ["connect"]

CONNECT_PATIENCE: Final = 6
"""A sink that tries its keys and addresses may take so many times the plugins' patience."""


def connect(config: Config, plugins: Plugins, asking: Callable[[str], None]) -> Iterator[Finding]:
    """Try everything that a pipelines file names; changes nothing, here or elsewhere.

    Args:
        config: the file.
        plugins: of this process.
        asking: told, such as `sinks.billing`, before each question that may take a while.
    """
    from meter.clock import SystemClock

    clock = SystemClock()
    yield from journal_findings(config)
    yield from server_findings(config)
    with _journal(config, clock) as (journal, trouble):
        if trouble is not None:
            yield Finding("journal", "wrong", trouble)
        for name, collector in config.collectors.items():
            asking(f"collectors.{name}")
            said = _Said(collector, _collector_check(collector, config, plugins, journal, clock))
            yield from said.findings(f"collectors.{name}", config, plugins)
        for name, sink in config.sinks.items():
            asking(f"sinks.{name}")
            said = _Said(sink, _sink_check(sink, journal, clock))
            yield from said.findings(f"sinks.{name}", config, plugins)


def _sink_check(
    entry: SinkConfig, journal: Journal, clock: Clock
) -> Callable[[], Iterable[str] | None]:
    def check() -> Iterable[str] | None:
        from meter.delivery.contexts import unopened

        return unopened(entry, journal=journal, clock=clock).check()

    return check


def _collector_check(
    entry: CollectorConfig, config: Config, plugins: Plugins, journal: Journal, clock: Clock
) -> Callable[[], Iterable[str] | None]:
    def check() -> Iterable[str] | None:
        import logging

        from meter.collectors import CollectorContext
        from meter.collectors.intake import Intake
        from meter.logs import FieldLogger

        context = CollectorContext(
            name=entry.name,
            collectors=frozenset(config.collectors),
            intake=Intake(journal, plugins),
            journal=journal,
            clock=clock,
            log=FieldLogger(logging.getLogger("meter.collectors"), {"collector": entry.name}),
        )
        cls = entry.extension.cls
        # A stranger's class need not derive from ours, and this method is newer than others.
        return cls(entry.options, context).check() if hasattr(cls, "check") else ()

    return check


class _Said:
    """What a collector or sink says, kept line by line: an error or a hang loses none of them."""

    def __init__(
        self, entry: CollectorConfig | SinkConfig, check: Callable[[], Iterable[str] | None]
    ) -> None:
        self._entry = entry
        self._check = check
        self._lines: list[str] = []

    def findings(self, what: str, config: Config, plugins: Plugins) -> list[Finding]:
        """Ask, within a time, and return what was found."""
        error = self._ask(CONNECT_PATIENCE * plugins.patience)
        lines = tuple(self._lines)  # a thread that was given up may still add to them
        return findings_of(what, lines, error, file=config.path, options=self._entry.options)

    def _ask(self, seconds: float) -> str | None:
        """Return what is wrong; None when nothing is."""
        from meter.delivery.outcomes import describe
        from meter.errors import CollectorError, PluginError, SinkError
        from meter.plugins.aside import within

        plugin = self._entry.extension.plugin
        try:
            with redirect_stdout(sys.stderr):  # standard output belongs to the findings
                within(seconds, self._listen, plugin=plugin)
        except PluginError as error:
            return describe(error)
        except (CollectorError, SinkError) as error:
            return str(error) or type(error).__name__
        except BaseException as error:  # noqa: BLE001  because a plugin may raise anything, in its own thread
            return f"plugin {plugin}: {describe(error)}"
        return None

    def _listen(self) -> None:
        said = self._check() or ()
        for line in (said,) if isinstance(said, str) else said:
            self._lines.append(str(line))


@contextmanager
def _journal(config: Config, clock: Clock) -> Iterator[tuple[Journal, str | None]]:
    """Give the journal that sinks read their state from, and why it is not the real one.

    Before the first run, and where the real one cannot be opened, it is an empty one.
    """
    from tempfile import TemporaryDirectory

    from meter.errors import JournalError
    from meter.journal import open_journal

    with TemporaryDirectory(prefix="meter-check-") as folder:
        empty = str(Path(folder) / "empty.db")
        trouble = None
        try:
            there = Path(config.journal).exists()
            journal = open_journal(config.journal if there else empty, clock)
        except JournalError as error:
            trouble = str(error)
            journal = open_journal(empty, clock)
        try:
            yield journal, trouble
        finally:
            journal.close()
