"""Collectors: what turns a source into events. meter's own are registered like any plugin's."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from meter.hookspecs import hookimpl

if TYPE_CHECKING:
    from meter.collectors.interface import Collector as Collector
    from meter.collectors.interface import CollectorContext as CollectorContext
    from meter.journal import Quarantined as Quarantined
    from meter.journal import Recorded as Recorded

_HOMES: Final = {
    "Collector": "meter.collectors.interface",
    "CollectorContext": "meter.collectors.interface",
    "Quarantined": "meter.journal",
    "Recorded": "meter.journal",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605  because the homes name them


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for: every command loads this module."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'meter.collectors' has no attribute {name!r}")


@hookimpl
def meter_register_collectors() -> list[type[Collector]]:
    """Register `webhook`, `streaming`, `ingest` and `jsonl`."""
    from meter.collectors.ingest import IngestCollector
    from meter.collectors.jsonl import JsonlCollector
    from meter.collectors.relay.collector import StreamingCollector
    from meter.collectors.webhook import WebhookCollector

    return [WebhookCollector, StreamingCollector, IngestCollector, JsonlCollector]
