"""`GET /metrics` of a real run: what is on the page, who gets it, and what cannot hinder it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from acceptance.packages import unpacked
from acceptance.process import API_KEY, Meter, pipelines, wait_until
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import JobPlan
from meter.server.catalogue import CATALOGUE, PROCESS
from server.conftest import INGEST, Troubled, fact, post_events
from server.exposition import Scrape, scrape

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3"


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    meter = Meter(tmp_path / "site", packages=unpacked(tmp_path / "packages"))
    yield meter
    meter.kill()


def ingesting(meter: Meter, **changes: object) -> Meter:
    config = pipelines(collectors={"apps": {"type": "ingest", "secret": INGEST}})
    return meter.configure(config | changes)


def test_the_page_is_the_catalogue_with_its_labels_and_nothing_else(well: Meter) -> None:
    found = scrape(well)
    assert found.kinds == {metric.name: metric.kind for metric in (*CATALOGUE, *PROCESS)}
    by_name = {metric.name: metric for metric in (*CATALOGUE, *PROCESS)}
    seen = set()
    for sample in found.samples:
        name = sample.name
        if name not in by_name:
            name, _, part = name.rpartition("_")
            assert part in {"bucket", "sum", "count"}, sample
        assert set(sample.labels) - {"le"} == set(by_name[name].labels), sample
        seen.add(name)
    assert seen == set(by_name)


def test_counters_and_gauges_say_what_happened_and_what_status_says(meter: Meter) -> None:
    ingesting(meter).start()
    post_events(meter, fact(1), fact(2), fact(3), {"no": "event"})
    post_events(meter, fact(1), fact(2, customer_id="another"))
    post_events(meter, secret="wrong")
    wait_until(lambda: scrape(meter).total("meter_sink_events", state="delivered") == 6)
    found = scrape(meter)
    received = "meter_collector_{}_events_total"
    assert found.value(received.format("received"), collector="apps") == 5
    kind = "async_completed"
    assert found.value(received.format("recorded"), collector="apps", kind=kind) == 3
    assert found.value(received.format("duplicate"), collector="apps", kind=kind) == 1
    assert found.value(received.format("conflicting"), collector="apps") == 1
    refused = {
        s.labels["reason"]: s.value for s in found.named("meter_collector_refused_total") if s.value
    }
    assert refused == {"invalid": 1, "unauthorized": 1}
    _, status = meter.status()
    for balance in status["balances"]:
        sink = balance["sink"]
        assert found.value("meter_sink_delivered_events_total", sink=sink) == 3
        assert found.value("meter_sink_batch_duration_seconds_count", sink=sink) >= 1
        for state in ("pending", "delivered", "filtered", "held", "retrying"):
            assert found.value("meter_sink_events", sink=sink, state=state) == balance[state]
    assert found.value("meter_quarantine_open", collector="apps") == 1
    assert found.value("meter_journal_events_total", kind=kind) == status["events"][kind] == 3
    assert found.value("meter_journal_commit_writes_sum") >= 3

    meter.stop()
    meter.start()
    again = scrape(meter)
    assert again.total(received.format("recorded")) == 0, "a counter of the process"
    assert again.total(received.format("conflicting")) == 1, "kept in the journal"
    assert again.total("meter_journal_events_total") == 3


def test_no_customer_and_no_session_is_on_the_page(well: Meter) -> None:
    post_events(well, fact("s3cret", customer_id="a-customer-of-ours"))
    text = scrape(well).text
    assert "a-customer-of-ours" not in text
    assert "Acme" not in text
    assert "job-" not in text


def test_who_asks_for_openmetrics_gets_it_and_others_the_text_format(well: Meter) -> None:
    open_ = httpx.get(f"{well.url}/metrics", headers={"accept": OPENMETRICS}, trust_env=False)
    assert open_.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_.text.endswith("# EOF\n")
    plain = httpx.get(f"{well.url}/metrics", headers={"accept": "*/*"}, trust_env=False)
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("mood", ["hanging", "broken", "fatal"])
def test_a_scrape_answers_whatever_a_sink_does(meter: Meter, mood: str) -> None:
    (meter.folder / "mood").write_text(mood)
    stranger = {"type": "stranger", "path": "out", "mood": "mood"}
    config = pipelines(
        collectors={"apps": {"type": "ingest", "secret": INGEST}}, sinks={"odd": stranger}
    )
    meter.configure(config).start()
    post_events(meter, fact(1))
    wait_until(lambda: scrape(meter).value("meter_sink_events", sink="ledger", state="delivered"))
    found = scrape(meter)
    assert found.value("meter_sink_events", sink="odd", state="delivered") == 0
    assert found.value("meter_sink_unbalanced_events", sink="odd") == 0


def test_a_scrape_answers_without_its_journal_and_says_so(meter: Meter) -> None:
    ingesting(meter).start()
    moved = (meter.folder / "meter.db").rename(meter.folder / "moved.db")
    wait_until(lambda: scrape(meter).value("meter_journal_writable") == 0)
    found = scrape(meter)
    assert found.total("meter_journal_commits_failed_total") > 0
    assert found.value("meter_sink_delivered_events_total", sink="ledger") == 0
    moved.rename(meter.folder / "meter.db")
    wait_until(lambda: scrape(meter).value("meter_journal_writable") == 1)
    assert scrape(meter).value("meter_journal_readable") == 1


def asked(meter: Meter, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{meter.url}/metrics", headers=named, trust_env=False).status_code


def test_without_a_secret_only_this_machine_itself_is_answered(meter: Meter) -> None:
    ingesting(meter).start()
    assert asked(meter) == 200
    for header in ("x_forwarded_for", "forwarded", "via", "x_real_ip"):
        assert asked(meter, **{header: "203.0.113.7"}) == 403, "a proxy on this machine"


def test_with_a_metrics_secret_everybody_sends_it_or_the_admin_secret(meter: Meter) -> None:
    server = {"port": 0, "metrics_secret": "m3trics", "admin_secret": "adm1n"}
    ingesting(meter, server=server).start()
    assert asked(meter) == 401
    assert asked(meter, authorization="Bearer wrong") == 401
    assert asked(meter, authorization="Basic m3trics") == 401
    assert asked(meter, authorization="Bearer m3trics") == 200
    assert asked(meter, authorization="Bearer adm1n", x_forwarded_for="203.0.113.7") == 200
    assert "m3trics" not in meter.log.read_text()


def test_with_an_admin_secret_alone_this_machine_needs_none(meter: Meter) -> None:
    ingesting(meter, server={"port": 0, "admin_secret": "adm1n"}).start()
    assert asked(meter) == 200
    assert asked(meter, x_forwarded_for="203.0.113.7") == 401
    assert asked(meter, x_forwarded_for="203.0.113.7", authorization="Bearer adm1n") == 200


def test_many_scrapes_at_once_are_all_answered_and_agree(well: Meter) -> None:
    async def all_at_once() -> list[str]:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            url = f"{well.url}/metrics"
            return [a.text for a in await asyncio.gather(*(client.get(url) for _ in range(20)))]

    totals = {Scrape(t).total("meter_journal_events_total") for t in asyncio.run(all_at_once())}
    assert len(totals) == 1


def test_no_command_but_run_pays_for_the_library() -> None:
    code = (
        "import sys, json, meter.cli, meter.cli.status, meter.server.running;"
        "print(json.dumps([m for m in sys.modules if m.startswith('prometheus')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def has(meter: Meter, name: str, value: float) -> bool:
    return scrape(meter).total(name) == value


def test_a_webhook_that_comes_twice_is_received_twice_and_recorded_once(meter: Meter) -> None:
    with AssemblyAISandbox(latency=0) as double:
        double.plan_next(JobPlan(status="completed", audio_duration=60, webhook_copies=0))
        sdk = {"authorization": API_KEY}
        job = {"audio_url": "https://a.example/a.mp3"}
        submitted = httpx.post(
            f"{double.base_url}/v2/transcript", json=job, headers=sdk, trust_env=False
        )
        body = {"transcript_id": submitted.json()["id"], "status": "completed"}
        meter.configure(pipelines(double.base_url)).start()
        name = "meter_collector_{}_events_total"
        for times in (1, 2, 3):
            assert meter.post("customer_id=acme", body).status_code == 200
            wait_until(partial(has, meter, name.format("received"), times))
            wait_until(lambda: scrape(meter).total("meter_receipts_open") == 0)
        found = scrape(meter)
        kind = {"collector": "transcripts", "kind": "async_completed"}
        assert found.value(name.format("recorded"), **kind) == 1
        assert found.value(name.format("duplicate"), **kind) == 2


def test_sessions_that_are_asked_for_and_refused_are_counted(well: Meter) -> None:
    before = scrape(well)
    token = well.command("token", "--customer", "acme").stdout.strip()
    live = well.url.replace("http", "ws", 1) + "/v3/ws?token="
    for given in ("no-token", "no-token", token):  # nobody answers at the third's upstream
        with contextlib.suppress(WebSocketException), connect(live + given, proxy=None) as socket:
            socket.recv()
    after = scrape(well)

    def more(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    assert more("meter_relay_sessions_total", collector="live") == 1
    refused = "meter_collector_refused_total"
    assert more(refused, collector="live", reason="unauthorized") == 2
    assert more(refused, collector="live", reason="unavailable") == 1
    assert more(refused) == 3
    assert after.value("meter_relay_clients", collector="live") == 0


def test_what_becomes_of_events_is_counted_for_each_sink(troubled: Troubled) -> None:
    meter = troubled.meter
    name = "meter_sink_{}_events_total"
    wait_until(lambda: scrape(meter).value("meter_sink_failures_total", sink="busy") > 1)
    found = scrape(meter)
    assert found.value(name.format("rejected"), sink="refuses") == 1
    assert found.value(name.format("delivered"), sink="ledger") == 1
    assert found.value(name.format("delivered"), sink="busy") == 0
    assert found.value("meter_sink_failures_total", sink="ledger") == 0
    (meter.folder / "busy.mood").write_text("silent")
    wait_until(lambda: scrape(meter).value(name.format("retried"), sink="busy") == 1)
    assert scrape(meter).value("meter_sink_events", sink="busy", state="retrying") == 1
    assert scrape(meter).value("meter_sink_unbalanced_events", sink="busy") == 0
