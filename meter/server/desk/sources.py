"""What every page is made from."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import Config
    from meter.journal import Journal
    from meter.reports.running_sums import RunningSums
    from meter.server.desk.asking import Asked

__all__ = ["Sources", "Way"]


@dataclass(frozen=True, slots=True)
class Way:
    """Something that a person can do: in words, and as a command line."""

    words: str
    command: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The run that is looked at.

    Attributes:
        sums: adds up usage.
        hanging: names the sinks that have not come back from a call.
    """

    config: Config
    journal: Journal
    clock: Clock
    asked: Asked
    sums: RunningSums
    hanging: Callable[[], frozenset[str]]

    @property
    def file(self) -> str:
        """What a command line needs to name the pipelines file: nothing for the default one."""
        path = str(self.config.path)
        return "" if path == "pipelines.yaml" else f" {shlex.quote(path)}"
