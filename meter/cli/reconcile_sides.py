"""Which sides `meter reconcile` compares, one after the other; one that fails stops no other."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.arguments import UNSET
from meter.errors import ConfigurationError, JournalError, SinkError

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import Config, SinkConfig
    from meter.journal import Journal
    from meter.plugins import Plugins
    from meter.reports.reconciling import Difference, Side, Window
    from meter.reports.reconciling.provider_side import Key
    from meter.reports.reconciling.records import Entry
    from meter.reports.reconciling.scratch import Pile, Scratch
    from meter.reports.reconciling.usage_mapping import UsageMapping
    from meter.sinks import Comparison, Discrepancy, Sink

__all__ = ["Asked", "Compared", "Sides"]

UNREADABLE: Final = "cannot be read back: its type offers no way"


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants compared.

    Attributes:
        window: usage of which time.
        collectors, sinks: only these; none of either: everything that the file has.
        usage_file: JSON of AssemblyAI's own tool; `mapping` says which field says what.
        every: ask AssemblyAI for each job, at the most `per_second`.
    """

    window: Window
    collectors: tuple[str, ...]
    sinks: tuple[str, ...]
    usage_file: Path | None
    mapping: Path | None
    every: bool
    per_second: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One side with what the telling needs of it.

    Attributes:
        sink: the sink, where it is one.
        comparison: what a sink found that compares sums by itself.
    """

    side: Side
    sink: SinkConfig | None = None
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """What every comparison works with."""

    scratch: Scratch
    journal: Journal
    entries: Pile[Entry]
    say: Callable[[str], None]


class Sides:
    """The sides of one pipelines file."""

    def __init__(self, config: Config, plugins: Plugins, clock: Clock, asked: Asked) -> None:
        """Choose what is compared; nothing is read yet.

        Raises:
            ConfigurationError: a name that the file does not have, a variable that is not set, or
                a mapping that cannot be used.
        """
        from meter.collectors.webhook import WebhookCollector
        from meter.commands.nearest import named
        from meter.reports.reconciling.usage_mapping import UsageMapping, read_mapping

        self._plugins = plugins
        self._config = config
        self._clock = clock
        self._asked = asked
        everything = not (asked.collectors or asked.sinks)
        lists = [
            name
            for name, entry in config.collectors.items()
            if issubclass(entry.extension.cls, WebhookCollector)
        ]
        for name in asked.collectors:
            if named(name, config.collectors, "collector", config.path) not in lists:
                kind = config.collectors[name].type
                raise click.UsageError(
                    f"{name} is of type {kind}: only a webhook collector has a list to compare"
                )
        self._lists = [n for n in lists if everything or n in asked.collectors]
        for name in asked.sinks:
            named(name, config.sinks, "sink", config.path)
        self._sinks = [n for n in config.sinks if everything or n in asked.sinks]
        self._mapping: UsageMapping = (
            UsageMapping() if asked.mapping is None else read_mapping(asked.mapping)
        )
        if asked.usage_file is not None and not asked.usage_file.is_file():
            raise ConfigurationError(f"{asked.usage_file}: no such file")
        self._check_secrets()

    def compare(self, scratch: Scratch, journal: Journal) -> list[Compared]:
        """Compare every side, and return what became of each: the journal first.

        Raises:
            JournalError: the journal cannot be read.
        """
        from meter.reports.reconciling import Side
        from meter.reports.reconciling.journal_side import laid_out

        with _progress() as say:
            side = Side("journal", "", "journal")
            entries = laid_out(scratch, journal, side, self._asked.window, self._sinks, say)
            self._leave_out(side, entries)
            work = _Work(scratch, journal, entries, say)
            found = [Compared(side)]
            if self._asked.usage_file is not None:  # first: its mapping may have to be corrected
                found.append(self._usage(work, self._asked.usage_file))
            found += self._provider(work)
            found += [self._sink(work, name, letter) for letter, name in enumerate(self._sinks)]
        return found

    # -- AssemblyAI ------------------------------------------------------------------------

    def _provider(self, work: _Work) -> Iterator[Compared]:
        """Compare the list of each key; collectors that share one are one side."""
        from meter.collectors.assemblyai_client import Api
        from meter.collectors.jobs import OurJobs
        from meter.reports.reconciling import Side
        from meter.reports.reconciling.provider_side import Key

        keys: dict[tuple[str, str], dict[str, OurJobs]] = {}
        for name in self._lists:
            options: Any = self._config.collectors[name].options
            key = options.api_key.get_secret_value(), options.base_url.rstrip("/")
            keys.setdefault(key, {})[name] = OurJobs(options.path, options.public_url)
        for collectors in keys.values():
            options = self._config.collectors[next(iter(collectors))].options
            side = Side(", ".join(collectors), "AssemblyAI's list", "provider")
            work.say(f"{side.name}: asking AssemblyAI")
            with _failing(side):
                api = Api(options.api_key, options.base_url)
                asyncio.run(self._list(work, side, Key(api, collectors)))
            yield Compared(side)

    async def _list(self, work: _Work, side: Side, key: Key) -> None:
        from meter.reports.reconciling.provider_side import TranscriptList

        asked = self._asked
        try:
            lists = TranscriptList(
                *(work.scratch, work.journal, side, key),
                clock=self._clock,
                window=asked.window,
                tell=work.say,
            )
            await lists.compare(work.entries, every=asked.every, per_second=asked.per_second)
        finally:
            await key.api.close()

    def _usage(self, work: _Work, path: Path) -> Compared:
        from meter.reports.reconciling import Side
        from meter.reports.reconciling.usage_side import UsageFile

        side = Side(path.name, "AssemblyAI's usage", "usage")
        file = UsageFile(
            *(work.scratch, work.journal, side, path, self._mapping),
            window=self._asked.window,
            tell=work.say,
        )
        file.compare(work.entries)
        return Compared(side)

    def _leave_out(self, side: Side, entries: Pile[Entry]) -> None:
        """Note what no list of AssemblyAI's has, so that nobody believes it was compared."""
        if not self._lists:
            return
        for entry in entries:
            if entry.kind.startswith("stream"):
                if self._asked.usage_file is None:
                    why = "streaming sessions: no list has them, --usage compares them"
                    side.left_out[why] += 1
            elif entry.collector not in self._lists:
                side.left_out[f"of the collector {entry.collector}, which has no list"] += 1

    # -- sinks -----------------------------------------------------------------------------

    def _sink(self, work: _Work, name: str, letter: int) -> Compared:
        from meter.delivery.contexts import unopened
        from meter.reports.reconciling import Side
        from meter.reports.reconciling.sink_side import compare_rows, count_in_flight

        entry, journal = self._config.sinks[name], work.journal
        side = Side(name, entry.type, "sink")
        window = self._asked.window
        comparison: Comparison | None = None
        work.say(f"{name}: reading")
        if journal.exceptions.sink(name) is None:
            side.notes.append("it never ran: nothing was delivered to it yet")
        with _failing(side), redirect_stdout(sys.stderr):  # standard output is the command's own
            sink: Sink = unopened(entry, journal=journal, clock=self._clock)
            if sink.written(window.since, window.until) is not None:
                compare_rows(
                    *(work.scratch, journal, side, sink.written),
                    entries=work.entries,
                    letter=letter,
                    window=window,
                    tell=lambda words: work.say(f"{name}: {words}"),
                )
            else:
                count_in_flight(side, work.entries, letter)
                comparison = self._sums(work, side, entry, sink)
        if comparison is None and not side.compared and side.state == "compared":
            side.state, side.reason = "unreadable", UNREADABLE
        return Compared(side, entry, comparison)

    def _sums(self, work: _Work, side: Side, entry: SinkConfig, sink: Sink) -> Comparison | None:
        """Have a sink compare its sums by itself, and note what it finds."""
        from meter.commands import SinkDesk

        desk = SinkDesk(
            *(self._config, entry),
            journal=work.journal,
            plugins=self._plugins,
            clock=self._clock,
            looking=True,
        )
        found = sink.compared(desk, self._asked.window.since, self._asked.window.until)
        if found is not None:
            side.compared, side.entries = found.scope, found.figures
            side.notes += found.notes
            for each in found.discrepancies:
                work.scratch.note(side, _difference(side, each))
        return found

    def _check_secrets(self) -> None:
        """Refuse to compare with a key that is not set.

        Raises:
            ConfigurationError: it names every variable.
        """
        lacking = []
        for name in self._lists:
            key = self._config.collectors[name].options.api_key.get_secret_value()
            if key.startswith(UNSET):
                lacking.append(f"collectors.{name}.api_key: {key.strip()}")
        for name in self._sinks:
            entry = self._config.sinks[name]
            if not any(_offers(entry.extension.cls, each) for each in ("written", "compared")):
                continue
            for option in type(entry.options).model_fields:
                value = getattr(entry.options, option)
                text = value.get_secret_value() if hasattr(value, "get_secret_value") else ""
                if text.startswith(UNSET):
                    lacking.append(f"sinks.{name}.{option}: {text.strip()}")
        if lacking:
            raise ConfigurationError(
                "\n".join([*lacking, "set it, or say with --collector and --sink what to compare"])
            )


