"""Events as rows of a Parquet file: the columns, their types, and what the file says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    from meter.events import Event

__all__ = ["COLUMNS", "SCHEMA_VERSION", "write_rows"]

COLUMNS: Final = (
    "event_id",
    "kind",
    "customer_id",
    "seconds",
    "provider_id",
    "collector",
    "occurred_at",
    "recorded_at",
    "model",
    "audio_seconds",
    "dimensions",
)
SCHEMA_VERSION: Final = 1
"""Of the columns; `meter.schema_version` in each file's metadata. Columns are only ever added."""


def write_rows(file: BinaryIO, events: Sequence[Event], facts: Mapping[str, str]) -> None:
    """Write a whole Parquet file, ordered by the time of use.

    Args:
        file: what it is written to, from the beginning.
        events: at least one.
        facts: what the file's metadata says of it, under `meter.…`.

    Raises:
        OSError: the disk refuses.
    """
    import pyarrow as pa  # type: ignore[import-untyped]  # because it has no types
    from pyarrow import parquet

    in_order = sorted(events, key=lambda event: event.occurred_at)
    metadata = {f"meter.{name}": value for name, value in facts.items()}
    schema = _schema(pa).with_metadata({"meter.schema_version": str(SCHEMA_VERSION), **metadata})
    columns = zip(_columns(in_order), schema, strict=True)
    table = pa.Table.from_arrays(
        [pa.array(values, type=field.type) for values, field in columns], schema=schema
    )
    by_time = parquet.SortingColumn(COLUMNS.index("occurred_at"))
    parquet.write_table(table, file, compression="zstd", sorting_columns=[by_time])


def _schema(pa: Any) -> Any:
    """Return the columns' types; nine decimals are all that an event has (DESIGN §4)."""
    text, exact = pa.string(), pa.decimal128(38, 9)
    moment = pa.timestamp("us", tz="UTC")
    types = {
        "seconds": exact,
        "audio_seconds": exact,
        "occurred_at": moment,
        "recorded_at": moment,
        "dimensions": pa.map_(text, text),
    }
    unknown = {"seconds", "model", "audio_seconds"}
    return pa.schema(
        [pa.field(name, types.get(name, text), nullable=name in unknown) for name in COLUMNS]
    )


def _columns(events: Sequence[Event]) -> list[list[Any]]:
    """Return each column's values, in the order of `COLUMNS`."""
    return [
        [event.event_id for event in events],
        [event.kind for event in events],
        [event.customer_id for event in events],
        [event.billed_seconds for event in events],
        [event.provider_id for event in events],
        [event.collector for event in events],
        [event.occurred_at for event in events],
        [event.recorded_at for event in events],
        [getattr(event, "model", None) for event in events],
        [getattr(event, "audio_seconds", None) for event in events],
        [sorted(event.dimensions.items()) for event in events],
    ]
