"""A bar on standard error for long work: on a terminal, and nothing where nobody watches."""

from __future__ import annotations

import sys
from typing import Any, Final, Self

__all__ = ["Bar"]

WORTH: Final = 20_000
"""Fewer things are done before anybody wonders."""


class Bar:
    """One bar, or one after another; made when it is first shown."""

    def __init__(self, *, worth: int = WORTH) -> None:
        """Stand ready.

        Args:
            worth: less than so many things need no bar.
        """
        self._worth = worth
        self._bar: Any = None
        self._task: Any = None
        self._label = ""

    def __enter__(self) -> Self:
        """Give the bar."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, label: str, done: int, total: int | None) -> None:
        """Show how much of something is done; a total of None is not known."""
        if self._bar is None:
            if not sys.stderr.isatty() or (total is not None and total < self._worth):
                return
            self._begin()
        if label != self._label:
            self._label = label
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(label, total=total)
        self._bar.update(self._task, completed=done, total=total)

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(30),
            TaskProgressColumn(),
            Elapsed(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
