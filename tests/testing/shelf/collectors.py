"""The kit against each collector that SHELF_SINKS names; run by test_collector_conformance.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meter.testing import CollectorConformance, Row

MODE = os.environ.get("SHELF_MODE", "")
KEY = "the-key-of-the-shelf-that-nobody-may-see"
FACTS = [(f"f{number}", f"customer-{number % 3}", f"{number}.25") for number in range(1, 13)]


def conformance_of(collector: str) -> type[CollectorConformance]:
    class OfTheShelf(CollectorConformance):
        @pytest.fixture
        def collector_config(self, tmp_path: Path) -> dict[str, Any]:
            path = tmp_path / "lines"
            path.write_text("".join(f"{a} {b} {c}\n" for a, b, c in FACTS))
            key = {"key": KEY} if collector == "tells-its-key" else {}
            return {"type": collector, "path": str(path), **key}

        @pytest.fixture
        def expected(self) -> Sequence[Row]:
            return [Row(f"other:transcript:{a}", b, Decimal(c)) for a, b, c in FACTS]

        if MODE != "unspoilt":

            @pytest.fixture
            def spoil(self, collector_config: dict[str, Any]) -> Callable[[], int]:
                def spoil() -> int:
                    path = Path(collector_config["path"])
                    lines = path.read_text().splitlines(keepends=True)
                    lines[3:3] = ["only two\n", "f99 acme many\n"]
                    path.write_text("".join(lines))
                    return 2

                return spoil

    return OfTheShelf


for number, name in enumerate(os.environ["SHELF_SINKS"].split(",")):
    globals()[f"TestSink{number}"] = conformance_of(name)
