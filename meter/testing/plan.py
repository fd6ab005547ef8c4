"""What a child process of the kit is to do, and what it tells: both as JSON in files."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

__all__ = ["PLAN_VARIABLE", "Plan", "Trail"]

PLAN_VARIABLE: Final = "METER_TESTING_PLAN"
"""The environment variable that names the plan's file, in a child."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a child does.

    Attributes:
        type: of the sink under test; empty when it is a collector.
        trail: the file to which it tells what it did.
        batch_size: the most events in one batch.
        kill: when it dies: `before` a delivery, `after` the sink's work, once the report is
            `committed`, when `close` is called after the n-th delivery, at a `place` in the
            plugin's code, at the n-th `new place`, once the n-th event is `recorded`, or never.
        nth: which delivery, or which visit of the place; counts from 1.
        place: where.
        count: tell which places in the sink's code were visited.
        package: of the collector under test.
        hold: a file: the first delivery waits until it is there.
    """

    type: str
    trail: str
    batch_size: int
    kill: str = ""
    nth: int = 1
    place: str = ""
    count: bool = False
    package: str = ""
    hold: str = ""

    @classmethod
    def read(cls) -> Self:
        """Read the plan of this process."""
        return cls(**json.loads(Path(os.environ[PLAN_VARIABLE]).read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """Keep the plan for a child."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


class Trail:
    """A file of JSON lines that outlives a SIGKILL: each line is one write, with no buffer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, word: str, value: Any) -> None:
        """Add a line."""
        line = json.dumps({word: value}).encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def read(self) -> list[tuple[str, Any]]:
        """Return what was told, in order."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return [item for line in lines for item in json.loads(line).items()]
