"""Trouble with the customers' mapping: shown for as long as it lasts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from meter.sinks import Report
from meter_stripe.troubles import Trouble, dismiss, trouble, troubles

if TYPE_CHECKING:
    from meter.sinks import SinkState

__all__ = ["MappingTrouble"]

NAME: Final = "customers"


class MappingTrouble:
    """Keeps what is shown in step with what is the matter."""

    def __init__(self, state: SinkState) -> None:
        """Know nothing yet; `state` is the sink's own."""
        self._state = state
        self._told: str | None = None
        self._read = False

    def changed(self, words: str | None, now: datetime) -> Report | None:
        """Return what is to be stored; None when it is shown as it is.

        Args:
            words: what is the matter now; None when all is well.
            now: the present moment.
        """
        if not self._read:
            found = dict(troubles(self._state)).get(NAME)
            self._told, self._read = None if found is None else found.words, True
        shown = None if words is None else f"{words}; what was known before stays in use"
        if shown == self._told:
            return None
        self._told = shown
        if shown is None:
            return Report(state=[dismiss(self._state, NAME)])
        return Report(state=[trouble(self._state, NAME, Trouble(shown, now, ends="sink"))])
