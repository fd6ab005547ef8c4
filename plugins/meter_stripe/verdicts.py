"""What became of each event, over all the meters that count it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from meter.sinks import Later, Report

if TYPE_CHECKING:
    from meter.sinks import StateWrite

__all__ = ["Verdict", "Verdicts"]

_RANK: Final = {"later": 3, "rejected": 2, "held": 1, "delivered": 0, "duplicate": 0}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one event on one meter."""

    place: Literal["delivered", "duplicate", "later", "held", "rejected"]
    reason: str = ""
    at: datetime | None = None
    unlink: StateWrite | None = None
    """Frees a rejected event of its intent, once it becomes a dead letter."""


@dataclass
class Verdicts:
    """Collects verdicts, and the writes that must be stored together with them.

    An event that is on several meters is offered again until each of them has a final word; then
    it is delivered if all of them have it.
    """

    found: dict[str, list[Verdict]] = field(default_factory=dict)
    state: list[StateWrite] = field(default_factory=list)
    recall: dict[str, str] = field(default_factory=dict)

    def give(self, event_ids: Iterable[str], verdict: Verdict) -> None:
        """Note what became of events on one meter."""
        for event_id in event_ids:
            self.found.setdefault(event_id, []).append(verdict)

    def report(self) -> Report:
        """Return the report of the batch."""
        delivered, duplicate = [], []
        state = list(self.state)
        held: dict[str, str] = {}
        rejected: dict[str, str] = {}
        later: dict[str, Later] = {}
        for event_id, verdicts in self.found.items():
            worst = max(verdicts, key=lambda v: _RANK[v.place])
            if worst.place == "rejected":
                rejected[event_id] = worst.reason
                state += [v.unlink for v in verdicts if v.unlink is not None]
            elif worst.place == "held":
                held[event_id] = worst.reason
            elif worst.place == "later":
                times = [v.at for v in verdicts if v.place == "later" and v.at is not None]
                later[event_id] = Later(worst.reason, min(times))
            elif all(v.place == "duplicate" for v in verdicts):
                duplicate.append(event_id)
            else:
                delivered.append(event_id)
        recall: Mapping[str, str] = {
            event_id: why for event_id, why in self.recall.items() if event_id not in self.found
        }
        return Report(
            delivered=delivered,
            duplicate=duplicate,
            held=held,
            later=later,
            rejected=rejected,
            recall=recall,
            state=state,
        )