def _difference(side: Side, found: Discrepancy) -> Difference:
    """Return what a sink found by itself as a difference like any other."""
    from meter.reports.reconciling import Difference

    delivered, counted = (
        "" if figure is None else f"{figure:f} {found.unit}{'' if figure == 1 else 's'}"
        for figure in (found.delivered, found.counted)
    )
    more = None
    if found.delivered is not None and found.counted is not None and found.unit == "second":
        more = found.counted - found.delivered
    return Difference(
        *(side.name, "differs", ", ".join(found.event_ids), found.whose),
        field=" ".join(part for part in (found.what, found.when) if part),
        journal=delivered,
        there=counted,
        seconds=more,
        place=found.words,
    )


def _offers(cls: type[Sink], method: str) -> bool:
    """Tell whether a sink has a method of its own for this."""
    from meter.sinks import Sink

    return getattr(cls, method) is not getattr(Sink, method)


@contextmanager
def _failing(side: Side) -> Iterator[None]:
    """Note why a side cannot be compared, and go on with the next."""
    from meter.collectors.assemblyai_client import ApiError
    from meter.delivery.outcomes import describe

    try:
        yield
    except (ConfigurationError, JournalError):
        raise
    except (ApiError, SinkError) as error:
        side.fail(str(error) or type(error).__name__)
    except Exception as error:  # noqa: BLE001  because a plugin may raise anything
        side.fail(f"{side.type}: {describe(error)}")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Give what shows progress: on a terminal only, on one line that is gone in the end."""
    if not sys.stderr.isatty():
        yield lambda _words: None
        return
    from meter.commands.tables import one_line

    def say(words: str) -> None:
        click.echo(f"\r\x1b[K{words and '  ' + one_line(words)[:100]}", err=True, nl=False)

    try:
        yield say
    finally:
        say("")
