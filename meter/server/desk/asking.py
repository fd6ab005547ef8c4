"""What sinks say of themselves, asked in a thread for each: one that hangs is waited for once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from meter.delivery.asking import Answer, answered
from meter.plugins.aside import Aside

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import SinkConfig
    from meter.journal import Journal
    from meter.plugins.aside import Answer as Awaited
    from meter.sinks import Sink

__all__ = ["Asked"]

STANDS_SECONDS: Final = 5.0
"""How long what a sink says of itself stands."""
FIRST_SECONDS: Final = 0.5
"""How long a page waits for what it has never heard."""
ROOM: Final = 4
"""How many questions may wait for one sink."""


class Asked:
    """Asks the sinks of a pipelines file. Methods may be called from any thread."""

    def __init__(self, sinks: Mapping[str, SinkConfig], *, journal: Journal, clock: Clock) -> None:
        """Start no thread yet."""
        self._sinks = sinks
        self._journal = journal
        self._clock = clock
        self._threads = {n: Aside(e.extension.plugin, room=ROOM) for n, e in sinks.items()}
        self._one = threading.Lock()
        self._said: dict[str, Answer] = {}
        self._asked_at: dict[str, float] = {}
        self._awaited: dict[str, Awaited[Answer]] = {}

    def status(self) -> dict[str, Answer]:
        """Return what each sink says of itself, as far as it has answered by now."""
        with self._one:
            now = self._clock.monotonic()
            for name in self._sinks:
                self._take(name)
                due = now - self._asked_at.get(name, float("-inf")) >= STANDS_SECONDS
                if due and name not in self._awaited:
                    self._ask_again(name, now)
            unheard = [self._awaited[n] for n in self._awaited.keys() - self._said.keys()]
            _wait_for(unheard, FIRST_SECONDS)
            for name in self._sinks:
                self._take(name)
            return {name: self._told(name) for name in self._sinks}

    def explain(self, reference: str, seconds: float) -> dict[str, Answer]:
        """Return what each sink knows of a reference; one that takes longer could not say."""
        asked = {
            name: self._put(name, lambda sink: sink.explain(reference)) for name in self._sinks
        }
        _wait_for([answer for answer in asked.values() if answer is not None], seconds)
        return {name: _got(answer) for name, answer in asked.items()}

    def _put(self, name: str, question: Callable[[Sink], Sequence[str]]) -> Awaited[Answer] | None:
        entry = self._sinks[name]
        return self._threads[name].call(
            lambda: answered(entry, question, journal=self._journal, clock=self._clock), seconds=0
        )

    def _ask_again(self, name: str, now: float) -> None:
        awaited = self._put(name, lambda sink: sink.status())
        if awaited is not None:
            self._awaited[name] = awaited
            self._asked_at[name] = now

    def _take(self, name: str) -> None:
        awaited = self._awaited.get(name)
        if awaited is not None and awaited.wait(0):
            self._said[name] = awaited.get()
            del self._awaited[name]

    def _told(self, name: str) -> Answer:
        late = self._clock.monotonic() - self._asked_at.get(name, float("inf"))
        if name in self._said and late < STANDS_SECONDS * 2:
            return self._said[name]
        return _got(self._awaited.get(name))


def _wait_for(answers: Sequence[Awaited[Answer]], seconds: float) -> None:
    until = time.monotonic() + seconds
    for answer in answers:
        answer.wait(max(0.0, until - time.monotonic()))


def _got(answer: Awaited[Answer] | None) -> Answer:
    if answer is not None and answer.wait(0):
        return answer.get()
    return Answer(error="it has not answered yet; reload the page")
