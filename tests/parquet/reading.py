"""Reads the folder as anybody would: by the pattern, with no code of the sink's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
from pyarrow import parquet  # type: ignore[import-untyped]  # because it has no types


def files(folder: Path) -> list[str]:
    """Return what the readers' pattern meets."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob("**/*.parquet"))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for name in files(folder) for row in table(folder / name).to_pylist()]


def ids(folder: Path) -> list[str]:
    """Return the provider's ids, in order; one that is there twice comes twice."""
    return sorted(row["provider_id"] for row in rows(folder))


def table(path: Path) -> Any:
    with path.open("rb") as file:
        return parquet.read_table(file)


def facts(path: Path) -> Mapping[str, str]:
    """Return what a file says of itself."""
    metadata = parquet.read_schema(path).metadata
    return {k.decode(): v.decode() for k, v in metadata.items() if k.startswith(b"meter.")}


def ask(sql: str) -> list[Any]:
    """Let DuckDB answer."""
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()
