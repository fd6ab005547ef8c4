"""The sink `parquet` by the conformance kit, through the public door only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from meter.testing import Row, SinkConformance
from parquet import reading


class TestParquetSink(SinkConformance):
    @pytest.fixture
    def sink_config(self, tmp_path: Path) -> dict[str, Any]:
        return {"type": "parquet", "path": str(tmp_path / "usage"), "every": "0s"}

    @pytest.fixture
    def read_back(self, sink_config: dict[str, Any]) -> Callable[[], Iterable[Row]]:
        return lambda: [
            Row(
                event_id=row["event_id"],
                customer_id=row["customer_id"],
                seconds=row["seconds"],
                occurred_at=row["occurred_at"],
                kind=row["kind"],
                model=row["model"],
                dimensions=dict(row["dimensions"]),
            )
            for row in reading.rows(Path(sink_config["path"]))
        ]
