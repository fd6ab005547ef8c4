"""One world, run: the real journal, worker, sink and SDK, on one clock that only this moves."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import yaml

from meter.backoff import Backoff
from meter.config import PipelineConfig, SinkConfig
from meter.delivery import SinkWorker
from meter.delivery.contexts import unopened
from meter.errors import FatalSinkError, RetryableSinkError
from meter.journal import Balance, ExceptionRow, Journal, open_journal
from meter.plugins import Extension
from meter.sandbox.stripe_faults import StripeFaults
from meter.sandbox.stripe_reports import Push
from meter.sinks import Sink, SinkState
from meter_stripe import error_reports
from meter_stripe.guard import forget
from meter_stripe.imbalances import imbalances
from meter_stripe.ledger import Ledger, meter_ids
from meter_stripe.options import StripeOptions
from support.plugging import plugin, plugins_with
from worlds.draws import DAY, HOUR, Episode, Happening, Usage, World
from worlds.people import cancel, cancelled_again, redriven
from worlds.trouble import (
    WEBHOOK_SECRET,
    Crash,
    FragileJournal,
    FragileStripe,
    MetersClock,
    TrueTime,
    double_for,
)

KEY: Final = "sk_test_sandbox"
PLUGINS: Final = cache(plugins_with)
MOST_ROUNDS: Final = 60_000
AFTERWARDS: Final = 21 * DAY
"""How long a world may take to settle after its last trouble, seconds."""
WATCHED_SECONDS: Final = 30 * HOUR
"""How long it is watched after that: nothing may move."""
LONG_WATCHED_SECONDS: Final = 80 * HOUR
"""Where summaries come hours late: the audit's false alarm ends on the following night."""
IDLE_SECONDS: Final = HOUR
SHORT_IDLE_SECONDS: Final = 61.0
"""How long nothing happens at the most, and right after the sink made calls."""
LONG_DOWNS: Final = 2
"""So many times a process that died is started again only after a day or more."""


class Unsettled(AssertionError):
    """The world did not come to rest."""


