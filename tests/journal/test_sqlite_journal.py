from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from meter.errors import JournalError, JournalLocked, JournalUnavailable
from meter.journal import Recorded, open_journal
from meter.journal.sqlite_journal import SqliteJournal
from support.clocks import FakeClock
from support.facts import completed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meter.db"


def test_a_second_run_on_one_journal_is_refused_and_the_owner_named(path: Path) -> None:
    first = open_journal(str(path), FakeClock(), run=True)
    with pytest.raises(JournalLocked, match=r"another `meter run` \(pid \d+\)"):
        open_journal(str(path), FakeClock(), run=True)
    beside = open_journal(str(path), FakeClock())
    assert beside.append([completed(1)]).wait() == [Recorded.RECORDED]
    beside.close()
    first.close()
    open_journal(str(path), FakeClock(), run=True).close()


def test_every_commit_is_fully_synchronous(path: Path) -> None:
    journal = open_journal(str(path), FakeClock())
    connection = journal._writer._connection  # type: ignore[attr-defined]  # what the writer really uses
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    journal.close()


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(JournalError, match="not a meter journal"):
        open_journal(str(path), FakeClock())
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    other.close()


def test_a_file_that_is_no_database_is_refused_with_what_to_do(path: Path) -> None:
    path.write_text("hello " * 1000)
    with pytest.raises(JournalError, match=r"cannot open the journal.*another path"):
        open_journal(str(path), FakeClock())


def test_a_journal_from_a_newer_meter_is_refused(path: Path) -> None:
    open_journal(str(path), FakeClock()).close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(JournalError, match="newer meter"):
        open_journal(str(path), FakeClock())


def test_a_missing_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"No such file or directory"):
        open_journal(str(tmp_path / "nowhere" / "meter.db"), FakeClock(), run=True)


def test_looking_at_a_journal_that_is_not_there_does_not_make_one(path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        open_journal(str(path), FakeClock(), create=False)
    assert not path.exists()


def test_a_removed_file_is_noticed_before_anything_is_acknowledged(path: Path) -> None:
    journal = open_journal(str(path), FakeClock())
    journal.append([completed(1)]).wait()
    hidden = path.rename(path.with_name("moved.db"))
    with pytest.raises(JournalUnavailable, match="was removed"):
        journal.append([completed(2)]).wait()
    path.touch()
    with pytest.raises(JournalUnavailable, match="was replaced"):
        journal.append([completed(2)]).wait()
    path.unlink()
    hidden.rename(path)
    assert journal.append([completed(2)]).wait() == [Recorded.RECORDED]
    journal.close()


def test_a_write_that_another_process_blocks_stores_nothing_and_says_so(
    path: Path,
) -> None:
    journal = SqliteJournal(path, FakeClock(), run=False, busy_seconds=0.05)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalUnavailable, match="locked; nothing was stored"):
        journal.append([completed(1)]).wait()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert journal.append([completed(1)]).wait() == [Recorded.RECORDED]
    journal.close()


def test_a_closed_journal_refuses_instead_of_forgetting(path: Path) -> None:
    journal = open_journal(str(path), FakeClock())
    ticket = journal.append([completed(1)])
    journal.close()
    assert ticket.wait() == [Recorded.RECORDED]
    with pytest.raises(JournalUnavailable, match="closed"):
        journal.append([completed(2)])


def test_the_tables_open_for_people_with_columns_they_can_query(path: Path) -> None:
    journal = open_journal(str(path), FakeClock())
    journal.append([completed(1, customer_id="Müller")]).wait()
    journal.close()
    with sqlite3.connect(path) as reader:
        row = reader.execute("SELECT kind, customer_id, occurred_at FROM usage_events").fetchone()
    reader.close()
    assert row == ("async_completed", "Müller", "2026-11-22T12:00:00Z")
    assert re.fullmatch(r"[0-9a-f-]{36}", journal.journal_id)
