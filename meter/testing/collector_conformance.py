"""The conformance kit for collectors.

    class TestMyCollector(CollectorConformance):
        @pytest.fixture
        def collector_config(self, tmp_path):
            fill(tmp_path / "usage")
            return {"type": "mycollector", "folder": str(tmp_path / "usage")}

        @pytest.fixture
        def expected(self):
            return [Row("other:transcript:1", "acme", Decimal("12.5")), …]

        @pytest.fixture
        def spoil(self, tmp_path):
            def spoil():
                (tmp_path / "usage" / "bad").write_text("not a fact")
                return 1
            return spoil

The source must hold ten facts or more. `spoil` puts something malformed into it, and answers how
much; where nothing can be malformed, `exemptions` of the collector names that case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest

from meter.clock import SystemClock
from meter.errors import ConfigurationError
from meter.testing.case import Kit, case, exemption_faults, require
from meter.testing.children import Children, Ended, nursery_of
from meter.testing.declaration_cases import undocumented
from meter.testing.events import COLLECTOR
from meter.testing.rows import Row, differences
from meter.testing.secrets import leaks, secret_values, undeclared
from meter.testing.site import SINK, Site, plugins_with

if TYPE_CHECKING:
    from meter.events import Event
    from meter.sinks import Options

__all__ = ["CollectorConformance"]

LEAST: Final = 10
"""Facts that a source must hold, so that there is a middle to die in."""
PLACES: Final = (2, 5, 11, 17, 23)
"""At which new place in the collector's code it dies, one run after the other."""


