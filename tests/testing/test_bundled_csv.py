from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meter.testing import Row, SinkConformance

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class TestCsv(SinkConformance):
    @pytest.fixture
    def sink_config(self, tmp_path: Path) -> dict[str, Any]:
        return {"type": "csv", "path": str(tmp_path / "exports" / "usage-{month}.csv")}

    @pytest.fixture
    def read_back(self, tmp_path: Path) -> Callable[[], Iterable[Row]]:
        return lambda: [row for path in tmp_path.glob("exports/*.csv") for row in rows(path)]


def rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(1_000_000)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield Row(
                event_id=plain(row["event_id"]),
                customer_id=plain(row["customer_id"]),
                seconds=Decimal(row["seconds"]) if row["seconds"] else None,
                occurred_at=datetime.fromisoformat(row["occurred_at"]),
                kind=row["kind"],
                model=plain(row["model"]) or None,
                dimensions=json.loads(row["dimensions"]),
            )


def plain(cell: str) -> str:
    """Take away what keeps a spreadsheet from running a text."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell
