"""The way straight into a journal file, beside whatever process runs on it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meter.errors import MeterError
from meter.recording.destinations import Undelivered, Verdict
from meter.recording.log import say

if TYPE_CHECKING:
    from meter.collectors.session_items import SessionItems
    from meter.journal import Journal

__all__ = ["JournalOutlet"]


class JournalOutlet:
    """Writes items into a journal in short transactions of its own.

    It never takes the lock of `meter run`, which may be at work on the same file.
    """

    def __init__(self, path: Path, collector: str) -> None:
        """Know the file; it is opened with the first delivery, and then kept open."""
        self._path = path
        self._collector = collector
        self._open: tuple[Journal, SessionItems] | None = None

    async def deliver(self, items: Sequence[bytes]) -> Sequence[Verdict]:
        """Record items; see `Outlet.deliver`."""
        try:
            if self._open is None:
                self._open = self._opened()
            answers = await self._open[1].take([msgspec.Raw(item) for item in items])
        except (MeterError, sqlite3.Error, OSError) as error:
            await self.close()  # the file may be another one by now
            raise Undelivered(f"{self._path}: {error}") from None
        return [Verdict(answer.status, answer.reason) for answer in answers]

    async def close(self) -> None:
        """Close the journal."""
        was, self._open = self._open, None
        if was is not None:
            was[0].close()

    def _opened(self) -> tuple[Journal, SessionItems]:
        from meter.clock import SystemClock
        from meter.collectors.intake import Intake
        from meter.collectors.session_items import SessionItems
        from meter.journal import open_journal
        from meter.plugins import load_plugins

        clock = SystemClock()
        is_new = not self._path.exists()
        journal = open_journal(str(self._path), clock)
        if is_new:
            say(logging.WARNING, "recording.journal_created", path=str(self._path))
        intake = Intake(journal, load_plugins())
        return journal, SessionItems(self._collector, journal=journal, intake=intake, clock=clock)
