"""Deliveries to the sinks of one journal, settled as a test tells them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from meter.journal import Balance, ExceptionRow, Journal, Place, Retry, Settlement
from meter.sinks import StateWrite
from support.clocks import FakeClock
from support.facts import completed


class Sinks:
    """One journal with some events, and deliveries to its sinks as a test tells them."""

    def __init__(self, journal: Journal, clock: FakeClock) -> None:
        self.journal = journal
        self.clock = clock

    def fill(self, count: int, *, start: int = 1) -> list[int]:
        self.journal.append([completed(n) for n in range(start, start + count)]).wait()
        return [entry.offset for entry in self.journal.read(0, 1000)]

    def register(self, name: str = "out", *, skip: bool = False) -> None:
        self.journal.register_sink(name, "test", skip_existing=skip, not_before=None).wait()

    def settle(self, sink: str = "out", purpose: Any = "new", **outcome: Any) -> None:
        base = Settlement(sink, purpose, None, self.clock.now())
        self.journal.settle(replace(base, **outcome)).wait()

    def later(self, **span: float) -> Retry:
        return Retry("its minute", self.clock.now() + timedelta(**span))

    def balance(self, name: str = "out") -> Balance:
        (found,) = (b for b in self.journal.totals().balances if b.sink == name)
        assert found.balances
        return found

    def recall(self, *numbers: int, state: list[StateWrite] | None = None) -> list[str]:
        reasons = {event_id(n): "not at the destination" for n in numbers}
        now = self.clock.now()
        return self.journal.exceptions.recall("out", reasons, now, state or ()).wait()

    def redrive(self, offsets: list[int]) -> int:
        return self.journal.exceptions.redrive("out", offsets, self.clock.now()).wait()

    def due(self, sink: str = "out") -> list[int]:
        return [e.offset for e in self.journal.exceptions.due(sink, self.clock.now(), 1000)]

    def row(self, number: int, sink: str = "out") -> ExceptionRow:
        place = self.place(number, sink)
        assert place.row is not None
        return place.row

    def place(self, number: int, sink: str = "out") -> Place:
        places = self.journal.exceptions.places(event_id(number))
        return next(place for place in places if place.sink == sink)


def event_id(number: int) -> str:
    return completed(number).event_id
