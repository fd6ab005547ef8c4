"""`/healthz` and `/readyz`: alive, ready, and why not."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from acceptance.packages import unpacked
from acceptance.process import Meter, pipelines, wait_until
from meter.clock import SystemClock
from meter.config import ServerOptions
from meter.errors import JournalUnavailable
from meter.journal import open_journal
from meter.server.app import App
from meter.server.health import Health
from server.conftest import INGEST, fact, post_events
from server.exposition import scrape
from support.clocks import FakeClock


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    (tmp_path / "mood").write_text("well")
    meter = Meter(tmp_path / "site", packages=unpacked(tmp_path / "packages"))
    odd = {"type": "stranger", "path": "out", "mood": "mood"}
    ingest = {"type": "ingest", "secret": INGEST}
    meter.configure(pipelines(collectors={"apps": ingest}, sinks={"odd": odd}))
    yield meter
    meter.kill()


def mood(meter: Meter, text: str) -> None:
    (meter.folder / "mood").write_text(text)


def test_a_full_disk_is_unready_with_the_reason_and_alive(meter: Meter) -> None:
    meter.start()
    _, hard = resource.prlimit(meter.pid, resource.RLIMIT_FSIZE)
    size = (meter.folder / "meter.db-wal").stat().st_size
    resource.prlimit(meter.pid, resource.RLIMIT_FSIZE, (size, hard))
    wait_until(lambda: meter.get("/readyz").status_code == 503)
    told = meter.get("/readyz").json()
    assert told["status"] == "the journal cannot be written"
    assert "meter.db" in told["why"]
    proxied = {"x-forwarded-for": "203.0.113.7"}
    distant = httpx.get(f"{meter.url}/readyz", headers=proxied, trust_env=False)
    assert (distant.status_code, distant.json()) == (503, {"status": told["status"]})
    assert meter.get("/healthz").json()["status"] == "alive"
    assert post_events(meter, fact(1)).status_code == 503
    wait_until(lambda: scrape(meter).value("meter_journal_writable") == 0)

    resource.prlimit(meter.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(meter.is_ready)
    assert post_events(meter, fact(1)).status_code == 200
    assert [line["level"] for line in meter.logs("journal.unwritable")] == ["error"]
    assert len(meter.logs("journal.writable")) == 1


def test_a_sink_that_is_parked_or_hangs_is_no_reason_to_be_unready(meter: Meter) -> None:
    mood(meter, "fatal")
    meter.start()
    post_events(meter, fact(1))
    wait_until(lambda: scrape(meter).value("meter_sink_parked", sink="odd") == 1)
    assert meter.get("/readyz").json() == {"status": "ready"}
    meter.stop()
    mood(meter, "hanging")
    meter.start()
    wait_until((meter.folder / "mood.hangs").exists)
    assert meter.get("/readyz").json() == {"status": "ready"}


def test_a_meter_that_ends_is_never_ready_again(meter: Meter) -> None:
    mood(meter, "hanging")
    meter.start()
    post_events(meter, fact(1))
    wait_until((meter.folder / "mood.hangs").exists)
    meter.send(signal.SIGTERM)
    wait_until(lambda: meter.logs("run.stopping"))
    for _ in range(20):
        assert not meter.is_ready()
    assert not meter.has_ended(), "it waits for the sink in hand"


class Slow:
    """A journal whose disk answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_asked = asyncio.Event()
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def probe(self) -> Awaitable[None]:
        self.asked += 1
        self.is_asked.set()
        return self.answer


def test_whoever_asks_meanwhile_waits_for_one_answer_which_stands_for_a_second() -> None:
    async def scene() -> None:
        clock, journal = FakeClock(), Slow()
        health = Health(journal, clock)  # type: ignore[arg-type]  # because only `probe` is asked for
        asking = [asyncio.create_task(health.unwritable()) for _ in range(5)]
        await asyncio.wait_for(journal.is_asked.wait(), 10)
        journal.answer.set_result(None)
        assert await asyncio.gather(*asking) == [None] * 5
        assert await health.unwritable() is None
        assert journal.asked == 1
        clock.advance(seconds=1)
        journal.answer = asyncio.get_running_loop().create_future()
        journal.answer.set_exception(JournalUnavailable("full"))
        assert await health.unwritable() == "full"
        assert journal.asked == 2

    asyncio.run(scene())


def test_a_disk_that_does_not_answer_is_told_and_asked_once() -> None:
    async def scene() -> None:
        journal = Slow()
        health = Health(journal, FakeClock(), patience=0.01)  # type: ignore[arg-type]  # because only `probe` is asked for
        for _ in range(3):
            assert "has not answered" in (await health.unwritable() or "")
        assert journal.asked == 1
        journal.answer.set_result(None)
        assert await health.unwritable() is None

    asyncio.run(scene())


def test_a_journal_that_stays_unwritable_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def scene() -> None:
        clock, journal = FakeClock(), Slow()
        health = Health(journal, clock)  # type: ignore[arg-type]  # because only `probe` is asked for
        for error in (None, "full", "full", "full", None, None, "gone"):
            journal.answer = asyncio.get_running_loop().create_future()
            if error is None:
                journal.answer.set_result(None)
            else:
                journal.answer.set_exception(JournalUnavailable(error))
            assert await health.unwritable() == error
            clock.advance(seconds=1)

    asyncio.run(scene())
    told = [record.getMessage() for record in caplog.records if record.name == "meter.server"]
    assert told == ["journal.unwritable", "journal.writable", "journal.unwritable"]


@pytest.mark.parametrize(
    ("client", "headers", "local"),
    [
        (("127.0.0.1", 1), [], True),
        (("127.8.8.8", 1), [], True),
        (("::1", 1, 0, 0), [], True),
        (("::ffff:127.0.0.1", 1, 0, 0), [], True),
        (("203.0.113.7", 1), [], False),
        (("::ffff:203.0.113.7", 1, 0, 0), [], False),
        (("127.0.0.1", 1), [(b"x-forwarded-for", b"127.0.0.1")], False),
        (("a-name", 1), [], False),
        (None, [], False),
    ],
)
def test_mounted_in_another_app_it_knows_this_machine_from_others(
    tmp_path: Path, client: Any, headers: list[Any], *, local: bool
) -> None:
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    app = App([], options=ServerOptions(), journal=journal, clock=SystemClock())
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    (tmp_path / "m.db").unlink()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/readyz",
        "query_string": b"",
        "headers": headers,
        "client": client,
    }
    asyncio.run(app(scope, receive, send))
    journal.close()
    assert sent[0]["status"] == 503
    assert (b'"why"' in sent[1]["body"]) is local
