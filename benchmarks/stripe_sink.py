"""The sink `stripe` at full speed: against its own pace, and with a long queue of events.

1. **Pace.** A double of Stripe's API answers over HTTP after 50 ms, in a process of its own; the
   sink may make 100 calls a second. The floor is what this pace and one call at a time for each
   customer and meter allow: max(calls / pace, longest chain of one customer x time of a call);
   a call's time is that of the bare SDK, one after the other, in the same run. Two loads: `even`,
   1,000 customers with one hour of usage each; `uneven`, 300 calls of which 100 belong to one
   customer. The ratio is the floor's time over the sink's.
2. **Queue.** 100,000 pending events of 1,000 customers become intents: read from the journal,
   sorted, frozen with their links, handed to the real SDK, which speaks to the double's books in
   the same process, without a socket and without pace.
3. **Memory.** Peak memory for so many events of 100 customers and for ten times as many, each in a
   process of its own. Few customers, because the double's books lie in the same process.

Afterwards the double's books are compared with the events, to the second.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import stripe
from stripe import StripeClient

from meter.clock import SystemClock
from meter.config import PipelineConfig, SinkConfig
from meter.delivery import SinkWorker
from meter.events import AsyncCompleted
from meter.journal import open_journal
from meter.plugins import Extension, Plugin, load_plugins
from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_inprocess import InProcessStripe
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox
from meter_stripe.options import StripeOptions
from meter_stripe.sink import StripeSink

PACE: Final = 100.0
LATENCY: Final = 0.05
BARE_CALLS: Final = 40
PACE_TARGET: Final = 0.9
QUEUE_TARGET_SECONDS: Final = 10.0
ANY_CUSTOMER: Final = StripeRules(unknown_customers="accepted", test_events_per_second=None)
NOON: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)


def usage(count: int, customers: int) -> Iterator[AsyncCompleted]:
    """Yield events of one hour, customers in turn."""
    for n in range(count):
        yield event(n, f"cus_{n % customers}", NOON + timedelta(seconds=n % 3600))


def event(n: int, customer: str, at: datetime) -> AsyncCompleted:
    return AsyncCompleted(
        provider_id=f"job-{n}",
        customer_id=customer,
        collector="transcripts",
        occurred_at=at,
        recorded_at=at,
        seconds=Decimal(60 + n % 7),
    )


def uneven() -> list[AsyncCompleted]:
    """Return 200 customers with one hour each, and one customer with 100 hours."""
    events = [event(n, f"cus_{n}", NOON) for n in range(200)]
    return events + [event(200 + n, "cus_long", NOON - timedelta(hours=n)) for n in range(100)]


def worker_for(cls: type[StripeSink], folder: Path, **options: Any) -> tuple[Any, SinkWorker]:
    given = {"api_key": "sk_live_bench", "customers": "passthrough", "create_missing": True}
    meters = [{"event_name": "seconds"}]
    made = StripeOptions(**{"meters": meters, "period_day": "none", **given, **options})
    extension: Extension[Any] = Extension("stripe", cls, Plugin("bench", "bench", "0", "bench"))
    config = SinkConfig("billing", "stripe", made, extension, "beginning")
    pipeline = PipelineConfig.model_validate(
        {"from": ["transcripts"], "to": ["billing"], "where": {}}
    )
    clock = SystemClock()
    journal = open_journal(str(folder / "m.db"), clock)
    return journal, SinkWorker(
        config, [pipeline], journal=journal, plugins=load_plugins(), clock=clock
    )


def fill(journal: Any, events: Iterable[AsyncCompleted]) -> dict[str, Decimal]:
    wanted: defaultdict[str, Decimal] = defaultdict(Decimal)
    left = iter(events)
    while some := list(islice(left, 10_000)):
        journal.append(some).wait()
        for one in some:
            wanted[one.customer_id] += one.seconds
    return dict(wanted)


@contextmanager
def far_double() -> Iterator[tuple[str, Any]]:
    """Give the address of a double in a process of its own, and what asks for its totals."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()

        def totals() -> dict[str, Decimal]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            return {c: Decimal(v) for c, v in json.loads(process.stdout.readline()).items()}

        yield address, totals


