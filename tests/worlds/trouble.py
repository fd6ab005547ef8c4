"""What can end a process in the middle of a step: the HTTP client and the journal, made fragile."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from meter.journal import Journal
from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_inprocess import InProcessStripe
from meter.sandbox.stripe_rules import StripeRules
from worlds.draws import World

WEBHOOK_SECRET: Final = "whsec_of_the_worlds"
Strike = Callable[[str], None]
"""Called at every step with its name; raises `Crash` when the process is to die there."""

STEPS: Final = (
    "call before",
    "call after",
    "commit before",
    "commit after",
    "settle before",
    "settle after",
)


class Crash(BaseException):
    """The process is gone: whatever is not committed, or at Stripe, never was."""


class Broken(BaseException):
    """The harness itself is broken; no `Exception`, because the sink would take it for Stripe's."""


class TrueTime:
    """The time that Stripe and everything else goes by; moves only when it is told to."""

    def __init__(self, start: datetime) -> None:
        self.start = start
        self.at = start

    def __call__(self) -> datetime:
        return self.at

    @property
    def seconds(self) -> float:
        return (self.at - self.start).total_seconds()

    def advance(self, seconds: float) -> None:
        if seconds > 0:
            self.at += timedelta(seconds=seconds)


class MetersClock:
    """The clock of the machine that meter runs on: off by `skew` seconds."""

    def __init__(self, true: TrueTime) -> None:
        self.true = true
        self.skew = timedelta(0)

    def now(self) -> datetime:
        return self.true.at + self.skew

    def monotonic(self) -> float:
        return self.true.seconds


def double_for(world: World, clock: TrueTime) -> tuple[StripeBooks, str]:
    """Return Stripe as a world has it, with its meters, and the id of the first of them."""
    reports = world.report_lag_seconds
    rules = StripeRules(
        summary_lag_seconds=world.lag_seconds,
        report_lag_seconds=reports or 0.0,
        report_samples=10_000,
        test_events_per_second=25 if world.honest_limits else None,
        unknown_customers="accepted",
    )
    books = StripeBooks(seed=world.number, clock=clock, rules=rules)
    ids = []
    for meter in world.meters:
        named = {"display_name": meter.event_name, "event_name": meter.event_name}
        formula = {"default_aggregation": {"formula": "sum"}}
        ids.append(str(books.add("/v1/billing/meters", named | formula)["id"]))
    if reports is not None:
        books.webhook_to("http://127.0.0.1:9/webhooks/stripe", WEBHOOK_SECRET)
    return books, ids[0]


class FragileStripe(InProcessStripe):
    """The double behind faults that change with the time, and a process that may die around it."""

    def __init__(
        self,
        books: StripeBooks,
        *,
        strike: Strike,
        weather: Callable[[], None],
        wait: Callable[[float], None],
        latency: float,
        seen: Counter[str],
    ) -> None:
        super().__init__(books, wait=wait)
        self._strike = strike
        self._weather = weather
        self._pass = wait
        self._latency = latency
        self._seen = seen
        self.calls = 0

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        self.calls += 1
        try:
            self._weather()
        except Exception as error:
            raise Broken(repr(error)) from error
        self._strike("call before")
        self._pass(self._latency / 2)
        try:
            answer = super().request(method, url, headers, post_data, _usage=_usage)
        finally:
            self._strike("call after")
        self._pass(self._latency / 2)
        try:
            json.loads(answer[0])
        except ValueError:
            self._seen["malformed"] += 1
        return answer


class FragileJournal:
    """A real journal; the process may die right before or right after each commit of a sink."""

    def __init__(self, journal: Journal, strike: Strike) -> None:
        self.real = journal
        self._strike = strike

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def settle(self, settlement: Any) -> Any:
        return self._around("settle", self.real.settle)(settlement)

    def sink_state(self, name: str, sink_type: str) -> Any:
        state: Any = self.real.sink_state(name, sink_type)
        return dataclasses.replace(state, submit=self._around("commit", state.submit))

    def _around(self, what: str, write: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def written(item: Any) -> Any:
            self._strike(f"{what} before")
            ticket = write(item)
            ticket.wait()
            self._strike(f"{what} after")
            return ticket

        return written
