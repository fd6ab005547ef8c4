"""`kill -9` while the Stripe sink sends: Stripe bills what the journal has, to the second.

A sample runs with the other tests. All of it:

    METER_KILLS=100 pytest tests/acceptance/test_stripe_kill.py --timeout=3600

METER_SEED=<number> chooses other moments.
"""

import json
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

import httpx
import pytest

from acceptance.process import Meter, free_port, wait_until
from meter.events import AsyncCompleted, StreamTerminated, encode_event
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox

pytestmark = pytest.mark.acceptance

KILLS: Final = int(os.environ.get("METER_KILLS", "6"))
SEED: Final = int(os.environ.get("METER_SEED", "1"))
LATENCY_SECONDS: Final = 0.02
"""Long enough that kills hit calls that are on their way."""
SECRET: Final = "s3cret-of-the-apps"
CUSTOMERS: Final = ("cus_anna", "cus_bert", "cus_carl", "cus_dora")
UNITS: Final = {"jobs": 1, "streams": 60}
AT_A_TIME: Final = 3
PAUSE_SECONDS: Final = 0.06
Usage = AsyncCompleted | StreamTerminated


class Loader:
    """An application that posts usage, and posts it again until it is acknowledged.

    All of it lies in past hours, so that no event has to wait for its minute.
    """

    def __init__(self, url: str) -> None:
        self.posted: list[Usage] = []
        self._url = url
        self._chance = Random(f"{SEED}/usage")
        self._began = datetime.now(UTC) - timedelta(hours=1)
        self._ending = threading.Event()
        self._posting: Future[None] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Post until the block ends, and then until what is in hand is acknowledged."""
        with ThreadPoolExecutor(1) as pool:
            self._posting = pool.submit(self._post)
            try:
                yield
            finally:
                self._ending.set()
            self._posting.result()

    def trouble(self) -> str | None:
        """Say why nothing more comes."""
        return str(self._posting.exception()) if self._posting and self._posting.done() else None

    def _post(self) -> None:
        headers = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}
        with httpx.Client(headers=headers, trust_env=False, timeout=10) as client:
            while not self._ending.wait(PAUSE_SECONDS):
                events = [self._event() for _ in range(AT_A_TIME)]
                body = json.dumps([as_posted(event) for event in events])
                deadline = time.monotonic() + 60
                while not _taken(client, f"{self._url}/v1/events", body):
                    assert time.monotonic() < deadline, "meter does not come back"
                    time.sleep(0.05)
                self.posted += events

    def _event(self) -> Usage:
        chance, number = self._chance, len(self.posted) * 10 + self._chance.randrange(10**9) * 10**6
        kind: type[Usage] = chance.choice((AsyncCompleted, StreamTerminated))
        at = self._began - timedelta(hours=chance.uniform(0, 400))
        return kind(
            provider_id=f"job-{number}",
            customer_id=chance.choice(CUSTOMERS),
            collector="apps",
            occurred_at=at,
            recorded_at=at,
            seconds=Decimal(chance.randint(0, 900_000)).scaleb(-3),
        )


def test_stripe_bills_each_second_once_whenever_meter_is_killed(meter: Meter) -> None:
    chance = Random(f"{SEED}/kills")
    rules = StripeRules(test_events_per_second=None, unknown_customers="accepted")
    with StripeSandbox(latency_seconds=LATENCY_SECONDS, seed=SEED, rules=rules) as double:
        port = free_port()
        meter.configure(pipelines(double.base_url, port))
        loader = Loader(f"http://127.0.0.1:{port}")
        meter.start()
        with loader.running():
            for _ in range(KILLS):
                if chance.random() < 0.2:  # while it starts, too
                    time.sleep(chance.uniform(0, 0.3))
                else:
                    before = events_taken(double)
                    wait_until(lambda: events_taken(double) > before, unless=loader.trouble)  # noqa: B023  because it is called within the turn of the loop
                    time.sleep(chance.uniform(0, 0.4))
                meter.kill()
                meter.spawn()
            meter.wait_ready()
        wait_until(
            lambda: at_rest(meter, len(loader.posted)),
            seconds=60 + KILLS,
            showing=lambda: (len(loader.posted), meter.status()[1]),
        )
        code, status = meter.status()
        assert meter.stop() == 0
        truth, requests = double.truth(), double.books.requests

    expected = {
        pair: Decimal(int(seconds // UNITS[pair[1]]))
        for pair, seconds in used(loader.posted).items()
    }
    assert truth.totals == expected
    slots = Counter((e.customer, e.event_name, e.minute) for e in truth.events if e.stands)
    assert [slot for slot, events in slots.items() if events > 1] == []
    sent = Counter(r.params["identifier"] for r in requests if r.path.endswith("/meter_events"))
    again = sum(count > 1 for count in sent.values())
    assert again > 0, "no kill hit a call that was on its way"
    assert code == 0
    assert sum(status["events"].values()) == len(loader.posted)
    (balance,) = status["balances"]
    assert balance["delivered"] == len(loader.posted) > KILLS


def pipelines(base_url: str, port: int) -> dict[str, Any]:
    billing = {
        "type": "stripe",
        "api_key": "sk_test_sandbox",
        "meters": [
            {"event_name": "jobs", "kinds": "async_completed"},
            {"event_name": "streams", "kinds": "stream_terminated", "unit": "minute"},
        ],
        "customers": "passthrough",
        "create_missing": True,
        "start": "beginning",
        "max_per_second": 200,
        "period_day": "none",
        "base_url": base_url,
    }
    return {
        "journal": "meter.db",
        "server": {"host": "127.0.0.1", "port": port},
        "collectors": {"apps": {"type": "ingest", "secret": SECRET}},
        "sinks": {"billing": billing},
        "pipelines": {"usage": {"from": ["apps"], "to": ["billing"]}},
    }


def as_posted(event: Usage) -> dict[str, Any]:
    """Return an event as an application posts it: what meter says itself is left out."""
    known = {"kind": event.kind}
    posted = json.loads(encode_event(event))
    named = ("provider_id", "customer_id", "occurred_at", "seconds")
    return known | {name: posted[name] for name in named}


def used(events: list[Usage]) -> dict[tuple[str, str], Decimal]:
    """Add up exact seconds by Stripe customer and meter."""
    seconds: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for event in events:
        name = "jobs" if isinstance(event, AsyncCompleted) else "streams"
        seconds[event.customer_id, name] += event.seconds
    return dict(seconds)


def events_taken(double: StripeSandbox) -> int:
    return len(double.truth().events)


def at_rest(meter: Meter, events: int) -> bool:
    _, status = meter.status()
    return sum(status["events"].values()) == events and not any(
        b["pending"] or b["retrying"] for b in status["balances"]
    )


def _taken(client: httpx.Client, url: str, body: str) -> bool:
    """Post once; tell whether it is acknowledged."""
    try:
        answer = client.post(url, content=body)
    except httpx.TransportError:
        return False
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return False
    assert answer.status_code == httpx.codes.OK, answer.text
    results = answer.json()["results"]
    assert all(one["status"] in ("recorded", "duplicate") for one in results), results
    return True
