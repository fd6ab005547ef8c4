from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import click
import pytest

from meter import hookimpl
from meter.errors import PluginError
from meter.hookspecs import hookspec
from meter.plugins import Plugins, Support, load_plugins
from meter.plugins.aside import within
from meter.sinks import Batch, Guarantee, Report, Sink
from support.plugging import NoOptions, Registers, plugin, plugins_with


class MySink(Sink):
    """A sink of a stranger's."""

    type = "mine"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = NoOptions

    def deliver(self, batch: Batch) -> Report:
        return Report.everything(batch)


def raising(error: BaseException) -> Callable[[], object]:
    def load() -> object:
        raise error

    return load


def test_meters_own_plugins_come_through_the_same_door() -> None:
    plugins = load_plugins()
    assert plugins.sinks.names() == ["csv", "http", "parquet", "sqlite", "stripe"]
    assert plugins.collectors.names() == ["ingest", "jsonl", "streaming", "webhook"]
    assert {p.distribution for p in plugins.plugins} == {"usage-meter"}
    assert [(p.error, p.warnings) for p in plugins.plugins] == [(None, [])] * 6


@pytest.mark.parametrize(
    "error", [ImportError("no such module\nsecond line"), SystemExit(3), RuntimeError()]
)
def test_a_plugin_that_breaks_on_loading_is_named_and_stops_no_other(error: BaseException) -> None:
    plugins = load_plugins()
    plugins.add(plugin("broken"), raising(error))
    plugins.add(plugin("mine"), lambda: Registers(MySink))
    assert plugins.sinks.resolve("mine").cls is MySink
    broken = next(p for p in plugins.plugins if p.name == "broken")
    assert broken.error is not None
    assert broken.error.startswith(type(error).__name__)
    assert "second line" not in broken.error


def test_an_entry_point_that_leads_nowhere_is_named() -> None:
    plugins = load_plugins([EntryPoint("gone", "no_such_module_at_all", "meter")])
    assert [(p.name, p.error) for p in plugins.plugins] == [
        ("gone", "ModuleNotFoundError: No module named 'no_such_module_at_all'")
    ]


def test_a_misspelt_hook_is_an_error_of_its_plugin() -> None:
    class Misspelt:
        @hookimpl
        def meter_registr_sinks(self) -> list[Any]:
            return []

    plugins = plugins_with(Misspelt(), Registers(MySink))
    assert "meter_registr_sinks" in str(plugins.plugins[-2].error)
    assert plugins.plugins[-1].error is None
    assert plugins.sinks.resolve("mine").cls is MySink


def test_two_plugins_with_one_type_are_an_error_that_names_both() -> None:
    plugins = Plugins()
    plugins.add(plugin("one"), lambda: Registers(MySink))
    plugins.add(plugin("two"), lambda: Registers(MySink))
    with pytest.raises(PluginError, match=r"one \(meter-one 1.0\) and two \(meter-two 1.0\)"):
        plugins.sinks.resolve("mine")
    assert plugins.sinks.names() == []


def test_one_name_used_by_two_distributions_loads_both() -> None:
    plugins = Plugins()
    first, second = plugin("same"), plugin("same")
    second.distribution = "another"
    plugins.add(first, lambda: Registers(MySink))
    plugins.add(second, Registers)
    assert (first.error, second.error) == (None, None)
    assert plugins.sinks.names() == ["mine"]


class NotASink:
    type = "odd"


class NoType(Sink):
    """Forgot to say what it is called."""

    Options = NoOptions

    def deliver(self, batch: Batch) -> Report:
        return Report.everything(batch)


@pytest.mark.parametrize(
    ("cls", "words"), [(NotASink, "not a class derived from Sink"), (NoType, "no `type`")]
)
def test_a_class_that_is_no_sink_is_refused_with_its_plugins_name(
    cls: type[Any], words: str
) -> None:
    plugins = plugins_with(Registers(cls))
    assert "sqlite" in plugins.sinks.names()
    assert words in str(plugins.plugins[-1].error)
    with pytest.raises(PluginError, match=r"plugin test0 \(meter-test0 1.0\) did not load"):
        plugins.sinks.resolve("odd")


def test_an_unknown_type_suggests_the_nearest() -> None:
    with pytest.raises(PluginError, match="did you mean 'sqlite'"):
        load_plugins().sinks.resolve("sqllite")
    with pytest.raises(PluginError, match="known: ingest, jsonl, streaming, webhook"):
        load_plugins().collectors.resolve("carrier-pigeon")


def test_a_plugin_adds_commands_and_a_broken_one_costs_only_its_own() -> None:
    class Adds:
        @hookimpl
        def meter_register_commands(self, cli: click.Group) -> None:
            cli.add_command(click.Command("mine"))

    class Breaks:
        @hookimpl
        def meter_register_commands(self, cli: click.Group) -> None:
            raise RuntimeError(f"no commands for {cli.name}")

    plugins = plugins_with(Breaks(), Adds())
    group = click.Group("meter")
    plugins.add_commands(group)
    assert list(group.commands) == ["stripe", "mine"]
    assert plugins.plugins[-2].error == "RuntimeError: no commands for meter"


def test_one_object_under_two_names_is_a_fault_of_the_second_only() -> None:
    same = Registers(MySink)
    plugins = Plugins()
    plugins.add(plugin("one"), lambda: same)
    plugins.add(plugin("two"), lambda: same)
    first, second = plugins.plugins
    assert first.error is None
    assert "already registered" in str(second.error)
    assert plugins.sinks.resolve("mine").plugin is first


