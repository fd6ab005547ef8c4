"""meter: how much each of your customers used of AssemblyAI, exactly once."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meter.hookspecs import hookimpl as hookimpl

__all__ = ["__version__", "hookimpl"]


def __getattr__(name: str) -> Any:
    """Import public names when they are first asked for, so that `import meter` costs nothing."""
    if name == "hookimpl":
        return import_module("meter.hookspecs").hookimpl
    if name == "__version__":
        return import_module("importlib.metadata").version("usage-meter")
    raise AttributeError(f"module 'meter' has no attribute {name!r}")
