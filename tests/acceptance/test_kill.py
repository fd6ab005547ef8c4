"""`kill -9` at random moments under load: what was acknowledged is billed, exactly once.

A sample runs with the other tests. The whole of it, 200 kills of each kind:

    METER_KILLS=200 pytest tests/acceptance/test_kill.py -n 2 --timeout=3600

METER_SEED=<number> chooses other moments.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import httpx
import pytest

from acceptance import books
from acceptance.events import events, write_events
from acceptance.process import (
    API_KEY,
    HEADER,
    HOOK,
    SECRET,
    Meter,
    free_port,
    pipelines,
    wait_until,
)
from meter.sandbox.customers import CUSTOMERS
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults

pytestmark = pytest.mark.acceptance

KILLS = int(os.environ.get("METER_KILLS", "6"))
SEED = int(os.environ.get("METER_SEED", "1"))
KILLS_AN_IMPORT = 3
IMPORTED = 20_000
SENDERS = 4
PAUSE_SECONDS = 0.04
"""Between two jobs of one sender: some 80 jobs a second in all."""
RETRY_WAIT = 0.05
"""AssemblyAI waits 10 s between attempts; otherwise the rules are its own."""


class Loader:
    """AssemblyAI under load: makes jobs, and delivers their webhooks until each is acknowledged.

    The double sends no webhook itself, so this ledger alone says what was acknowledged. Most
    jobs carry no `webhook_url`: backfill takes none of those, so only a receipt brings them in.
    Of the others, most race with backfill, and some are never delivered at all.
    """

    def __init__(self, base_url: str, meter_url: str, seed: int) -> None:
        self.named: dict[str, dict[str, str]] = {}
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self._base_url = base_url
        self._hook = meter_url + HOOK
        self._seed = seed
        self._ending = threading.Event()
        self._given_up = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Load until the block ends, and then until every delivery in hand is acknowledged."""
        with ThreadPoolExecutor(SENDERS) as pool:
            senders = [pool.submit(self._send, number) for number in range(SENDERS)]
            try:
                yield
            except BaseException:
                self._given_up.set()
                raise
            finally:
                self._ending.set()
            for sender in senders:
                sender.result()

    def _send(self, number: int) -> None:
        chance = Random(f"{self._seed}/{number}")
        again: deque[tuple[str, dict[str, str]]] = deque()
        headers = {"authorization": API_KEY}
        with (
            httpx.Client(base_url=self._base_url, headers=headers, trust_env=False) as api,
            httpx.Client(headers={HEADER: SECRET}, trust_env=False, timeout=10) as courier,
        ):
            job = 0
            while not self._ending.wait(PAUSE_SECONDS):
                job += 1
                customer = chance.choice(CUSTOMERS)
                named = {
                    "customer_id": customer.customer_id,
                    "project_id": chance.choice(customer.project_ids),
                }
                query = urlencode(named)
                fate = chance.random()
                body = {"audio_url": f"https://recordings.example/{number}/{job}.mp3"}
                if fate < 0.25:
                    body["webhook_url"] = f"{self._hook}?{query}"
                made = api.post("/v2/transcript", json=body).raise_for_status().json()
                self.named[made["id"]] = named
                if fate < 0.05:
                    continue
                address = f"/v2/transcript/{made['id']}"
                while (status := api.get(address).json()["status"]) not in ("completed", "error"):
                    self._ending.wait(0.01)
                body = {"transcript_id": made["id"], "status": status}
                self._deliver(courier, query, body)
                if chance.random() < 0.2:
                    again.append((query, body))
                if len(again) > 5:
                    self._deliver(courier, *again.popleft())
            for delivery in again:
                self._deliver(courier, *delivery)

    def _deliver(self, courier: httpx.Client, query: str, body: dict[str, str]) -> None:
        while not self._given_up.is_set():
            try:
                code = courier.post(f"{self._hook}?{query}", json=body).status_code
            except httpx.TransportError:
                code = None
            if code is not None and 200 <= code < 300:
                self.acknowledged.append(body["transcript_id"])
                return
            if code is not None and 400 <= code < 500:
                self.refused.append(code)
                return
            time.sleep(RETRY_WAIT)


