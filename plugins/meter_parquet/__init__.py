"""The `parquet` sink, shipped with meter as an extra: `pip install usage-meter[parquet]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meter import hookimpl

if TYPE_CHECKING:
    from meter.sinks import Sink


@hookimpl
def meter_register_sinks() -> list[type[Sink]]:
    """Register the sink type `parquet`; pyarrow is imported when a sink of it is opened."""
    from meter_parquet.sink import ParquetSink

    return [ParquetSink]
