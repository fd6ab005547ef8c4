"""The plugin: tells meter of the collector `deepgram_folder`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meter import hookimpl

if TYPE_CHECKING:
    from meter.collectors import Collector

meter_api_version = 1


@hookimpl
def meter_register_collectors() -> list[type[Collector]]:
    """Return the classes; imported here, because every `meter` command loads every plugin."""
    from meter_deepgram_folder.collector import DeepgramFolder

    return [DeepgramFolder]
