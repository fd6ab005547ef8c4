"""A fault of a plugin is told from a fault of the file: another exit code, another thing to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meter import sinks
from meter.config import Config, ConfigFaults, PluginFaults
from meter.sinks import Batch, Guarantee, Report, Sink

Load = Callable[..., Config]

SMALL = """\
collectors: {live: {type: streaming}}
sinks: {rows: {type: ledger, path: usage.db}}
pipelines: {usage: {from: live, to: rows}}
"""


class _Quiet(Sink):
    type = "quiet"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = sinks.Options

    def deliver(self, batch: Batch) -> Report:
        return Report.everything(batch)


class _Breaking(_Quiet):
    type = "breaking"

    class Options(sinks.Options):
        def model_post_init(self, _context: Any, /) -> None:
            raise ZeroDivisionError("secret")


class _Strange(_Quiet):
    type = "strange"
    Options = dict  # type: ignore[assignment]  # what is wrong with it


def test_an_ambiguous_type_is_the_fault_of_plugins(
    load: Load, add_plugin: Callable[..., None]
) -> None:
    add_plugin("other", sinks=[_Quiet])
    add_plugin("third", sinks=[_Quiet])

    with pytest.raises(PluginFaults, match="'quiet' is registered by other") as caught:
        load(SMALL.replace("type: ledger", "type: quiet"))
    assert caught.value.exit_code == 3
    with pytest.raises(ConfigFaults) as mixed:
        load(SMALL.replace("type: ledger", "type: quiet").replace("from:", "form:"))
    assert mixed.value.exit_code == 2


def test_a_broken_plugin_is_fatal_only_when_the_file_uses_it(
    load: Load, break_plugin: Callable[[str], None]
) -> None:
    break_plugin("parquet")

    assert load(SMALL).sinks
    with pytest.raises(PluginFaults, match=r"plugin parquet .* did not load: ImportError"):
        load(SMALL.replace("type: ledger", "type: parquet"))
    with pytest.raises(ConfigFaults, match="did you mean 'ledger'") as misspelt:
        load(SMALL.replace("type: ledger", "type: leger"))
    assert misspelt.value.exit_code == 2


def test_options_that_break_are_the_fault_of_their_plugin(
    load: Load, add_plugin: Callable[..., None]
) -> None:
    add_plugin("other", sinks=[_Breaking, _Strange])

    with pytest.raises(PluginFaults, match=r"dist-other 1.0\): its options raised ZeroDivisionE"):
        load(SMALL.replace("type: ledger, path: usage.db", "type: breaking"))
    with pytest.raises(PluginFaults, match=r"_Strange.Options is not derived from meter.sinks"):
        load(SMALL.replace("type: ledger, path: usage.db", "type: strange"))