class Run:
    """A world under way.

    Attributes:
        true: the time; `clock` is what meter's machine takes for it.
        seen: what happened, by name, counted.
        log: the same in words.
        used: when the journal took each event, in order.
        cancelled: the ids of the events that somebody took back.
    """

    def __init__(self, world: World, folder: Path, sink: type[Sink], **changes: Any) -> None:
        self.world = world
        self.true = TrueTime(world.start)
        self.clock = MetersClock(self.true)
        self.seen: Counter[str] = Counter()
        self.log: list[str] = []
        self.used: list[tuple[datetime, Usage]] = []
        self.name = "billing"
        self._chance = Random(f"{world.number}/run")
        self._crash = Random(f"{world.number}/crash")
        self._backoff = Backoff(self._chance)
        self._folder = folder
        self._steps = self._long_downs = self._asked = 0
        self._pause = SHORT_IDLE_SECONDS
        self._usage = list(world.usage)
        self._happenings = list(world.happenings)
        self._over: list[Episode] = []
        self._archived = False
        self.cancelled: set[str] = set()
        self._lines: dict[str, str] | None = None
        self.books, self._meter_id = double_for(world, self.true)
        self.client = FragileStripe(
            self.books,
            strike=self.strike,
            weather=self._weather,
            wait=self.true.advance,
            latency=world.latency,
            seen=self.seen,
        )
        self.sink = self._sink_of(sink)
        self.options = self._options(changes)
        self.journal = self._opened()
        forget()
        self._new_worker()

    # -- the parts ---------------------------------------------------------------------------

    def _sink_of(self, sink: type[Sink]) -> type[Sink]:
        """Return the class, with what makes its connections, and waits, replaced."""
        run = self
        replaced = {"http_client": lambda _self: run.client, "sleep": lambda _self, s: run.sleep(s)}
        return type(sink.__name__, (sink,), replaced)

    def _options(self, changes: dict[str, Any]) -> StripeOptions:
        file = self._folder / "customers.yaml"
        given = {
            "api_key": KEY,
            "meters": [
                {"event_name": m.event_name, "unit": m.unit, "kinds": list(m.kinds)}
                | ({"models": list(m.models)} if m.models else {})
                for m in self.world.meters
            ],
            "customers": "passthrough" if self.world.mapping == "passthrough" else {"file": file},
            "concurrency": 1,
            "webhook_secret": WEBHOOK_SECRET,
            "api": self.world.api,
            **self.world.options,
            **changes,
        }
        self._map_customers()
        return StripeOptions.model_validate(given)

    def _opened(self) -> FragileJournal:
        return FragileJournal(open_journal(str(self._folder / "m.db"), self.clock), self.strike)

    def _new_worker(self) -> None:
        cls = self.sink
        self.config = config = SinkConfig(
            self.name, cls.type, self.options, Extension(cls.type, cls, plugin()), "beginning"
        )
        flow = PipelineConfig.model_validate({"from": ["transcripts"], "to": [self.name]})
        self._backoff = Backoff(self._chance)
        self.worker = SinkWorker(
            config,
            [flow],
            journal=cast("Journal", self.journal),
            plugins=PLUGINS(),
            clock=self.clock,
        )

    # -- what the parts call back --------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.seen["waited for the pace"] += 1
            self.true.advance(max(seconds, 1e-5))  # the clock knows no less

    def strike(self, step: str) -> None:
        """Let the process die here, if this is where it does."""
        self._steps += 1
        if self._trouble_is_over:
            return
        if self._crash.random() < self.world.crash_share or self._steps == self.world.crash_step:
            self.seen[f"crash: {step}"] += 1
            self.note(f"CRASH {step}")
            raise Crash(step)

    def _weather(self) -> None:
        """Set what Stripe does to the next request, by the time."""
        now = self.true.seconds
        faults: dict[str, Any] = {}
        if not self._trouble_is_over:
            faults = dict(self.world.shares)
            for episode in self.world.episodes:
                lasts = episode.kind == "key" or now < episode.end
                if episode.begin <= now and lasts and episode not in self._over:
                    faults = dict(episode.faults)
        self.books.faults = StripeFaults(**faults)

    @property
    def _trouble_is_over(self) -> bool:
        return self.true.seconds >= self.world.trouble_ends

    # -- its course ----------------------------------------------------------------------------

    def run(self) -> None:
        """Let everything happen, then wait until all is settled, and a while longer."""
        deadline = self.world.trouble_ends + AFTERWARDS
        watched_until: float | None = None
        for _ in range(MOST_ROUNDS):
            self._happen()
            if self._step():
                self.true.advance(0.05)
                continue
            now = self.true.seconds
            settled = self._trouble_is_over and self.is_settled()
            if settled and not (redriven(self) or cancelled_again(self)):
                if watched_until is None:
                    self.note("settled; everything is offered once more, and watched")
                    late = self.world.lag_seconds >= HOUR
                    watched_until = now + (LONG_WATCHED_SECONDS if late else WATCHED_SECONDS)
                    self._recall(len(self.used))
                    continue
                if now >= watched_until:
                    return
            if now > deadline:
                raise Unsettled(f"not settled {AFTERWARDS / DAY:.0f} days later: {self.balance()}")
            self._idle()
        raise Unsettled(f"not settled after {MOST_ROUNDS} rounds: {self.balance()}")

    def close(self) -> None:
        self.worker._close()
        self.journal.real.close()

    def balance(self) -> Balance:
        return next(b for b in self.journal.real.totals().balances if b.sink == self.name)

    def is_settled(self) -> bool:
        """Tell whether nothing moves by itself any more; what is held for good may stay."""
        if self._usage or self._happenings:
            return False
        found = [b for b in self.journal.real.totals().balances if b.sink == self.name]
        if not found or found[0].pending or found[0].retrying or found[0].parked:
            return False
        state = self.state()
        if any(any(imbalances(Ledger(state, meter_id))) for meter_id in meter_ids(state).values()):
            return False
        return not found[0].held or all(
            row.reason.startswith(("late:", "disputed:")) for row in self.rows("held")
        )

    def rows(self, state: Any) -> list[ExceptionRow]:
        return self.journal.real.exceptions.rows(sinks=[self.name], states=[state])

    def state(self) -> SinkState:
        return self.journal.real.sink_state(self.name, self.sink.type)

    def note(self, words: str) -> None:
        self.log.append(f"{self.true.at:%d %H:%M:%S} {words}")

    def _step(self) -> bool:
        """Do one round of the worker, as its thread does; tell if there may be more to do."""
        try:
            busy = self.worker.step()
        except Crash:
            self._die()
        except FatalSinkError as error:
            self._park(str(error))
        except RetryableSinkError as error:
            self.seen["sink backed off"] += 1
            self.note(f"the sink failed: {error}")
            self.worker._close()
            self.worker._backoff.fail(error.retry_after)
            self.true.advance(self._backoff.fail(error.retry_after))
        else:
            self._backoff.succeed()
            return busy
        return True

    def _idle(self) -> None:
        """Let the time pass until something is due."""
        now = self.true.seconds
        # Ever longer while it asks nothing of Stripe by itself: it is let look after things.
        asked, self._asked = self.client.calls > self._asked, self.client.calls
        self._pause = SHORT_IDLE_SECONDS if asked else min(IDLE_SECONDS, 2 * self._pause)
        times = [now + self._pause]
        times += [at for at, _ in self._usage[:1]]
        times += [h.at for h in self._happenings[:1]]
        times += [c.mapped_at for c in self.world.customers if c.mapped_at > now]
        due = self.journal.real.exceptions.next_due(self.name)
        if due is not None:
            times.append((due - self.clock.skew - self.world.start).total_seconds())
        self.true.advance(max(0.01, min(times) - now + 0.001))

    # -- what happens to it ----------------------------------------------------------------------

    def _happen(self) -> None:
        now = self.true.seconds
        self._map_customers()
        due = []
        while self._usage and self._usage[0][0] <= now:
            due.append(self._usage.pop(0)[1])
        if due:
            again = [e for _, e in self.used[-3:] if self._chance.random() < 0.05]
            self.journal.real.append([*due, *again]).wait()
            self.used += [(self.true.at, event) for event in due]
            self.seen["offered twice by a collector"] += len(again)
        for push in self.books.take_pushes():
            self._posted(push)
        if self._chance.random() < 0.01 and not self._archived:
            redriven(self)
        while self._happenings and self._happenings[0].at <= now:
            self._carry_out(self._happenings.pop(0))

    def _carry_out(self, happening: Happening) -> None:
        self.seen[happening.kind] += 1
        self.note(f"{happening.kind} {happening.amount:.0f}")
        match happening.kind:
            case "flush":
                self.worker.flush()
            case "skew":
                self.clock.skew = timedelta(seconds=happening.amount)
            case "recall":
                self._recall(5)
            case "cancel":
                cancel(self, self._chance.choice(self.used)[1] if self.used else None)
            case "archive" | "restore":
                self._set_meter(active=happening.kind == "restore")
            case "rename" if self.state().scan("report/"):
                # Reports that were posted and not seen to stay behind under the old name; the
                # nightly comparison shows what they were about, and a person must act on it.
                self._happenings.insert(0, replace(happening, at=self.true.seconds + 600))
            case "rename":
                self.worker._close()
                forget()
                self.name += "-2"
                self._new_worker()
            case _:
                self.worker._close()
                self._down(happening.amount)
                self._new_worker()

    def _posted(self, push: Push) -> None:
        """Let the sink's own route have what Stripe posts; it is signed by the machine's clock."""
        signature = push.headers(time.time())["stripe-signature"]
        sink: Any = unopened(self.config, journal=self.journal.real, clock=self.clock)
        answer = error_reports._take(sink, WEBHOOK_SECRET, push.body, signature)
        self.seen["error reports"] += answer.status == HTTPStatus.OK

    def _recall(self, most: int) -> None:
        """Offer what is delivered once more."""
        ids = [event.event_id for _, event in self.used]
        reasons = dict.fromkeys(self._chance.sample(ids, min(most, len(ids))), "offered again")
        exceptions = self.journal.real.exceptions
        recalled = exceptions.recall(self.name, reasons, self.clock.now()).wait()
        self.seen["recalled"] += len(recalled)

    def _die(self) -> None:
        """Start again after a crash: mostly soon, sometimes after days."""
        roll = self._chance.random()
        if roll < 0.6 or self._long_downs >= LONG_DOWNS:
            seconds = self._chance.uniform(0.5, 100)
        elif roll < 0.85:
            seconds = self._chance.uniform(100, 3 * HOUR)
        else:
            self._long_downs += 1
            seconds = self._chance.uniform(20, 60) * HOUR
        if self._chance.random() < 0.3:
            self.journal.real.close()
            self.journal = self._opened()
            self.seen["journal reopened"] += 1
        self._down(seconds)
        self._new_worker()

    def _down(self, seconds: float) -> None:
        self.note(f"down for {seconds:.0f} s")
        forget()
        self.seen["down for 23 h or more"] += seconds >= 23 * HOUR
        self.true.advance(seconds)

    def _park(self, reason: str) -> None:
        """Do what a person does: look after a while, put the key right, start meter again."""
        begun = [e for e in self.world.episodes if e.kind == "key" and e.begin <= self.true.seconds]
        if not begun and not self._archived:
            raise AssertionError(f"parked without a cause: {reason}")
        self.seen["parked"] += 1
        self.note(f"PARKED: {reason}")
        self.worker._close()
        self.journal.real.park_sink(self.name, reason).wait()
        self._down(self._chance.choice((600.0, 2 * HOUR, 26 * HOUR)))
        self._over += begun
        self._set_meter(active=True)
        self._new_worker()

    def _set_meter(self, *, active: bool) -> None:
        """Have the first meter deactivated at Stripe, or active again."""
        if self._archived is active:
            verb = "reactivate" if active else "deactivate"
            self.books.add(f"/v1/billing/meters/{self._meter_id}/{verb}", {})
            self._archived = not active

    def _map_customers(self) -> None:
        """Write the customers file anew when somebody was added, as a whole."""
        if self.world.mapping == "passthrough":
            return
        now = self.true.seconds
        known = {c.customer_id: c.stripe_id for c in self.world.customers if c.mapped_at <= now}
        if known != self._lines:
            self._lines = known
            self.seen["customers mapped later"] += now > 0
            beside = self._folder / "new.yaml"
            beside.write_text(yaml.safe_dump(known or {"nobody": "cus_nobody"}))
            beside.replace(self._folder / "customers.yaml")
