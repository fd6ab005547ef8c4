"""meter: how much each of your customers used of AssemblyAI, exactly once."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meter.hookspecs import API_VERSION as API_VERSION
    from meter.hookspecs import hookimpl as hookimpl
    from meter.recording import Recorder as Recorder
    from meter.recording import tap as tap

__all__ = ["API_VERSION", "Recorder", "__version__", "hookimpl", "tap"]


def __getattr__(name: str) -> Any:
    """Import public names when they are first asked for, so that `import meter` costs nothing."""
    if name in {"API_VERSION", "hookimpl"}:
        return getattr(import_module("meter.hookspecs"), name)
    if name in {"Recorder", "tap"}:
        return getattr(import_module("meter.recording"), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("usage-meter")
    raise AttributeError(f"module 'meter' has no attribute {name!r}")
