"""Start children: the real command in processes of their own, with what they told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from meter.testing.plan import PLAN_VARIABLE, Plan, Trail

if TYPE_CHECKING:
    from meter.testing.site import Site

__all__ = ["Child", "Children", "Ended", "Nursery", "nursery_of"]

_METADATA: Final = "Metadata-Version: 2.1\nName: meter-testing-plugin\nVersion: 0\n"
_ENTRY_POINT: Final = "[meter]\nmeter-testing = meter.testing.strike:plugin\n"
LOOK_SECONDS: Final = 0.004
_LAST: Final = 3_000
"""Characters of a child's words that stand in a complaint."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that ended.

    Attributes:
        returncode: -9 after SIGKILL.
        output: standard output and standard error.
        trail: what the kit's plugin told.
    """

    returncode: int
    output: str
    trail: list[tuple[str, Any]]

    @property
    def killed_at(self) -> str | None:
        """Where it died; None when it did not."""
        killed = [value for word, value in self.trail if word == "killed"]
        return str(killed[0]) if killed and self.returncode == -signal.SIGKILL else None

    @property
    def offered(self) -> list[list[str]]:
        """The event ids of each batch that the sink was given."""
        return [value for word, value in self.trail if word == "offered"]

    @property
    def places(self) -> list[tuple[str, int, bool]]:
        """The places in the sink's code that were visited; see `LineTracer.told`."""
        return [tuple(p) for word, value in self.trail if word == "places" for p in value]

    @property
    def opening(self) -> list[tuple[str, int, bool]]:
        """Those that were visited before the first delivery: what `open` does."""
        numbers = [value for word, value in self.trail if word == "opening"]
        return self.places[: numbers[0]] if numbers else []

    def words(self) -> str:
        """Return the end of what it said, for a complaint."""
        return f"exit code {self.returncode}; it said:\n{self.output[-_LAST:]}"


class Nursery:
    """The process that forks children; see `meter.testing.nursery`. Close it at the end.

    Args:
        package: the top-level package of the plugin under test.
    """

    def __init__(self, package: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603  because the package is the plugin's own name
            [sys.executable, "-m", "meter.testing.nursery", package],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, request: Mapping[str, Any]) -> int | None:
        """Send a request and return the answer.

        Raises:
            AssertionError: the nursery ended.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the nursery has no pipes")
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the process that starts the kit's children ended")
        answer: int | None = json.loads(line)
        return answer

    def close(self) -> None:
        """End it; children that still run are not touched."""
        with self._process:
            if self._process.stdin is not None:
                self._process.stdin.close()


_nurseries = pytest.StashKey[dict[str, Nursery]]()


def nursery_of(config: pytest.Config, plugin: type[Any]) -> Nursery:
    """Return the nursery of a test session for a plugin, started when it is first asked for."""
    package = plugin.__module__.partition(".")[0]
    nurseries = config.stash.setdefault(_nurseries, {})
    if package not in nurseries:
        nurseries[package] = nursery = Nursery(package)
        config.add_cleanup(nursery.close)
    return nurseries[package]


class Child:
    """A child under way."""

    def __init__(self, nursery: Nursery, pid: int, log: Path, trail: Trail) -> None:
        self.trail = trail
        self._nursery = nursery
        self._pid = pid
        self._log = log
        self._code: int | None = None

    def has_ended(self) -> bool:
        """Tell whether it ended."""
        if self._code is None:
            self._code = self._nursery.ask({"poll": self._pid})
        return self._code is not None

    def wait(self, seconds: float) -> Ended:
        """Wait for its end.

        Raises:
            AssertionError: it was still running, and was killed.
        """
        deadline = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() > deadline:
                self.end()
                raise AssertionError(
                    f"still running after {seconds} s; it said:\n{self.said()[-_LAST:]}"
                )
            time.sleep(LOOK_SECONDS)
        return Ended(self._code or 0, self.said(), self.trail.read())

    def end(self) -> None:
        """End it, whatever it does; harmless when it ended."""
        if not self.has_ended():
            os.kill(self._pid, signal.SIGKILL)
            while not self.has_ended():
                time.sleep(LOOK_SECONDS)

    def said(self) -> str:
        """Return what it said so far, on standard output and standard error."""
        if not self._log.exists():
            return ""
        return self._log.read_text(encoding="utf-8", errors="replace")


class Children:
    """Starts children on one site.

    Args:
        nursery: forks them.
        site: whose pipelines file they run.
        sink_type: the type under test.
        seconds: how long one may take.
        batch_size: the most events in one batch.
    """

    def __init__(
        self,
        nursery: Nursery,
        site: Site,
        sink_type: str,
        *,
        seconds: float,
        batch_size: int = 4,
    ) -> None:
        self._nursery = nursery
        self._site = site
        self._type = sink_type
        self._seconds = seconds
        self._batch_size = batch_size
        self._started = 0
        self._door = site.folder / "kit"
        metadata = self._door / "meter_testing_plugin-0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(_METADATA)
        (metadata / "entry_points.txt").write_text(_ENTRY_POINT)

    def start(self, *arguments: str, **plan: Any) -> Child:
        """Start a child and return at once.

        Args:
            arguments: of `meter`; by default `run FILE --once --log-level debug`.
            plan: fields of `Plan`.
        """
        self._started += 1
        beside = self._door / f"{self._started}"
        trail = Trail(beside.with_suffix(".trail"))
        Plan(self._type, f"{beside}.trail", self._batch_size, **plan).write(
            beside.with_suffix(".plan")
        )
        once = ("run", str(self._site.file), "--once", "--log-level", "debug")
        log = beside.with_suffix(".log")
        request = {
            "arguments": [str(self._door), *(arguments or once)],
            "folder": str(self._site.folder),
            "environ": {**os.environ, PLAN_VARIABLE: f"{beside}.plan"},
            "path": sys.path,  # what this process finds, a child finds too
            "output": str(log),
        }
        pid = self._nursery.ask(request)
        if pid is None:
            raise AssertionError("the nursery forked nothing")
        return Child(self._nursery, pid, log, trail)

    def run(self, *arguments: str, **plan: Any) -> Ended:
        """Start a child and wait for its end."""
        return self.start(*arguments, **plan).wait(self._seconds)
