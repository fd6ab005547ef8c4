"""The sink `stripe` on a real journal, at the double, on a clock that a test moves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from meter.config import PipelineConfig, SinkConfig
from meter.delivery import SinkWorker
from meter.delivery.contexts import unopened
from meter.http import Response
from meter.journal import Balance, Journal, open_journal
from meter.plugins import Extension
from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_inprocess import InProcessStripe
from meter.sandbox.stripe_rules import StripeRules
from meter.sinks import Sink, StateWrite
from meter_stripe.books import MeterBooks
from meter_stripe.intents import Intent
from meter_stripe.ledger import Ledger, meter_ids
from meter_stripe.options import StripeOptions
from meter_stripe.sink import StripeSink
from support.clocks import FakeClock
from support.facts import completed
from support.plugging import plugin, plugins_with

EVENT = "seconds"
SECRET = "whsec_till"
SINK = "billing"
HOOK = "http://127.0.0.1:9/webhooks/stripe"
POSTS = "/v1/billing/meter_events"
SUMMARIES = "/v1/billing/meters/"


class Posted:
    """A request of Stripe's."""

    query = b""
    is_local = False
    client = ""
    http_version = "1.1"

    def __init__(self, body: bytes, signature: str | None) -> None:
        self._body = body
        self._signature = signature

    def header(self, name: bytes) -> bytes | None:
        if name != b"stripe-signature" or self._signature is None:
            return None
        return self._signature.encode("latin-1")

    def headers(self, name: bytes) -> list[bytes]:
        first = self.header(name)
        return [] if first is None else [first]

    async def body(self) -> bytes:
        return self._body


