"""Collectors: what turns a source into events. meter's own are registered like any plugin's."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from meter.hookspecs import hookimpl

if TYPE_CHECKING:
    from meter.collectors.interface import Collector as Collector
    from meter.collectors.interface import CollectorContext as CollectorContext

__all__ = ["Collector", "CollectorContext"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for: every command loads this module."""
    if name in __all__:
        return getattr(import_module("meter.collectors.interface"), name)
    raise AttributeError(f"module 'meter.collectors' has no attribute {name!r}")


@hookimpl
def meter_register_collectors() -> list[type[Collector]]:
    """Register `webhook`, `streaming`, `ingest` and `jsonl`."""
    from meter.collectors.ingest import IngestCollector
    from meter.collectors.jsonl import JsonlCollector
    from meter.collectors.relay.collector import StreamingCollector
    from meter.collectors.webhook import WebhookCollector

    return [WebhookCollector, StreamingCollector, IngestCollector, JsonlCollector]
