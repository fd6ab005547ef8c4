"""What commands are made of: meter's own, and those of plugins (`meter_register_commands`).

Importing this costs little more than importing click; everything else is imported when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meter.commands.arguments import as_json, pipelines_file, read_config
from meter.commands.tables import table

if TYPE_CHECKING:
    from meter.commands.desks import SinkDesk, Standing, sink_desk

__all__ = [
    "SinkDesk",
    "Standing",
    "as_json",
    "pipelines_file",
    "read_config",
    "sink_desk",
    "table",
]


def __getattr__(name: str) -> Any:
    """Import what needs the journal only for those commands that do."""
    if name in ("SinkDesk", "Standing", "sink_desk"):
        from meter.commands import desks

        return getattr(desks, name)
    raise AttributeError(name)
