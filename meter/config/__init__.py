"""Read `pipelines.yaml`: every fault at once, each with its place; no secret ever printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meter.config.conditions import Condition
from meter.config.faults import ConfigFaults, Fault, PluginFaults
from meter.config.loading import load_config, required_variables, whence
from meter.config.models import (
    CollectorConfig,
    Config,
    PipelineConfig,
    ServerOptions,
    SinkConfig,
    Start,
)
from meter.config.rates import RateCard, RatesOptions

if TYPE_CHECKING:
    from meter.plugins import Plugins

__all__ = [
    "CollectorConfig",
    "Condition",
    "Config",
    "ConfigFaults",
    "Fault",
    "PipelineConfig",
    "PluginFaults",
    "RateCard",
    "RatesOptions",
    "ServerOptions",
    "SinkConfig",
    "Start",
    "json_schema",
    "load_config",
    "required_variables",
    "whence",
]


def json_schema(plugins: Plugins) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a pipelines file with these plugins, for editors."""
    from meter.config.schema import json_schema as schema_of

    return schema_of(plugins)
