"""A session without an end is given up after its limit and a grace: with bounds, never billed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from collectors.conftest import MakeContext
from meter import hookimpl
from meter.clock import SystemClock
from meter.collectors.overdue import GRACE, abandon_overdue
from meter.events import Event, StreamAbandoned, event_id_for
from meter.journal import Journal, Quarantined, Session, open_journal
from support.clocks import FakeClock
from support.facts import NOON, abandoned, begun, completed, terminated

METER = Path(sys.executable).with_name("meter")
Sweep = Callable[..., int]


@pytest.fixture
def sweep(journal: Journal, clock: FakeClock, context: MakeContext) -> Sweep:
    def run(*plugins: object) -> int:
        work = abandon_overdue(journal, context(*plugins).intake, clock)
        return asyncio.run(asyncio.wait_for(work, 3))

    return run


def begin(journal: Journal, name: str = "s1", **changes: Any) -> None:
    given = {"expires_at": NOON + timedelta(hours=1), **changes}
    journal.sessions.open(begun(name, **given)).wait()


def found(journal: Journal, name: str = "s1") -> Session:
    session = journal.sessions.find(name)
    assert session is not None
    return session


def given_up(journal: Journal, name: str = "s1") -> StreamAbandoned:
    event = journal.find(event_id_for("assemblyai", "session", name, ":abandoned"))
    assert isinstance(event, StreamAbandoned)
    return event


def test_overdue_are_the_open_ones_that_expired_before_the_longest_ago_first(
    journal: Journal,
) -> None:
    for number in range(4):
        begin(journal, f"s{number}", expires_at=NOON - timedelta(minutes=number))
    journal.append([terminated("s3")]).wait()
    names = [s.provider_id for s in journal.sessions.overdue(NOON, limit=10)]
    assert names == ["s2", "s1"]
    later = NOON + timedelta(seconds=1)
    assert [s.provider_id for s in journal.sessions.overdue(later, limit=2)] == ["s2", "s1"]


def test_nothing_is_given_up_before_its_limit_and_the_grace(
    journal: Journal, clock: FakeClock, sweep: Sweep
) -> None:
    begin(journal)
    assert sweep() == 0
    clock.advance(hours=1, seconds=GRACE.total_seconds())
    assert sweep() == 0
    clock.advance(microseconds=1)
    assert sweep() == 1
    assert (found(journal).state, found(journal).ended_at) == ("abandoned", clock.now())
    assert sweep() == 0
    assert journal.totals().events == {"stream_abandoned": 1}


def test_the_event_says_whose_it_was_and_its_bounds_and_bills_nothing(
    journal: Journal, clock: FakeClock, sweep: Sweep
) -> None:
    begin(journal, dimensions={"project_id": "p"}, model="universal-streaming", collector="live")
    journal.sessions.lengthen([("s1", Decimal("1234.5"))]).wait()
    clock.advance(hours=2)
    sweep()
    event = given_up(journal)
    assert event.billed_seconds is None
    assert (event.lower_seconds, event.upper_seconds) == (Decimal("1234.5"), Decimal(3601))
    assert (event.customer_id, event.collector) == ("acme", "live")
    assert (event.dimensions, event.model) == ({"project_id": "p"}, "universal-streaming")
    assert (event.started_at, event.occurred_at, event.recorded_at) == (
        NOON,
        clock.now(),
        clock.now(),
    )


def test_what_has_ended_otherwise_is_left_alone(
    journal: Journal, clock: FakeClock, sweep: Sweep
) -> None:
    for name in ("closed", "abandoned", "quarantined", "open"):
        begin(journal, name)
    journal.append([terminated("closed")]).wait()
    journal.sessions.abandon(abandoned("abandoned")).wait()
    journal.sessions.set_aside("quarantined", Quarantined("apps", "k", "why", "{}")).wait()
    clock.advance(hours=2)
    assert sweep() == 1
    for name in ("closed", "abandoned", "quarantined"):
        assert found(journal, name).state == name
    assert found(journal, "open").state == "abandoned"


def test_more_than_one_page_is_given_up_in_one_sweep(
    journal: Journal, clock: FakeClock, sweep: Sweep, caplog: pytest.LogCaptureFixture
) -> None:
    tickets = [journal.sessions.open(begun(n, expires_at=NOON)) for n in range(1100)]
    for ticket in tickets:
        ticket.wait()
    clock.advance(hours=1)
    assert sweep() == 1100
    assert journal.totals().events == {"stream_abandoned": 1100}
    assert journal.totals().sessions == {}
    (line,) = [r for r in caplog.records if r.getMessage() == "sessions.abandoned"]
    assert vars(line)["sessions"] == 1100


def test_the_truth_that_comes_after_all_is_billed(
    journal: Journal, clock: FakeClock, sweep: Sweep
) -> None:
    begin(journal)
    clock.advance(hours=2)
    sweep()
    journal.append([terminated("s1", seconds=Decimal(42))]).wait()
    assert (found(journal).state, found(journal).seconds) == ("closed", Decimal(42))
    assert given_up(journal).billed_seconds is None
    assert sweep() == 0


def test_plugins_hear_of_it_and_may_add_dimensions(
    journal: Journal, clock: FakeClock, sweep: Sweep
) -> None:
    heard: list[Event] = []

    class Watching:
        @hookimpl
        def meter_enrich_event(self, event: Event) -> dict[str, str]:
            return {"plan": f"of {event.customer_id}"}

        @hookimpl
        def meter_event_recorded(self, event: Event) -> None:
            heard.append(event)

    begin(journal)
    clock.advance(hours=2)
    sweep(Watching())
    assert given_up(journal).dimensions == {"plan": "of acme"}
    assert heard == [given_up(journal)]


def test_a_begin_after_its_abandonment_opens_nothing_that_a_sweep_would_find(
    journal: Journal, clock: FakeClock, sweep: Sweep
) -> None:
    journal.append([abandoned("s1")]).wait()
    begin(journal)
    clock.advance(hours=2)
    assert sweep() == 0
    assert found(journal).state == "abandoned"
    assert journal.totals().events == {"stream_abandoned": 1}


def test_a_begin_after_another_customers_abandonment_is_a_conflict(
    journal: Journal, sweep: Sweep
) -> None:
    journal.append([abandoned("s1", customer_id="other")]).wait()
    begin(journal)
    assert journal.sessions.find("s1") is None
    assert sum(journal.totals().quarantined.values()) == 1
    assert sweep() == 0
    assert given_up(journal).customer_id == "other", "the first one stands"


def test_a_session_that_cannot_have_been_so_long_holds_up_no_other(
    journal: Journal, clock: FakeClock, sweep: Sweep
) -> None:
    """The sender's clock stood at 1970 when it said when Begin came."""
    begin(journal, "s1", started_at=NOON - timedelta(days=20_000))
    begin(journal, "s2")
    clock.advance(hours=2)
    assert sweep() == 2
    assert found(journal, "s2").state == "abandoned"
    assert found(journal, "s1").state == "abandoned"


