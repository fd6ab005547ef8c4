"""The kit against each sink that SHELF_SINKS names; run by test_sink_conformance.py."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from till import Till  # type: ignore[import-not-found]  # because only children have it on their path

from meter.testing import DestinationFault, FaultInjector, Row, SinkConformance

CHARGING = {"right-charge", "swallows-a-refusal", "takes-silence-for-no"}
KEYED = {"leaks-in-an-error", "leaks-in-the-log", "keeps-its-key", "key-as-text"}
SUMMING = {"right-sums", "rounds-each"}
MODE = os.environ.get("SHELF_MODE", "")


class TillFaults:
    def __init__(self, till: Till) -> None:
        self._till = till

    def fail_next(self, fault: DestinationFault) -> bool:
        self._till.fail_next(fault.value)
        return True

    def heal(self) -> None:
        self._till.heal()


def conformance_of(sink: str) -> type[SinkConformance]:
    class OfTheShelf(SinkConformance):
        kill_points = int(os.environ.get("SHELF_KILL_POINTS", "10"))
        unit_seconds = Decimal(1) if sink in SUMMING else None

        @pytest.fixture
        def sink_config(
            self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
        ) -> dict[str, Any]:
            folder = tmp_path_factory.getbasetemp() if MODE == "shared" else tmp_path
            keys = {"api_key": "sk-a-key-of-the-tests"} if sink in KEYED else {}
            return {"type": sink, "path": str(folder / "destination"), **keys}

        @pytest.fixture
        def read_back(self, sink_config: dict[str, Any]) -> Callable[[], Iterable[Row]]:
            path = Path(sink_config["path"])
            if MODE == "blind":
                return list
            return lambda: list(_rows(path))

        if sink in CHARGING:

            @pytest.fixture
            def faults(self, sink_config: dict[str, Any]) -> FaultInjector | None:
                return TillFaults(Till(Path(sink_config["path"])))

    return OfTheShelf


for number, name in enumerate(os.environ["SHELF_SINKS"].split(",")):
    globals()[f"TestSink{number}"] = conformance_of(name)


def _rows(path: Path) -> Iterator[Row]:
    if not path.exists() or path.stat().st_size == 0:
        return
    if path.read_bytes()[:6] != b"SQLite":
        for line in path.read_text().splitlines():
            found = json.loads(line)
            yield Row(found["id"], found["customer"], Decimal(found["seconds"]))
        return
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "charges" in names:
            for event_id, customer, seconds in connection.execute("SELECT * FROM charges"):
                yield Row(event_id, customer, Decimal(seconds))
        elif "sums" in names:
            for customer, units in connection.execute("SELECT customer, units FROM sums"):
                yield Row(customer_id=customer, seconds=Decimal(units))
        elif "usage" in names:
            for event_id, customer, seconds, at, model, dimensions in connection.execute(
                "SELECT * FROM usage"
            ):
                yield Row(
                    event_id,
                    customer,
                    None if seconds is None else Decimal(seconds),
                    datetime.fromisoformat(at),
                    model=model,
                    dimensions=json.loads(dimensions),
                )