def test_every_acknowledged_delivery_is_billed_once_whenever_meter_is_killed(meter: Meter) -> None:
    chance = Random(f"{SEED}/run")
    port = free_port()
    faults = Faults(webhook_lost=1, failed_jobs=0.1)
    with AssemblyAISandbox(faults=faults, latency=0, seed=SEED) as double:
        loader = Loader(double.base_url, f"http://127.0.0.1:{port}", SEED)
        meter.configure(
            pipelines(
                double.base_url,
                port=port,
                every="1s",
                lookback="1s",
                export="exports/{customer_id}.csv",
            )
        )
        # The first walk reaches back one second only: no job may be older than that.
        meter.start()
        wait_until(lambda: meter.logs("backfill.walked"))
        meter.kill()
        with loader.running():
            for _ in range(KILLS):
                if chance.random() < 0.25:
                    meter.spawn()
                    time.sleep(chance.uniform(0.05, 0.6))
                else:
                    meter.start()
                    time.sleep(chance.uniform(0, 0.5))
                meter.kill()
            meter.start()
        truth = {row.transcript_id: row for row in double.truth()}
        wait_until(
            lambda: at_rest(meter, len(truth)),
            seconds=60 + KILLS,
            showing=lambda: (len(truth), meter.status()[1]),
        )
        code, status = meter.status()
        assert meter.stop() == 0

    expected = sorted(
        books.usage(i, name["customer_id"], seconds, project_id=name["project_id"])
        for i, name in loader.named.items()
        if (seconds := truth[i].seconds) is not None
    )
    ledger = books.in_sqlite(meter.folder / "usage.db")
    export = books.in_csv(meter.folder / "exports")
    acknowledged = {
        f"assemblyai:transcript:{i}" for i in loader.acknowledged if truth[i].seconds is not None
    }
    assert loader.refused == []
    assert len(acknowledged) > KILLS
    assert acknowledged - {row.event_id for row in ledger} == set()
    assert acknowledged - {row.event_id for row in export} == set()
    assert ledger == expected
    assert export == expected
    assert code == 0
    assert status["quarantined"] == {}
    failed = sum(row.status == "error" for row in truth.values())
    assert status["events"] == {"async_completed": len(expected), "async_failed": failed}
    assert sum(status["receipts"].values()) >= len(loader.acknowledged)
    assert {(b["delivered"], b["filtered"]) for b in status["balances"]} == {
        (len(expected), failed)
    }


def at_rest(meter: Meter, jobs: int) -> bool:
    _, status = meter.status()
    return (
        sum(status["events"].values()) == jobs
        and not status["receipts"].get("open")
        and not any(b["pending"] or b["retrying"] for b in status["balances"])
    )


def test_an_import_that_is_killed_again_and_again_ends_exact(tmp_path: Path) -> None:
    chance = Random(f"{SEED}/import")
    kills = rounds = 0
    while kills < KILLS:
        rounds += 1
        assert rounds <= KILLS, "an import ends before it can be killed"
        meter = Meter(tmp_path / f"round-{rounds}")
        source = {"type": "jsonl", "path": "events.jsonl"}
        meter.configure(pipelines(collectors={"import": source}))
        expected = write_events(meter.folder / "events.jsonl", events(IMPORTED))
        for _ in range(KILLS_AN_IMPORT):
            meter.spawn("--once")
            time.sleep(chance.uniform(0.2, 1.1))
            if meter.has_ended():
                assert meter.wait(0) == 0
                break
            meter.kill()
            kills += 1
        last = meter.once()
        assert (last.returncode, last.stdout) == (0, ""), last.stderr
        assert books.in_sqlite(meter.folder / "usage.db") == expected
        assert books.in_csv(meter.folder / "exports") == expected
        code, status = meter.status()
        assert code == 0
        assert status["events"] == {"async_completed": IMPORTED}
        assert [b["delivered"] for b in status["balances"]] == [IMPORTED] * 2
