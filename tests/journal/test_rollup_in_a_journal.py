"""The rollup follows the events: each is in it once, whatever dies, and whoever else adds."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from meter.events import encode_event
from meter.journal import Journal, open_journal
from meter.journal import sqlite_schema as schema
from meter.reports.usage import Question, usage
from support.clocks import FakeClock
from support.facts import NOON, completed
from support.waiting import eventually

EVENTS = [
    completed(
        n,
        customer_id=f"c{n % 7}",
        seconds=Decimal(n) / 8,
        occurred_at=NOON + timedelta(minutes=11 * n),
    )
    for n in range(3000)
]
EXPECTED = sum(int(event.seconds * 10**9) for event in EVENTS)
CATCHING_UP = """
import sys
from meter.clock import SystemClock
from meter.journal import open_journal
journal = open_journal(sys.argv[1], SystemClock())
while journal.rollup.catch_up(20):
    print(journal.rollup.behind(), flush=True)
"""


def rollup_alone(path: Path) -> tuple[int, int, list[int]]:
    """Return the mark, the events beyond it by the tables alone, and each table's nanoseconds."""
    with closing(sqlite3.connect(path)) as c:
        c.execute("BEGIN")  # one moment, while others write
        (mark,) = c.execute("SELECT offset FROM usage_mark").fetchone()
        tables = ("usage_quarters", "usage_days", "usage_months")
        rows = [
            c.execute(f"SELECT sum(events), sum(seconds), sum(nanos) FROM {table}").fetchone()
            for table in tables
        ]
    (events,) = {n for n, _, _ in rows}
    return mark, events or 0, [(s or 0) * 10**9 + (n or 0) for _, s, n in rows]


def total(journal: Journal) -> int:
    return sum(u.nanos for u in usage(journal, Question(by=("customer",), zone=ZoneInfo("UTC"))))


def test_kill_9_in_the_midst_of_catching_up_counts_every_event_once(tmp_path: Path) -> None:
    path = tmp_path / "meter.db"
    with closing(open_journal(str(path), FakeClock())) as journal:
        journal.append(EVENTS).wait()
    kills = 0
    for lines in (1, 7, 20, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", CATCHING_UP, str(path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process.stdout:
            for _ in range(lines):
                process.stdout.readline()
            process.kill()
        kills += process.wait() == -signal.SIGKILL
        mark, events, sums = rollup_alone(path)
        assert mark == events > 0, "offsets are dense here: what is marked is what is counted"
        done = sum(int(event.seconds * 10**9) for event in EVENTS[:mark])
        assert sums == [done] * 3
        with closing(open_journal(str(path), FakeClock())) as journal:
            assert total(journal) == EXPECTED
    assert kills > 0
    with closing(open_journal(str(path), FakeClock())) as journal:
        while journal.rollup.catch_up(500):
            pass
        assert total(journal) == EXPECTED
    assert rollup_alone(path) == (3000, 3000, [EXPECTED] * 3)


def test_several_processes_that_catch_up_at_once_count_no_event_twice(tmp_path: Path) -> None:
    path = tmp_path / "meter.db"
    with closing(open_journal(str(path), FakeClock())) as journal:
        journal.append(EVENTS[:2000]).wait()
    together = [
        subprocess.Popen([sys.executable, "-c", CATCHING_UP, str(path)], stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    with closing(open_journal(str(path), FakeClock())) as journal:
        for start in range(2000, 3000, 50):
            journal.append(EVENTS[start : start + 50]).wait()
            journal.rollup.catch_up(30)
        assert [process.wait(60) for process in together] == [0, 0]
        while journal.rollup.behind():
            journal.rollup.catch_up(100)
        assert total(journal) == EXPECTED
    assert rollup_alone(path) == (3000, 3000, [EXPECTED] * 3)


def test_sums_stay_right_while_a_running_process_records_and_follows(tmp_path: Path) -> None:
    path = tmp_path / "meter.db"
    running = open_journal(str(path), FakeClock(), run=True)
    beside = open_journal(str(path), FakeClock())
    seen: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            seen.append(total(beside))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for start in range(0, 3000, 25):
            running.append(EVENTS[start : start + 25]).wait()
        # The running process caught up by itself, all but what is not worth a transaction.
        # While events come in, it rests forty times as long as it worked.
        eventually(lambda: rollup_alone(path)[0] > 2000, seconds=60)
    finally:
        ended.set()
        looking.join()
        found = total(beside)
        beside.close()
        running.close()
    assert found == EXPECTED
    assert seen == sorted(seen), "no answer counted less than one before it"
    assert set(seen) <= {
        sum(int(e.seconds * 10**9) for e in EVENTS[:end]) for end in range(0, 3001, 25)
    }, "each answer is from one moment between two commits"


def test_a_journal_closes_at_once_whatever_the_follower_does(tmp_path: Path) -> None:
    for number in range(20):
        journal = open_journal(str(tmp_path / f"{number}.db"), FakeClock(), run=True)
        journal.append(EVENTS[:1500]).wait()
        if number % 2:
            eventually(lambda opened=journal: opened.rollup.behind() < 1500)  # type: ignore[misc]  # mypy cannot type a default of a lambda
        journal.close()
    assert not any(thread.name == "meter-rollup" for thread in threading.enumerate())


def test_a_journal_from_before_the_rollup_is_added_up_at_first_use(tmp_path: Path) -> None:
    path = tmp_path / "meter.db"
    with closing(sqlite3.connect(path)) as old:
        for script in schema._MIGRATIONS[:3]:
            for statement in schema._statements(script):
                old.execute(statement)
        old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 3")
        old.execute("INSERT INTO meta VALUES ('journal_id', 'the-old-one'), ('probe', '0')")
        old.executemany(
            "INSERT INTO events (event_id, body) VALUES (?, ?)",
            [(f"{n}:{e.event_id}", encode_event(e).decode()) for n in range(3) for e in EVENTS],
        )
        old.commit()
    with closing(open_journal(str(path), FakeClock())) as journal:
        assert rollup_alone(path) == (0, 0, [0] * 3)
        steps: list[tuple[int, int]] = []
        rows = usage(
            journal,
            Question(by=("customer",), zone=ZoneInfo("UTC")),
            lambda done, events: steps.append((done, events)),
        )
        assert sum(row.nanos for row in rows) == 3 * EXPECTED
        assert steps == [(9000, 9000)]
    assert rollup_alone(path) == (9000, 9000, [3 * EXPECTED] * 3)
