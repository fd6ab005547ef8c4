"""The `http` sink, shipped with meter and found like any other plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meter import hookimpl

if TYPE_CHECKING:
    from meter.sinks import Sink


@hookimpl
def meter_register_sinks() -> list[type[Sink]]:
    """Register the sink type `http`."""
    from meter_http.sink import HttpSink

    return [HttpSink]
