"""What commands are made of: meter's own, and those of plugins (`meter_register_commands`).

Importing this costs little more than importing click; everything else is imported when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meter.commands.arguments import as_json, pipelines_file, read_config
    from meter.commands.desks import SinkDesk, Standing, sink_desk
    from meter.commands.lazy import LazyCommand
    from meter.commands.tables import table

__all__ = [
    "LazyCommand",
    "SinkDesk",
    "Standing",
    "as_json",
    "pipelines_file",
    "read_config",
    "sink_desk",
    "table",
]


_PLACES: Final = {
    "LazyCommand": "lazy",
    "SinkDesk": "desks",
    "Standing": "desks",
    "as_json": "arguments",
    "pipelines_file": "arguments",
    "read_config": "arguments",
    "sink_desk": "desks",
    "table": "tables",
}


def __getattr__(name: str) -> Any:
    """Import only what is asked for: `meter --help` asks for next to nothing."""
    if name not in _PLACES:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f"meter.commands.{_PLACES[name]}"), name)
