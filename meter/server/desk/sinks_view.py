"""Every sink as a page shows it: its state, its balance, why events are not delivered."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meter.server.desk.sources import Way

if TYPE_CHECKING:
    from datetime import datetime

    from meter.delivery.asking import Answer
    from meter.journal import Balance, Reason, Standing
    from meter.server.desk.sources import Sources

__all__ = ["REASONS", "Place", "SinkView", "sinks_of"]

REASONS: Final = 5
"""How many reasons are shown for each place."""
_PLACES: Final = ("delivered", "filtered", "dead_lettered", "held", "retrying", "pending")
_TROUBLED: Final = frozenset({"dead_lettered", "held", "retrying"})


@dataclass(frozen=True, slots=True)
class Place:
    """One figure of a balance.

    Attributes:
        query: the state that the list of such events is asked for by; empty where there is none.
        troubled: somebody may have to do something about them.
    """

    name: str
    events: int
    query: str
    troubled: bool


@dataclass(frozen=True, slots=True)
class SinkView:
    """One sink.

    Attributes:
        state: `working`, `parked`, `hangs`, `failing`, or `not started`.
        why: it is in that state.
        then: what happens next, or what to do about it.
        places: the right-hand side of its balance.
        oldest: how long the oldest event waits that is not settled.
        reasons: why events are dead, held or retrying.
    """

    name: str
    type: str
    in_file: bool
    state: str
    why: str = ""
    then: str = ""
    recorded: int = 0
    places: Sequence[Place] = ()
    balanced: bool = True
    discarded: int = 0
    oldest: timedelta | None = None
    reasons: Sequence[Reason] = ()
    ways: Sequence[Way] = ()
    words: Sequence[str] = ()
    no_words: str = ""

    @property
    def dead(self) -> int:
        """How many dead letters wait for somebody."""
        return self._events("dead_lettered") - self.discarded

    @property
    def held(self) -> int:
        """How many events are held."""
        return self._events("held")

    def _events(self, name: str) -> int:
        return next((place.events for place in self.places if place.query == name), 0)


def sinks_of(
    sources: Sources, standing: Standing, reasons: Sequence[Reason], answers: Mapping[str, Answer]
) -> list[SinkView]:
    """Tell how every sink stands: those of the file first, in its order."""
    balances = {balance.sink: balance for balance in standing.balances}
    hanging = sources.hanging()
    sinks = sources.config.sinks
    found = []
    for name in [*sinks, *sorted(balances.keys() - sinks.keys())]:
        balance = balances.get(name)
        if balance is None:
            found.append(SinkView(name, sinks[name].type, in_file=True, state="not started"))
            continue
        ours = [reason for reason in reasons if reason.sink == name]
        state, why, then = _state(balance, hangs=name in hanging)
        answer = answers.get(name)
        found.append(
            SinkView(
                name,
                balance.type,
                in_file=name in sinks,
                state=state,
                why=why,
                then=then,
                recorded=balance.recorded,
                places=[_place(balance, name) for name in _PLACES],
                balanced=balance.balances,
                discarded=balance.discarded,
                oldest=_oldest(balance, sources.clock.now()),
                reasons=ours,
                ways=_ways(name, ours, sources.file) if name in sinks else (),
                words=() if answer is None else answer.lines,
                no_words="" if answer is None else answer.error or "",
            )
        )
    return found


def _state(balance: Balance, *, hangs: bool) -> tuple[str, str, str]:
    if balance.parked:
        return "parked", balance.parked, "Put it right, then restart meter run. Nothing is lost."
    if hangs:
        why = balance.trouble or "it has not come back from a call"
        return "hangs", why, "The other sinks go on. Nothing is lost."
    if balance.trouble:
        then = "It is tried again by itself, within a minute. Nothing is lost."
        return "failing", balance.trouble, then
    return "working", "", ""


def _place(balance: Balance, name: str) -> Place:
    events = int(getattr(balance, name))
    open_ = events - balance.discarded if name == "dead_lettered" else events
    return Place(name.replace("_", "-"), events, name, name in _TROUBLED and open_ > 0)


def _oldest(balance: Balance, now: datetime) -> timedelta | None:
    oldest = balance.oldest_unsettled
    return None if oldest is None else max(timedelta(0), now - oldest)


def _ways(sink: str, reasons: Sequence[Reason], file: str) -> list[Way]:
    ways = []
    if any(reason.state == "dead" for reason in reasons):
        ways.append(
            Way(
                "Put the cause right, then offer the dead letters again:",
                f"meter dead-letters{file} --sink {sink} --retry-all",
            )
        )
    stuck = next((r for r in reasons if not r.put_off), None)
    if stuck is not None:
        ways.append(
            Way("See one of them in full:", f"meter events {shlex.quote(stuck.first)}{file}")
        )
    return ways