# -- the version of the plugin API

SUPPORT = Support(newest=4, full=3, oldest=2)


def versioned(version: object) -> Plugins:
    """A meter of version 4, and a plugin that says it was written for this one."""
    written = Registers(MySink)
    if version is not None:
        written.meter_api_version = version  # type: ignore[attr-defined]  # a module would have it
    plugins = Plugins(support=SUPPORT)
    plugins.add(plugin("theirs"), lambda: written)
    return plugins


@pytest.mark.parametrize("version", [3, 4])
def test_a_plugin_for_a_version_that_is_fully_supported_is_not_warned_of(version: int) -> None:
    (theirs,) = versioned(version).plugins
    assert (theirs.error, theirs.warnings, theirs.api_version) == (None, [], version)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (2, "version 2 of meter's plugin API, which a later meter will refuse; update meter-th"),
        (5, "version 5 of meter's plugin API, and this meter knows versions 2 to 4"),
    ],
)
def test_a_plugin_for_an_older_or_a_newer_version_works_with_a_warning(
    version: int, words: str
) -> None:
    plugins = versioned(version)
    (theirs,) = plugins.plugins
    assert theirs.error is None
    (warning,) = theirs.warnings
    assert words in warning
    assert plugins.sinks.names() == ["mine"]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, "works with versions 2 to 4; update meter-theirs"),
        (None, "was written for version 1 of meter's plugin API"),
        ("3", "meter_api_version is '3'; expected a whole number"),
        (3.0, "meter_api_version is 3.0"),
        (True, "meter_api_version is True"),
    ],
)
def test_a_plugin_for_a_version_that_is_gone_or_is_none_does_not_load(
    version: object, words: str
) -> None:
    plugins = versioned(version)
    assert words in str(plugins.plugins[0].error)
    assert plugins.sinks.names() == []


def test_a_hook_of_a_version_to_come_is_told_with_what_to_do() -> None:
    class Tomorrow:
        meter_api_version = 5

        @hookimpl
        def meter_of_tomorrow(self) -> None:
            """Not known yet."""

    plugins = Plugins(support=SUPPORT)
    plugins.add(plugin("theirs"), Tomorrow)
    assert "unknown hook 'meter_of_tomorrow'" in str(plugins.plugins[0].error)
    assert "update usage-meter" in str(plugins.plugins[0].error)


def test_a_plugin_that_uses_what_will_go_is_warned_of_by_name() -> None:
    class Going:
        @hookspec(
            warn_on_impl_args={
                "old": DeprecationWarning("`old` goes with API version 2; use `new`")
            }
        )
        def meter_going(self, old: str, new: str) -> None:
            """A hook one argument of which will go."""

    class Uses:
        @hookimpl
        def meter_going(self, old: str) -> None:
            """Still takes it."""

    plugins = Plugins()
    plugins.manager.add_hookspecs(Going)
    plugins.add(plugin("theirs"), Uses)
    (theirs,) = plugins.plugins
    assert (theirs.error, theirs.warnings) == (None, ["`old` goes with API version 2; use `new`"])


# -- patience


@pytest.mark.parametrize(("given", "seconds"), [("3.5", 3.5), ("soon", 20), ("-1", 20), ("", 20)])
def test_how_long_a_plugin_may_take_is_the_operators_word(
    monkeypatch: pytest.MonkeyPatch, given: str, seconds: float
) -> None:
    monkeypatch.setenv("METER_PLUGIN_SECONDS", given)
    plugins = load_plugins(())
    assert plugins.patience == seconds
    assert bool(plugins.warnings) == (given in {"soon", "-1"})


def test_a_question_that_is_not_answered_is_given_up_with_the_plugins_name() -> None:
    release = threading.Event()
    with pytest.raises(PluginError, match=r"plugin slow \(meter-slow 1.0\) did not come back"):
        within(0.05, release.wait, plugin=plugin("slow"))
    release.set()
    assert within(60, lambda: "said", plugin=plugin("quick")) == "said"
    with pytest.raises(SystemExit):
        within(60, lambda: exec("raise SystemExit(3)"), plugin=plugin("leaving"))


def test_an_observer_that_hangs_is_left_behind_and_sees_the_rest_later() -> None:
    release, seen = threading.Event(), []

    class Watches:
        @hookimpl
        def meter_sink_parked(self, reason: str) -> None:
            release.wait(60)
            seen.append(reason)

    plugins = plugins_with(Watches())
    for number in range(50):
        plugins.notify("meter_sink_parked", sink_name="out", reason=str(number))
    assert seen == []
    assert plugins.catch_up(0.01) == ["test0 (meter-test0 1.0)"]
    release.set()
    assert plugins.catch_up(60) == []
    assert seen == [str(number) for number in range(50)]


def test_calls_that_there_is_no_room_for_are_lost_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release, seen = threading.Event(), []
    batch = Batch([None] * 9_999, [], 0)  # type: ignore[list-item]  # only how many they are counts

    class Watches:
        @hookimpl
        def meter_batch_delivered(self, sink_name: str) -> None:
            release.wait(60)
            seen.append(sink_name)

    plugins = plugins_with(Watches())
    for number in range(7):
        plugins.notify("meter_batch_delivered", sink_name=str(number), batch=batch, report=Report())
    told = [r.error for r in caplog.records if r.message == "plugin.observer_behind"]  # type: ignore[attr-defined]  # from `extra`
    assert [text.split()[-4] for text in told] == ["1", "2", "4"]
    release.set()
    assert plugins.catch_up(60) == []
    assert seen == ["0", "1"]
