"""One delivery under way: what became of each event, and whether a refusal is to be believed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from meter.sinks import Report

__all__ = ["Refused", "Round", "Trust"]

ROW: Final = 10
"""So many events refused one after another, with none taken: then it is not the events."""


class Refused(Exception):
    """The destination refuses events, and has taken none since: no event is given up for that.

    No `SinkError`, so delivery looks for the events to blame itself, and keeps them all.
    """


class Trust:
    """Whether the destination takes what this sink makes, so that a refusal is the event's fault.

    A template that the destination does not understand is refused with the same words as a
    poisoned event. Only a destination that takes others tells the two apart.
    """

    def __init__(self) -> None:
        self._proven = False
        self._row = 0

    def taken(self) -> None:
        """Note that the destination took an event, or knew it."""
        self._proven, self._row = True, 0

    def refused(self) -> None:
        """Note that it refused one that stood alone."""
        self._row += 1

    def renew(self) -> None:
        """Begin another delivery: what was exhausted must be proven anew."""
        if self.exhausted:
            self._proven, self._row = False, 0

    @property
    def proven(self) -> bool:
        """Whether the destination took anything of this sink since it was opened, or exhausted."""
        return self._proven

    @property
    def exhausted(self) -> bool:
        """Whether so many were refused in a row that it makes no sense to send more."""
        return self._row >= ROW

    @property
    def holds(self) -> bool:
        """Whether a refusal is believed to be about the event."""
        return self._proven and not self.exhausted


class Round:
    """Collects the outcomes of one call of `deliver`."""

    def __init__(self, trust: Trust) -> None:
        self.held: dict[str, str] = {}
        self._trust = trust
        self._delivered: list[str] = []
        self._duplicate: list[str] = []
        self._rejected: dict[str, str] = {}
        self._suspects: dict[str, str] = {}
        trust.renew()

    @property
    def taken(self) -> bool:
        """Whether the destination took anything, so that the report must not be lost.

        What is held or unfit does not count: it is found so again, without asking anybody.
        """
        return bool(self._delivered or self._duplicate)

    def delivered(self, event_ids: Collection[str]) -> None:
        """Note events that are at the destination now."""
        self._delivered += event_ids
        self._believe(event_ids)

    def duplicate(self, event_ids: Collection[str]) -> None:
        """Note events that were there already."""
        self._duplicate += event_ids
        self._believe(event_ids)

    def unfit(self, event_id: str, reason: str) -> None:
        """Note an event that can never be sent, whatever the destination says."""
        self._rejected[event_id] = reason

    def refused(self, event_id: str, words: str) -> None:
        """Note an event that the destination refused while it stood alone, or by its name."""
        self._suspects[event_id] = words
        self._trust.refused()

    def report(self) -> Report:
        """Return what became of the events; what was refused on trust only.

        Raises:
            Refused: the destination refused everything, and nothing says that it is the events.
        """
        if self._trust.holds:
            self._rejected |= self._suspects
        elif self._suspects and not self.taken:
            raise Refused(next(reversed(self._suspects.values())))
        return Report(
            delivered=self._delivered,
            duplicate=self._duplicate,
            held=self.held,
            rejected=self._rejected,
        )

    def _believe(self, event_ids: Collection[str]) -> None:
        """Take the refusals so far for what they say: the destination took another event."""
        if event_ids:
            self._trust.taken()
            self._rejected |= self._suspects
            self._suspects.clear()