class Till:
    """One sink, one meter, and what Stripe makes of it."""

    def __init__(
        self, folder: Path, clock: FakeClock, rules: dict[str, Any], options: dict[str, Any]
    ) -> None:
        self.clock = clock
        given = {"unknown_customers": "accepted", "test_events_per_second": None, **rules}
        self.stripe = StripeBooks(clock=clock.now, rules=StripeRules(**given))
        self.stripe.webhook_to(HOOK, SECRET)
        self.journal: Journal = open_journal(str(folder / "m.db"), clock)
        self.options = StripeOptions.model_validate(
            {
                "api_key": "sk_test_till",
                "meters": [{"event_name": EVENT}],
                "customers": "passthrough",
                "concurrency": 1,
                "create_missing": True,
                "period_day": "none",
                "webhook_secret": SECRET,
                "guard": False,
                **options,
            }
        )
        till = self

        class OnTheTill(StripeSink):
            def http_client(self) -> Any:
                return InProcessStripe(till.stripe)

            def sleep(self, seconds: float) -> None:
                till.clock.advance(seconds=max(seconds, 0.001))  # what it can tell apart

        self._sink = OnTheTill
        self.worker = self._worker()

    def _config(self) -> SinkConfig:
        extension: Extension[Sink] = Extension("stripe", self._sink, plugin())
        return SinkConfig(SINK, "stripe", self.options, extension, "beginning")

    def _worker(self) -> SinkWorker:
        pipeline = PipelineConfig.model_validate({"from": ["transcripts"], "to": [SINK]})
        return SinkWorker(
            self._config(),
            [pipeline],
            journal=self.journal,
            plugins=plugins_with(),
            clock=self.clock,
        )

    def unopened(self) -> StripeSink:
        """Return an instance as commands and routes have it."""
        made = unopened(self._config(), journal=self.journal, clock=self.clock)
        assert isinstance(made, StripeSink)
        return made

    def restart(self) -> None:
        """Go on with a new process's memory."""
        self.worker = self._worker()

    # -- time and usage ------------------------------------------------------------------------

    def use(
        self,
        name: str,
        seconds: int = 60,
        *,
        customer: str = "cus_1",
        ago: timedelta = timedelta(),
    ) -> str:
        """Record usage; return its event id."""
        event = completed(
            name,
            customer_id=customer,
            seconds=Decimal(seconds),
            occurred_at=self.clock.now() - ago,
            recorded_at=self.clock.now(),
        )
        self.journal.append([event]).wait()
        return event.event_id

    def steps(self, count: int = 8, *, apart: float = 2) -> None:
        """Let the sink's thread go round, some seconds apart."""
        for _ in range(count):
            self.worker.step()
            self.clock.advance(seconds=apart)

    def until(self, **when: int) -> None:
        """Go on to a time of day, the next day if it has passed; nothing happens on the way."""
        at = self.clock.now().replace(**{"minute": 0, "second": 0, "microsecond": 0, **when})  # type: ignore[arg-type]  # no tzinfo among them
        if at <= self.clock.now():
            at += timedelta(days=1)
        self.clock.advance(seconds=(at - self.clock.now()).total_seconds())

    def sent(self, *names: str, customer: str = "cus_1", ago: float = 0) -> list[str]:
        """Record and deliver usage, each in a minute of its own; return the event ids."""
        found = []
        for number, name in enumerate(names):
            past = timedelta(minutes=ago + 3 * (len(names) - number))
            found.append(self.use(name, customer=customer, ago=past))
            self.steps(2)
        return found

    # -- what is known -------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        return self.journal.sink_state(SINK, "stripe")

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.state, meter_ids(self.state)[EVENT])

    @property
    def books(self) -> MeterBooks:
        (meter,) = self.options.meters
        return MeterBooks(meter, self.ledger, self.journal.journal_id, "test")

    @property
    def balance(self) -> Balance:
        (balance,) = self.journal.totals().balances
        assert balance.balances
        return balance

    @property
    def reads(self) -> int:
        """GETs for summaries."""
        return sum(
            count
            for (method, path, _), count in self.stripe.truth().requests.items()
            if method == "GET" and path.endswith("event_summaries")
        )

    @property
    def fetches(self) -> int:
        """GETs for thin events."""
        return sum(
            count
            for (method, path, _), count in self.stripe.truth().requests.items()
            if method == "GET" and path.startswith("/v2/core/events")
        )

    def billed(self, customer: str = "cus_1") -> Decimal:
        """What Stripe will bill in the end."""
        return self.stripe.truth().totals.get((customer, EVENT), Decimal(0))

    def intents(self, event_id: str) -> list[Intent]:
        """Every intent of an event, the first one first."""
        link = self.ledger.links([event_id])[event_id]
        names = [*link.past, *([] if link.now is None else [link.now])]
        found = self.ledger.intents(names)
        return [found[name] for name in names]

    def place(self, event_id: str) -> tuple[str, str]:
        """Where an event stands for the sink, and why."""
        (place,) = self.journal.exceptions.places(event_id)
        return place.state, "" if place.row is None else place.row.reason

    def problems(self) -> list[str]:
        return [words for _, words in self.ledger.problems()]

    def day_problems(self) -> list[str]:
        return [words for _, _, words in self.ledger.day_problems()]

    # -- what happens --------------------------------------------------------------------------

    def plan(self, *plans: StripePlan, path: str = POSTS) -> None:
        self.stripe.plan_next(*plans, path=path)

    def lose(self, event_id: str) -> None:
        """Have Stripe not count what it took, without a word."""
        (intent,) = [i for i in self.intents(event_id) if i.state == "delivered"]
        self.cancel_at_stripe(intent.identifier)

    def cancel_at_stripe(self, identifier: str) -> None:
        adjustment = {"event_name": EVENT, "type": "cancel", "cancel": {"identifier": identifier}}
        self.stripe.add("/v1/billing/meter_event_adjustments", adjustment)

    def add_at_stripe(
        self, value: int, at: datetime, *, customer: str = "cus_1", identifier: str = "theirs"
    ) -> None:
        """Have somebody else send to the meter."""
        self.stripe.add(
            POSTS,
            {
                "event_name": EVENT,
                "identifier": identifier,
                "payload": {"stripe_customer_id": customer, "value": str(value)},
                "timestamp": int(at.timestamp()),
            },
        )

    def commit(self, writes: list[StateWrite]) -> None:
        self.state.commit(writes)

    def edit(self, intent: Intent) -> None:
        """Write an intent into the ledger, to have a state that takes long to come about."""
        self.commit(self.ledger.put(intent))

    def redrive(self) -> None:
        rows = self.journal.exceptions.rows(states=["dead"])
        offsets = [row.offset for row in rows]
        self.journal.exceptions.redrive(SINK, offsets, self.clock.now()).wait()

    def post(self, body: bytes, signature: str | None) -> Response:
        """Post to the sink's route; no server is between."""
        (route,) = self.unopened().routes()
        assert (route.method, route.path) == ("POST", self.options.webhook_path)

        async def answered() -> Response:
            return await route.handler(Posted(body, signature))

        return asyncio.run(answered())

    def reported(self) -> list[str]:
        """Let Stripe post what it has to report; return the ids of the events."""
        pushes = self.pushed()
        assert [self.post(*push).status for push in pushes] == [200] * len(pushes)
        return [event_id_of(body) for body, _ in pushes]

    def pushed(self) -> list[tuple[bytes, str]]:
        """Bodies and signatures of what Stripe posts now."""
        return [
            (push.body, push.headers(time.time())["stripe-signature"])
            for push in self.stripe.take_pushes()
        ]


def event_id_of(body: bytes) -> str:
    return str(json.loads(body)["id"])


@contextmanager
def till(folder: Path, *, rules: dict[str, Any] | None = None, **options: Any) -> Iterator[Till]:
    made = Till(folder, FakeClock(), rules or {}, options)
    yield made
    made.journal.close()
