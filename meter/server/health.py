"""Whether a webhook would be stored now: asked by those who would restart the process."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from meter.errors import JournalError

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.journal import Journal

__all__ = ["Health"]

_log = logging.getLogger("meter.server")

STANDS_SECONDS: Final = 1.0
"""How long an answer stands, so that asking cannot wear out the disk."""
PATIENCE_SECONDS: Final = 4.0
"""How long the journal has for its answer; a webhook would not wait for it much longer."""


class Health:
    """Finds out whether the journal can be written, by writing something harmless.

    A sink that is parked is no reason: it delays itself only, and to send webhooks elsewhere,
    or to restart the process, would help nobody.
    """

    def __init__(
        self, journal: Journal, clock: Clock, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        """Stand ready; nothing is written before somebody asks."""
        self._patience = patience
        self._journal = journal
        self._clock = clock
        self._found: tuple[float, str | None] | None = None
        self._asking: asyncio.Task[str | None] | None = None

    async def unwritable(self) -> str | None:
        """Return why the journal cannot be written, or None when it can.

        Whoever asks while an answer is on its way waits for the same one.
        """
        if self._found is not None and self._clock.monotonic() - self._found[0] < STANDS_SECONDS:
            return self._found[1]
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait([self._asking], timeout=self._patience)
        if not done:
            return f"the journal has not answered for {self._patience:g} s"
        return self._asking.result()

    async def _ask(self) -> str | None:
        why: str | None = None
        try:
            await self._journal.probe()
        except JournalError as error:
            why = str(error)
            if self._found is None or self._found[1] is None:  # once, not at each question
                _log.error("journal.unwritable", extra={"error": why})
        if why is None and self._found is not None and self._found[1] is not None:
            _log.info("journal.writable")
        self._found = (self._clock.monotonic(), why)
        return why