class CollectorConformance(Kit):
    """Every case that a collector must pass; see the module.

    Attributes:
        child_seconds: how long one child process may take.
    """

    child_seconds: ClassVar[float] = 60.0

    collector_class: type[Any]
    options: Options

    @pytest.fixture
    def collector_config(self) -> Mapping[str, Any]:
        """The entry as it stands under `collectors:`, of a source that is filled."""
        pytest.fail("write the fixture `collector_config`: the entry under `collectors:`")

    @pytest.fixture
    def expected(self) -> Sequence[Row]:
        """What the source holds: a row for each event that should come of it."""
        pytest.fail("write the fixture `expected`: a Row with event_id for each event to come")

    @pytest.fixture
    def spoil(self) -> Callable[[], int] | None:
        """Puts malformed input into the source, among the good, and answers how much; write it."""
        return None

    @pytest.fixture
    def site(
        self, tmp_path_factory: pytest.TempPathFactory, collector_config: Mapping[str, Any]
    ) -> Site:
        """A pipelines file with the collector, and a sink that keeps what it finds."""
        return _site(tmp_path_factory, collector_config)

    @pytest.fixture
    def run(self, request: pytest.FixtureRequest, site: Site) -> Callable[..., Ended]:
        """Runs `meter run --once` in a child."""
        children = Children(
            nursery_of(request.config, self.collector_class), site, "", seconds=self.child_seconds
        )
        package = self.collector_class.__module__.partition(".")[0]

        def run(*arguments: str, **plan: Any) -> Ended:
            return children.run(*arguments, package=package, **plan)

        return run

    @pytest.fixture(autouse=True)
    def _begin(
        self,
        request: pytest.FixtureRequest,
        site: Site,
        collector_config: Mapping[str, Any],
        expected: Sequence[Row],
    ) -> None:
        plugins = plugins_with()
        found = plugins.collectors.resolve(str(collector_config.get("type")))
        self.collector_class = found.cls
        self.item = request.node.name
        self.exempted = dict(found.cls.exemptions)
        self.options = site.config(plugins).collectors[COLLECTOR].options
        require(len(expected) >= LEAST, f"`expected`: {LEAST} rows or more, got {len(expected)}")
        require(all(row.event_id for row in expected), "`expected`: every row needs its event_id")

    @case
    def test_each_fact_becomes_one_event(
        self, site: Site, run: Callable[..., Ended], expected: Sequence[Row]
    ) -> None:
        """Finds what is lost, invented, or doubled when the source is read again."""
        for _ in range(2):
            ended = run()
            require(ended.returncode == 0, f"`meter run --once`: {ended.words()}")
            require(_unlike(site, expected), "the journal differs from the source:")

    @case
    def test_its_events_are_valid_and_the_same_for_every_reader(
        self,
        site: Site,
        run: Callable[..., Ended],
        collector_config: Mapping[str, Any],
        tmp_path_factory: pytest.TempPathFactory,
        request: pytest.FixtureRequest,
    ) -> None:
        """Finds ids made of chance or of the clock, and times or seconds that are not exact."""
        other = _site(tmp_path_factory, collector_config)
        run()
        Children(
            nursery_of(request.config, self.collector_class), other, "", seconds=self.child_seconds
        ).run()
        first, second = (
            {event.event_id: event for event in _events(place)} for place in (site, other)
        )
        require(bool(first) and first.keys() == second.keys(), "two readings give other event ids")
        told = [
            f"{event_id}: two readings differ in customer, seconds, dimensions or occurred_at"
            for event_id, event in first.items()
            if not _alike(event, second[event_id])
        ]
        for event in first.values():
            seconds: Any = event.billed_seconds
            if seconds is not None and not isinstance(seconds, Decimal):
                told.append(f"{event.event_id}: seconds are no Decimal")
            if event.occurred_at.tzinfo is not UTC or event.recorded_at.tzinfo is not UTC:
                told.append(f"{event.event_id}: a time is not in UTC")
            if event.collector != COLLECTOR:
                told.append(f"{event.event_id}: collector is {event.collector!r}, not its name")
        require(told, "events that do not hold:")

    @case
    def test_killed_on_the_way_it_loses_and_doubles_nothing(
        self, site: Site, run: Callable[..., Ended], expected: Sequence[Row]
    ) -> None:
        """Finds a cursor that moves before the facts are recorded."""
        died = []
        plans = [("new place", number) for number in PLACES]
        for kill, nth in (*plans, ("recorded", 1), ("recorded", len(expected) // 2)):
            where = run(kill=kill, nth=nth).killed_at
            if where is not None:
                died.append(where)
        require(bool(died), "it was never killed: not a line of its code was run")
        ended = run()
        require(ended.returncode == 0, f"`meter run --once`: {ended.words()}")
        require(_unlike(site, expected), f"killed at {', '.join(died)}:")

    @case
    def test_malformed_input_is_set_aside_and_counted(
        self,
        site: Site,
        run: Callable[..., Ended],
        expected: Sequence[Row],
        spoil: Callable[[], int] | None,
    ) -> None:
        """Finds one bad record that stops the good ones, or vanishes without a trace."""
        if spoil is None:
            raise AssertionError(
                "write the fixture `spoil`: it puts malformed input into the source; if nothing "
                "can be malformed there, exempt this case with a sentence"
            )
        count = spoil()
        for _ in range(2):
            ended = run()
            require(_unlike(site, expected), "with malformed input beside them:")
            aside = site.totals(SystemClock()).quarantined
            require(
                sum(aside.values()) == count,
                f"{count} malformed inputs, and {dict(aside)} in quarantine; {ended.words()}",
            )
        require(all(site.quarantine_reasons()), "something is in quarantine without a reason")

    @case
    def test_no_secret_is_in_any_output(
        self, site: Site, run: Callable[..., Ended], collector_config: Mapping[str, Any]
    ) -> None:
        """Finds a key in the log, the journal, a representation or a command."""
        require(undeclared(self.collector_class.Options), "options:")
        secrets = secret_values(self.options, collector_config)
        if not secrets:
            return
        texts: dict[str, str | bytes] = {"repr of the options": repr(self.options)}
        texts["`meter run --once`"] = run().output
        for words in (("check", "--connect"), ("status",)):
            texts[f"`meter {' '.join(words)}`"] = run(*words, str(site.file)).output
        for file in site.folder.glob("meter.db*"):
            texts[f"the journal ({file.name})"] = file.read_bytes()
        require(leaks(secrets, texts), "secrets in plain sight:")

    @case
    def test_its_options_are_documented(self) -> None:
        """Finds an option without a description, and a default that nobody can read."""
        require(undocumented(self.collector_class.Options), "options that a user cannot read:")

    @case
    def test_an_unknown_option_is_refused(
        self, tmp_path_factory: pytest.TempPathFactory, collector_config: Mapping[str, Any]
    ) -> None:
        """Finds a collector that takes a misspelt option silently."""
        site = _site(tmp_path_factory, {**collector_config, "no_such_option_": "x"})
        with pytest.raises(ConfigurationError, match="no_such_option_"):
            site.config(plugins_with())

    def test_its_exemptions_are_sentences_for_cases_that_exist(self) -> None:
        """Finds an exemption for nothing; this one cannot be exempted."""
        require(exemption_faults(self.exempted, self.cases()), "`exemptions` is wrong:")


def _site(factory: pytest.TempPathFactory, entry: Mapping[str, Any]) -> Site:
    folder: Path = factory.mktemp("site")
    sinks = {SINK: {"type": "sqlite", "path": "kept.db"}}
    return Site(folder, sinks, collectors={COLLECTOR: entry})


def _events(site: Site) -> list[Event]:
    journal = site.open_journal(SystemClock())
    try:
        return [stored.event for stored in journal.read(0, journal.head())]
    finally:
        journal.close()


def _unlike(site: Site, expected: Sequence[Row]) -> list[str]:
    """Say how the journal differs from what the source holds."""
    events = _events(site)
    by_id = {event.event_id: event for event in events}
    wanted = {row.event_id for row in expected}
    told = [f"{row.event_id} is missing" for row in expected if row.event_id not in by_id]
    told += [f"{event_id} is there, and not in the source" for event_id in by_id.keys() - wanted]
    known = [row for row in expected if row.event_id in by_id]
    return told or differences(known, events)


def _alike(one: Event, other: Event) -> bool:
    return (
        one.same_substance(other)
        and one.dimensions == other.dimensions
        and one.occurred_at == other.occurred_at
    )
