"""What meter asks of a collector, with the real process killed on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meter.testing import CollectorConformance, Row


def response(number: int, duration: float) -> str:
    """Return what Deepgram answers, as far as the collector reads it."""
    metadata = {
        "request_id": f"r-{number}",
        "created": f"2026-11-22T10:{number:02d}:00.250Z",
        "duration": duration,
        "channels": 1,
        "model_info": {"30089e05": {"name": "2-general-nova"}},
    }
    return json.dumps({"metadata": metadata, "results": {}})


class TestDeepgramFolder(CollectorConformance):
    """The conformance kit on a folder of responses."""

    @pytest.fixture
    def collector_config(self, tmp_path: Path) -> dict[str, Any]:
        """Return the entry, of a folder with the responses of two customers."""
        for number in range(24):
            folder = tmp_path / "usage" / ("acme", "Zoë & Söhne")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.json").write_text(response(number, number + 1.0625))
        return {"type": "deepgram_folder", "path": str(tmp_path / "usage")}

    @pytest.fixture
    def expected(self) -> Sequence[Row]:
        """Return what is in the folder."""
        return [
            Row(
                f"deepgram:transcript:r-{number}",
                ("acme", "Zoë & Söhne")[number % 2],
                Decimal(f"{number + 1}.0625"),
                model="2-general-nova",
            )
            for number in range(24)
        ]

    @pytest.fixture
    def spoil(self, tmp_path: Path) -> Callable[[], int]:
        """Return what puts four files into the folder that are no responses."""
        bad = ("no json", "{}", json.dumps({"metadata": 1}), response(59, -1.5))

        def spoil() -> int:
            for number, text in enumerate(bad):
                (tmp_path / "usage" / "acme" / f"bad-{number}.json").write_text(text)
            return len(bad)

        return spoil
