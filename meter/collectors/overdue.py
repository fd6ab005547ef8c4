"""Sessions that outlived their limit without a Termination, whoever was to report it."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.collectors.intake import Intake
    from meter.journal import Journal

__all__ = ["GRACE", "abandon_overdue", "keep_abandoning"]

_log = logging.getLogger("meter.collectors")

GRACE: Final = timedelta(minutes=10)
"""How long after `expires_at` a Termination may still be on its way to us."""
EVERY_SECONDS: Final = 30.0
_PAGE: Final = 500
_MOST_NAMED: Final = 20


async def abandon_overdue(journal: Journal, intake: Intake, clock: Clock) -> int:
    """Abandon every open session whose limit passed longer ago than the grace; answer how many."""
    given_up: list[str] = []
    now = clock.now()
    while page := journal.sessions.overdue(now - GRACE, limit=_PAGE):
        await asyncio.gather(*(intake.abandon(s, s.lower_seconds, now) for s in page))
        given_up += [session.provider_id for session in page]
    if given_up:
        some = given_up[:_MOST_NAMED]
        _log.warning("sessions.abandoned", extra={"sessions": len(given_up), "ids": some})
    return len(given_up)


async def keep_abandoning(journal: Journal, intake: Intake, clock: Clock) -> None:
    """Look again and again, until cancelled."""
    while True:
        try:
            await abandon_overdue(journal, intake, clock)
        except Exception:  # noqa: BLE001  because it is looked again in a while, whatever it was
            _log.exception("sessions.not_looked_at")
        await asyncio.sleep(EVERY_SECONDS)
