from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meter.testing import Row, SinkConformance


class TestSqlite(SinkConformance):
    @pytest.fixture
    def sink_config(self, tmp_path: Path) -> dict[str, Any]:
        return {"type": "sqlite", "path": str(tmp_path / "usage.db")}

    @pytest.fixture
    def read_back(self, sink_config: dict[str, Any]) -> Callable[[], Iterable[Row]]:
        return lambda: rows(Path(sink_config["path"]))


def rows(path: Path) -> Iterator[Row]:
    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as connection:
        known = "SELECT count(*) FROM sqlite_master WHERE name = 'usage'"
        if not connection.execute(known).fetchone()[0]:
            return
        connection.row_factory = sqlite3.Row
        for row in connection.execute("SELECT * FROM usage"):
            yield Row(
                event_id=row["event_id"],
                customer_id=row["customer_id"],
                seconds=None if row["seconds"] is None else Decimal(row["seconds"]),
                occurred_at=datetime.fromisoformat(row["occurred_at"]),
                kind=row["kind"],
                model=row["model"],
                dimensions=json.loads(row["dimensions"]),
            )
