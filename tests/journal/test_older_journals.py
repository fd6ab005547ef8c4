"""A journal from an older meter is taken over as it is, once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from meter.events import Event, encode_event
from meter.journal import Journal, Recorded
from meter.journal import sqlite_schema as schema
from support.facts import begun, completed, terminated

RECORDED, DUPLICATE = Recorded.RECORDED, Recorded.DUPLICATE
OLD: list[Event] = [completed(1), terminated("s1", customer_id="ü")]
Opener = Callable[[], Journal]


def version_1(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for statement in schema._statements(schema._MIGRATIONS[0]):
            old.execute(statement)
        old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO meta VALUES ('journal_id', 'the-old-one'), ('probe', '0')")
        for number, event in enumerate(OLD, 1):
            body = encode_event(event).decode()
            old.execute("INSERT INTO events VALUES (?, ?, ?)", (number, event.event_id, body))
            old.execute("INSERT INTO event_counts VALUES (?, 1)", (event.kind,))


def test_a_journal_from_before_sessions_is_taken_over_as_it_is(
    tmp_path: Path, reopen: Opener
) -> None:
    version_1(tmp_path / "meter.db")
    journal = reopen()
    assert journal.journal_id == "the-old-one"
    assert journal.totals().events == {"async_completed": 1, "stream_terminated": 1}
    assert journal.totals().sessions == {}
    assert journal.append([completed(1), completed(2)]).wait() == [DUPLICATE, RECORDED]
    assert [entry.event for entry in journal.read(0, 9)][:2] == OLD
    assert journal.sessions.open(begun("s1", customer_id="ü")).wait() is RECORDED
    session = journal.sessions.find("s1")
    assert session is not None
    assert session.state == "closed", "its event was recorded before there were sessions"
    assert journal.sessions.open(begun("s2")).wait() is RECORDED
    journal.close()
    again = reopen()
    assert (again.journal_id, again.totals().sessions) == ("the-old-one", {"open": 1})


def test_what_status_counts_by_now_is_counted_when_an_older_file_is_taken_over(
    tmp_path: Path, reopen: Opener
) -> None:
    version_1(tmp_path / "meter.db")
    with closing(sqlite3.connect(tmp_path / "meter.db", isolation_level=None)) as old:
        for script in schema._MIGRATIONS[1:5]:
            for statement in schema._statements(script):
                old.execute(statement)
        old.execute("PRAGMA user_version = 5")
        old.execute("UPDATE usage_mark SET offset = 1")
        old.execute("INSERT INTO sinks (name, type, checkpoint) VALUES ('out', 'test', 0)")
        old.executemany(
            "INSERT INTO receipts (collector, received_at, query, fields, state, outcome)"
            " VALUES ('hook', 0, '', '{}', ?, ?)",
            [("settled", "recorded"), ("settled", "recorded"), ("settled", "gone"), ("open", None)],
        )
    totals = reopen().totals()
    assert totals.receipts == {"recorded": 2, "gone": 1, "open": 1}
    assert [balance.pending for balance in totals.balances] == [2]


def test_two_processes_that_take_over_an_older_file_at_once_do_it_once(
    tmp_path: Path, reopen: Opener
) -> None:
    version_1(tmp_path / "meter.db")
    together = threading.Barrier(4)
    opened: list[str] = []

    def take_over() -> None:
        together.wait(20)
        opened.append(reopen().journal_id)

    threads = [threading.Thread(target=take_over) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == ["the-old-one"] * 4