def serve() -> None:
    with StripeSandbox(rules=ANY_CUSTOMER, latency_seconds=LATENCY) as double:
        print(double.base_url, flush=True)
        sys.stdin.read()
        totals = {customer: str(v) for (customer, _), v in double.truth().totals.items()}
        print(json.dumps(totals), flush=True)


def bare_call() -> float:
    """Return how long a call of the bare SDK takes, one after the other; seconds."""
    with far_double() as (address, totals):
        client = StripeClient(
            "sk_live_bench", base_addresses={"api": address, "meter_events": address}
        )
        client.v1.billing.meters.create(
            {
                "display_name": "seconds",
                "event_name": "seconds",
                "default_aggregation": {"formula": "sum"},
            }
        )
        began = time.perf_counter()
        for _n in range(BARE_CALLS):
            client.v1.billing.meter_events.create(
                {
                    "event_name": "seconds",
                    "payload": {"stripe_customer_id": "cus_1", "value": "60"},
                }
            )
        seconds = (time.perf_counter() - began) / BARE_CALLS
        assert totals() == {"cus_1": 60 * BARE_CALLS}
    print(f"bare SDK: {seconds * 1000:.1f} ms a call")
    return seconds


def measure_pace(
    name: str, events: list[AsyncCompleted], *, longest: int, calls: int, call: float
) -> float:
    with tempfile.TemporaryDirectory() as folder, far_double() as (address, totals):
        journal, worker = worker_for(
            StripeSink, Path(folder), base_url=address, max_per_second=PACE
        )
        wanted = fill(journal, events)
        began = time.perf_counter()
        while worker.step():
            pass
        seconds = time.perf_counter() - began
        journal.close()
        assert totals() == wanted
    floor = max(calls / PACE, longest * call)
    print(
        f"{name:7} {calls:6} calls  {calls / seconds:6.1f} a second  {seconds:6.2f} s, "
        f"floor {floor:5.2f} s: {floor / seconds:.2f} (goal {PACE_TARGET})"
    )
    return floor / seconds


class Unpaced(StripeSink):
    """Speaks to books in this process, and waits for no pace."""

    double: StripeBooks

    def http_client(self) -> Any:
        """Return the double as the SDK's client."""
        return InProcessStripe(self.double)

    def sleep(self, seconds: float) -> None:
        """Go on at once."""


def queue(count: int, customers: int) -> None:
    Unpaced.double = StripeBooks(rules=ANY_CUSTOMER, keep_requests=0)
    with tempfile.TemporaryDirectory() as folder:
        journal, worker = worker_for(Unpaced, Path(folder), max_per_second=1000)
        wanted = fill(journal, usage(count, customers))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        while worker.step():
            pass
        seconds = time.perf_counter() - began
        journal.close()
    truth = Unpaced.double.truth()
    assert {customer: v for (customer, _), v in truth.totals.items()} == wanted
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {"seconds": seconds, "calls": len(truth.events), "peak": peak, "before": before}
    print(json.dumps(figures))


def measure_queue(name: str, count: int, customers: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--queue", str(count), str(customers)],
        check=True,
        capture_output=True,
        text=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    print(
        f"{name:7} {count:6} events  {figures['calls']:.0f} intents in {figures['seconds']:.2f} s, "
        f"peak {figures['peak'] / 1024:.0f} MB ({figures['before'] / 1024:.0f} before)"
    )
    return figures


def main() -> None:
    stripe.enable_telemetry = False
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--queue", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--events", type=int, default=100_000)
    given = parser.parse_args()
    if given.serve:
        serve()
    elif given.queue:
        queue(*given.queue)
    else:
        even = list(usage(1000, 1000))
        call = bare_call()
        measure_pace("even", even, longest=1, calls=1000, call=call)
        measure_pace("uneven", uneven(), longest=100, calls=300, call=call)
        measure_queue("queue", given.events, 1000)
        print(f"        goal: 100,000 events in under {QUEUE_TARGET_SECONDS:.0f} s")
        peaks = [measure_queue("memory", n, 100)["peak"] for n in (50_000, 500_000)]
        print(f"        {(peaks[1] - peaks[0]) / 1024:+.0f} MB for ten times as many; goal: flat")


if __name__ == "__main__":
    main()
