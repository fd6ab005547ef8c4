from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import click
import pytest

from meter import hookimpl
from meter.errors import PluginError
from meter.plugins import Plugins, load_plugins
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
    assert plugins.sinks.names() == ["csv", "sqlite", "stripe"]
    assert plugins.collectors.names() == ["ingest", "jsonl", "streaming", "webhook"]
    assert {p.distribution for p in plugins.plugins} == {"usage-meter"}
    assert [p.error for p in plugins.plugins] == [None] * 4


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
