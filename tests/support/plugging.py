from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meter import hookimpl
from meter.config import Config, PipelineConfig, ServerOptions, SinkConfig
from meter.plugins import Extension, Plugin, Plugins, load_plugins
from meter.sinks import Options, Sink


class NoOptions(Options):
    """A sink that needs nothing."""


class Registers:
    """A plugin with the sinks and collectors that a test made."""

    def __init__(self, *sinks: type[Any], collectors: Sequence[type[Any]] = ()) -> None:
        self.sinks = list(sinks)
        self.collectors = list(collectors)

    @hookimpl
    def meter_register_sinks(self) -> list[type[Sink]]:
        return self.sinks

    @hookimpl
    def meter_register_collectors(self) -> list[type[Any]]:
        return self.collectors


def plugin(name: str = "test") -> Plugin:
    return Plugin(name, f"meter-{name}", "1.0", f"meter_{name}")


def plugins_with(*extra: object) -> Plugins:
    """Meter's own plugins and what the test adds."""
    plugins = load_plugins()
    for number, thing in enumerate(extra):
        plugins.add(plugin(f"test{number}"), lambda thing=thing: thing)  # type: ignore[misc]  # a bound default
    return plugins


def sink_config(cls: type[Sink], name: str = "out", start: Any = None) -> SinkConfig:
    return SinkConfig(name, cls.type, cls.Options(), Extension(cls.type, cls, plugin()), start)


def config_of(folder: Path, sinks: dict[str, SinkConfig], **pipeline: Any) -> Config:
    flow = PipelineConfig.model_validate(
        {"from": ["transcripts"], "to": list(sinks), "where": {}, **pipeline}
    )
    return Config(
        folder / "pipelines.yaml",
        folder,
        str(folder / "m.db"),
        ServerOptions(),
        {},
        sinks,
        {"usage": flow},
    )
