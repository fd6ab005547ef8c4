"""One run a journal, clear ends, and exit codes that a supervisor can act on."""

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from acceptance import books
from acceptance.events import events, write_events
from acceptance.packages import Stranger
from acceptance.process import API_KEY, Meter, pipelines, wait_until
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults

pytestmark = pytest.mark.acceptance

ENDS = [(signal.SIGTERM, 0), (signal.SIGINT, 130)]


@pytest.fixture
def double() -> Iterator[AssemblyAISandbox]:
    with AssemblyAISandbox(latency=0, faults=Faults(webhook_lost=1)) as double:
        yield double


@contextmanager
def load(double: AssemblyAISandbox, meter: Meter) -> Iterator[set[str]]:
    """Deliver webhooks as fast as one sender can; yields the ids that were acknowledged."""
    acknowledged: set[str] = set()
    ending = threading.Event()

    def send() -> None:
        with httpx.Client(headers={"authorization": API_KEY}, trust_env=False) as api:
            while not ending.is_set():
                body = {"audio_url": "https://recordings.example/a.mp3"}
                made = api.post(f"{double.base_url}/v2/transcript", json=body).json()
                try:
                    answer = meter.post("customer_id=acme", {"transcript_id": made["id"]})
                except httpx.TransportError:
                    continue
                assert answer.status_code in {200, 503}
                if answer.status_code == 200:
                    acknowledged.add(made["id"])

    with ThreadPoolExecutor(1) as pool:
        sender = pool.submit(send)
        try:
            yield acknowledged
        finally:
            ending.set()
        sender.result()


def test_a_second_run_on_one_journal_exits_4_and_names_the_first(meter: Meter) -> None:
    meter.configure(pipelines()).start()
    for arguments in (("run",), ("run", "--once")):
        second = meter.command(*arguments, "pipelines.yaml")
        assert second.returncode == 4
        assert f"pid {meter.pid}" in second.stderr
        assert "Traceback" not in second.stderr
    assert meter.status()[0] == 0
    assert meter.is_ready()
    assert meter.stop() == 0


def test_the_journal_is_free_again_after_a_kill(meter: Meter) -> None:
    meter.configure(pipelines()).start().kill()
    assert meter.start().stop() == 0


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_signal_under_load_ends_it_cleanly_and_the_next_run_delivers_the_rest(
    meter: Meter, double: AssemblyAISandbox, number: signal.Signals, code: int
) -> None:
    meter.configure(pipelines(double.base_url)).start()
    with load(double, meter) as acknowledged:
        wait_until(lambda: books.rows_delivered(meter.folder)[0] > 20)
        assert meter.stop(number) == code
    assert meter.status()[0] == 0
    meter.configure(pipelines(double.base_url, every="1h", lookback="1s")).start()
    wait_until(lambda: not meter.status()[1]["receipts"].get("open"))
    wait_until(lambda: not any(b["pending"] for b in meter.status()[1]["balances"]))
    assert meter.stop() == 0
    seconds = {row.transcript_id: row.seconds for row in double.truth()}
    ledger = books.in_sqlite(meter.folder / "usage.db")
    assert books.in_csv(meter.folder / "exports") == ledger
    assert {row.event_id for row in ledger} >= {f"assemblyai:transcript:{i}" for i in acknowledged}
    assert set(ledger) <= {books.usage(i, "acme", s) for i, s in seconds.items()}
    assert len(set(ledger)) == len(ledger)
    assert not any("traceback" in line for line in meter.logs())


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_sink_that_hangs_for_ever_does_not_keep_it_from_ending(
    meter: Meter, stranger: Stranger, number: signal.Signals, code: int
) -> None:
    source = {"type": "jsonl", "path": "events.jsonl"}
    meter.configure(pipelines(collectors={"import": source}, sinks={"theirs": stranger.options}))
    expected = write_events(meter.folder / "events.jsonl", events(40))
    stranger.feels("hanging")
    meter.start()
    wait_until(stranger.hangs)
    wait_until(lambda: books.rows_delivered(meter.folder) == (40, 40))
    assert meter.stop(number) == code
    assert [line["sink"] for line in meter.logs("sink.still_busy")] == ["theirs"]
    assert meter.status()[0] == 0

    stranger.feels("well")
    assert meter.once().returncode == 0
    assert stranger.delivered() == [row.event_id for row in expected]
    assert books.in_sqlite(meter.folder / "usage.db") == expected


def test_ctrl_c_ends_a_once_run_whose_sink_hangs(meter: Meter, stranger: Stranger) -> None:
    source = {"type": "jsonl", "path": "events.jsonl"}
    meter.configure(pipelines(collectors={"import": source}, sinks={"theirs": stranger.options}))
    write_events(meter.folder / "events.jsonl", events(40))
    stranger.feels("hanging")
    meter.spawn("--once")
    wait_until(stranger.hangs)
    wait_until(lambda: books.rows_delivered(meter.folder) == (40, 40))
    assert meter.stop(signal.SIGINT) == 130


def test_a_signal_wakes_a_sink_that_waits_for_its_next_attempt(
    meter: Meter, stranger: Stranger
) -> None:
    source = {"type": "jsonl", "path": "events.jsonl"}
    meter.configure(pipelines(collectors={"import": source}, sinks={"theirs": stranger.options}))
    write_events(meter.folder / "events.jsonl", events(5))
    stranger.feels("busy")
    meter.start()
    wait_until(lambda: len(meter.logs("sink.failed")) >= 3)
    assert meter.stop() == 0
    assert meter.logs("sink.still_busy") == []


def test_an_idle_connection_does_not_keep_it_from_ending(meter: Meter) -> None:
    meter.configure(pipelines()).start()
    with httpx.Client(trust_env=False) as idle:
        assert idle.get(f"{meter.url}/readyz").status_code == 200
        assert meter.stop() == 0


def test_a_port_that_is_taken_exits_2_and_says_which(meter: Meter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        meter.configure(pipelines(port=port))
        done = meter.command("run", "pipelines.yaml")
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "server.port" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_status_before_any_run_exits_4_and_makes_no_journal(meter: Meter) -> None:
    meter.configure(pipelines())
    done = meter.command("status", "pipelines.yaml")
    assert done.returncode == 4
    assert "meter run" in done.stderr
    assert not (meter.folder / "meter.db").exists()
