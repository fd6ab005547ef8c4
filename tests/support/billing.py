"""The sink `stripe` on a test's own clock: real journal, real SDK, the double's books."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from meter.config import PipelineConfig, SinkConfig
from meter.delivery import SinkWorker
from meter.errors import FatalSinkError, RetryableSinkError
from meter.events import AsyncCompleted, Event
from meter.journal import Balance, ExceptionRow, open_journal
from meter.plugins import Extension
from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_inprocess import InProcessStripe
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_truth import StripeTruth
from meter_stripe import guard
from meter_stripe.options import StripeOptions
from meter_stripe.sink import StripeSink
from support.clocks import FakeClock
from support.facts import completed
from support.plugging import plugin, plugins_with

SECONDS = "seconds"
KEY = "sk_test_billing"


class Billing:
    """One journal, one sink, one Stripe; `run` lets the sink work until nothing is due."""

    def __init__(
        self, folder: Path, *, rules: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.clock = FakeClock()
        given = {"unknown_customers": "accepted", "test_events_per_second": None}
        self.books = StripeBooks(
            clock=self.clock.now, rules=StripeRules(**{**given, **(rules or {})})
        )
        self.options: dict[str, Any] = {
            "api_key": KEY,
            "meters": [{"event_name": SECONDS}],
            "customers": "passthrough",
            "concurrency": 1,
            "create_missing": True,
            **options,
        }
        self.name = "billing"
        self.start: Any = "beginning"
        self.path = folder / "meter.db"
        self.journal = open_journal(str(self.path), self.clock)
        self.parked: str | None = None
        self._number = 0
        self._worker: SinkWorker | None = None

    def reopen(self) -> None:
        """Begin again as another process would."""
        self.restart()
        self.journal.close()
        self.journal = open_journal(str(self.path), self.clock)

    def restart(self) -> None:
        """Make a new worker; what the guard of this process knows is forgotten."""
        guard.forget()
        self._worker = None

    def worker(self) -> SinkWorker:
        if self._worker is None:
            billing = self

            class InProcess(StripeSink):
                def http_client(self) -> Any:
                    return InProcessStripe(billing.books)

                def sleep(self, seconds: float) -> None:
                    billing.clock.advance(seconds=seconds)

            options = StripeOptions.model_validate(self.options)
            extension: Extension[Any] = Extension("stripe", InProcess, plugin("stripe"))
            config = SinkConfig(self.name, "stripe", options, extension, self.start)
            pipeline = PipelineConfig.model_validate(
                {"from": ["transcripts", "apps"], "to": [self.name], "where": {}}
            )
            self._worker = SinkWorker(
                config,
                [pipeline],
                journal=self.journal,
                plugins=plugins_with(),
                clock=self.clock,
            )
        return self._worker

    # -- usage ---------------------------------------------------------------------------------

    def use(
        self,
        customer: str = "cus_a",
        seconds: str | int = 60,
        *,
        ago: timedelta | None = None,
        **more: Any,
    ) -> str:
        """Record one event, and return its id."""
        self._number += 1
        event = completed(
            f"job-{self._number}",
            customer_id=customer,
            seconds=Decimal(seconds),
            occurred_at=self.clock.now() - (ago or timedelta()),
            **more,
        )
        return self.record([event])[0]

    def record(self, events: Iterable[Event]) -> list[str]:
        wanted = list(events)
        self.journal.append(wanted).wait()
        return [event.event_id for event in wanted]

    # -- time ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Let the sink work until nothing is due; a parked one stays so until `restart`."""
        for _ in range(100):
            try:
                if not self.worker().step():
                    return
            except FatalSinkError as error:
                self.parked = str(error)
                self._worker = None
                return
            except RetryableSinkError:
                self._worker = None
                return
        raise AssertionError("it never came to rest")

    def pass_(self, **span: float) -> None:
        """Let time pass in steps, with the sink at work."""
        end = self.clock.now() + timedelta(**span)
        self.run()
        while self.clock.now() < end:
            due = self.journal.exceptions.next_due(self.name)
            step = (
                end if due is None else min(end, max(due, self.clock.now() + timedelta(seconds=1)))
            )
            self.clock.advance(seconds=(step - self.clock.now()).total_seconds())
            self.run()

    # -- what can be seen ----------------------------------------------------------------------

    @property
    def truth(self) -> StripeTruth:
        return self.books.truth()

    def total(self, customer: str = "cus_a", meter: str = SECONDS) -> Decimal:
        return self.truth.totals.get((customer, meter), Decimal(0))

    def stamps(self, customer: str = "cus_a") -> list[datetime]:
        return [event.timestamp for event in self.truth.events if event.customer == customer]

    def balance(self) -> Balance:
        (found,) = (b for b in self.journal.totals().balances if b.sink == self.name)
        assert found.balances
        return found

    def row(self, event_id: str) -> ExceptionRow:
        (place,) = (p for p in self.journal.exceptions.places(event_id) if p.sink == self.name)
        assert place.row is not None
        return place.row

    def place(self, event_id: str) -> str:
        (place,) = (p for p in self.journal.exceptions.places(event_id) if p.sink == self.name)
        return place.state


__all__ = ["KEY", "SECONDS", "AsyncCompleted", "Billing"]