# -- by the command ------------------------------------------------------------------------------


def once(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `meter run --once`, beside one imported fact, to a ledger of everything."""
    (folder / "events.jsonl").write_text("")
    (folder / "pipelines.yaml").write_text(
        "collectors: {import: {type: jsonl, path: events.jsonl},"
        " apps: {type: ingest, secret: s3cret}}\n"
        "sinks: {ledger: {type: sqlite, path: usage.db}}\n"
        "pipelines: {all: {from: [import, apps], to: ledger,"
        " kinds: [async_completed, stream_abandoned]}}\n"
    )
    return subprocess.run(
        [METER, "run", "--once"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def prepared(folder: Path, *begins: dict[str, Any]) -> None:
    journal = open_journal(str(folder / "meter.db"), SystemClock())
    now = SystemClock().now()
    started = {"started_at": now - timedelta(hours=4), "expires_at": now - timedelta(hours=1)}
    for number, changes in enumerate(begins):
        journal.sessions.open(begun(f"s{number}", **{**started, **changes})).wait()
    journal.append([completed(1, collector="import")]).wait()
    journal.close()


def delivered(folder: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(folder / "usage.db")) as ledger:
        return ledger.execute("SELECT kind, provider_id FROM usage ORDER BY 1, 2").fetchall()


def test_once_gives_up_what_is_overdue_and_delivers_it(tmp_path: Path) -> None:
    prepared(tmp_path, {}, {"expires_at": SystemClock().now() + timedelta(hours=1)})
    ran = once(tmp_path)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [x["sessions"] for x in lines if x["event"] == "sessions.abandoned"] == [1]
    assert delivered(tmp_path) == [("async_completed", "1"), ("stream_abandoned", "s0")]
    journal = open_journal(str(tmp_path / "meter.db"), SystemClock())
    assert journal.totals().sessions == {"open": 1}
    journal.close()


def test_once_never_hides_that_a_session_could_not_be_given_up(tmp_path: Path) -> None:
    prepared(tmp_path, {"started_at": NOON - timedelta(days=20_000)})
    ran = once(tmp_path)
    assert ("stream_abandoned", "s0") in delivered(tmp_path) or ran.returncode == 1
