"""`meter journal check` finds what somebody did to a journal, and nothing where nobody did."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from meter.clock import SystemClock
from meter.errors import JournalError
from meter.journal import NewAct, open_journal
from meter.journal import sqlite_schema as schema
from meter.journal.checked import Checked
from meter.journal.sqlite_check import check_journal
from meter.journal.sqlite_repair import repair_journal
from support.facts import completed
from support.full_journal import make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full") / "meter.db"
    make(path)
    path.chmod(0o600)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "meter.db"
    shutil.copy2(made, copy)
    return copy


def look(path: Path) -> Checked:
    return check_journal(str(path), lambda _what, _done, _total: None)


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement


def found(path: Path) -> set[str]:
    return {finding.check for finding in look(path).findings}


def test_a_journal_with_something_of_everything_is_sound(path: Path) -> None:
    checked = look(path)
    assert checked.findings == []
    assert checked.sound
    journal = open_journal(str(path), SystemClock())
    assert checked.journal_id == journal.journal_id
    assert checked.head == journal.head()
    assert checked.looked["events"] == sum(journal.totals().events.values())
    journal.close()


BEYOND = (
    "INSERT INTO exceptions (sink, offset, state, reason, attempts, first_at, changed_at, next_at)"
    " SELECT 'other', max(offset), 'held', '', 0, 0, 0, 0 FROM events"
)
HEAD = "(SELECT max(offset) FROM events)"


@pytest.mark.parametrize(
    ("statements", "kinds"),
    [
        (["UPDATE events SET body = replace(body, 'customer-0', 'x') WHERE offset = 3"], "rollup"),
        (["UPDATE events SET event_id = event_id || 'x' WHERE offset = 3"], "event rollup"),
        (["UPDATE events SET body = '{' WHERE offset = 3"], "event rollup"),
        (["DELETE FROM events WHERE offset = 12"], "gap rollup balance"),
        (["DELETE FROM events WHERE offset = 1"], "gap rollup balance orphan"),
        ([f"DELETE FROM events WHERE offset = {HEAD}"], "gap"),
        (["DELETE FROM events WHERE offset > 12"], "gap rollup orphan checkpoint balance"),
        (["INSERT INTO events (event_id, body) VALUES ('x', '{}')"], "event gap"),
        (["UPDATE event_counts SET n = n + 2 WHERE kind = 'async_completed'"], "gap"),
        (
            [
                "UPDATE event_counts SET n = n + 1 WHERE kind = 'async_completed'",
                "UPDATE event_counts SET n = n - 1 WHERE kind = 'async_failed'",
            ],
            "counts",
        ),
        (["UPDATE receipt_counts SET n = n + 1 WHERE outcome = 'recorded'"], "counts"),
        (["UPDATE sqlite_sequence SET seq = 5 WHERE name = 'events'"], "offsets"),
        (["UPDATE usage_mark SET offset = 1000"], "rollup"),
        (["UPDATE usage_quarters SET nanos = nanos + 1"], "rollup"),
        (["UPDATE usage_days SET events = events + 1 WHERE bucket % 2 = 0"], "rollup"),
        (["UPDATE usage_months SET seconds = seconds + 1"], "rollup"),
        (["DELETE FROM usage_series WHERE id = 1"], "rollup"),
        (["UPDATE event_portions SET events = events + 1"], "rollup"),
        (["UPDATE sinks SET delivered = delivered + 1 WHERE name = 'out'"], "balance"),
        (["UPDATE sinks SET filtered = filtered + 1 WHERE name = 'out'"], "balance"),
        (["UPDATE sinks SET checkpoint = checkpoint + 2 WHERE name = 'other'"], "balance gap"),
        (["UPDATE sinks SET checkpoint = 1000 WHERE name = 'later'"], "checkpoint balance gap"),
        (["DELETE FROM deliveries WHERE sink = 'out' AND id = 2"], "gap balance"),
        (["DELETE FROM exceptions WHERE sink = 'out' AND state = 'held'"], "balance"),
        (["UPDATE deliveries SET last_offset = 1000 WHERE sink = 'later'"], "orphan"),
        (
            [BEYOND],
            "orphan balance",
        ),
        (["UPDATE exceptions SET offset = 4711 WHERE state = 'held'"], "orphan"),
        (["UPDATE exceptions SET sink = 'nobody' WHERE state = 'held'"], "orphan balance"),
        (["UPDATE exceptions SET next_at = NULL WHERE state = 'retrying'"], "orphan"),
        (["UPDATE exceptions SET state = 'lost' WHERE state = 'held'"], "orphan"),
        (["DELETE FROM sinks WHERE name = 'other'"], "orphan"),
        (["UPDATE receipts SET event_id = 'x' WHERE outcome = 'recorded'"], "orphan"),
        (["UPDATE receipts SET state = 'lost' WHERE state = 'open'"], "orphan"),
        (["UPDATE sessions SET state = 'closed' WHERE state = 'open'"], "orphan"),
        (["UPDATE sessions SET state = 'abandoned' WHERE state = 'open'"], "orphan"),
        (["UPDATE sessions SET state = 'open' WHERE state = 'closed'"], "orphan"),
        (["UPDATE sessions SET customer_id = 'x' WHERE state = 'closed'"], "orphan"),
        (["UPDATE quarantine SET payload = '{' WHERE id = 1"], "orphan"),
        (["UPDATE quarantine SET state = 'lost' WHERE id = 1"], "orphan"),
        (["UPDATE acts SET last_offset = 1000 WHERE last_offset IS NOT NULL"], "orphan"),
        (["DELETE FROM meta WHERE key = 'journal_id'"], "identity"),
        (["DROP INDEX receipts_open"], "schema"),
        (["DROP TABLE acts"], "schema"),
        (["PRAGMA user_version = 3"], "schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[0].split()[:6]),
)
def test_what_somebody_did_to_it_is_found_and_nothing_else(
    path: Path, statements: list[str], kinds: str
) -> None:
    change(path, *statements)
    checked = look(path)
    assert {finding.check for finding in checked.findings} == set(kinds.split())
    assert not checked.sound
    for finding in checked.findings:
        assert finding.words
        assert finding.means
        assert finding.todo


def test_sums_that_reach_beyond_the_last_event_are_found(path: Path) -> None:
    journal = open_journal(str(path), SystemClock())
    journal.rollup.catch_up(1000)
    journal.close()
    assert found(path) == set()
    change(path, "UPDATE usage_mark SET offset = 1000")
    assert found(path) == {"rollup"}


def test_a_damaged_page_is_found_and_the_rest_is_looked_at_as_far_as_it_goes(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_events_1'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x00" * size)
    assert "integrity" in found(path)


@pytest.mark.parametrize("content", [b"", b"no database at all, but some text" * 99])
def test_what_is_no_journal_is_an_error_and_not_a_finding(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(JournalError, match="there is no journal"):
        look(path)
    path.write_bytes(content)
    with pytest.raises(JournalError):
        look(path)


def test_a_journal_from_a_newer_meter_is_an_error(path: Path) -> None:
    change(path, f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(JournalError, match="update meter"):
        look(path)


def test_who_may_read_it_is_worth_knowing_and_who_may_write_it_is_wrong(path: Path) -> None:
    path.chmod(0o644)
    checked = look(path)
    assert [f.check for f in checked.findings] == ["permissions"]
    assert checked.sound
    path.chmod(0o666)
    assert not look(path).sound


def test_a_writer_beside_it_goes_on_and_it_sees_one_moment(path: Path) -> None:
    journal = open_journal(str(path), SystemClock())
    events = sum(journal.totals().events.values())
    before = threading.Event()
    after = threading.Event()

    def write() -> None:
        before.wait(10)
        journal.append([completed("meanwhile")]).wait(5)
        after.set()

    writer = threading.Thread(target=write)
    writer.start()

    def tell(_what: str, _done: int, _total: int | None) -> None:
        before.set()
        assert after.wait(10), "the writer waited for the check"

    checked = check_journal(str(path), tell)
    writer.join()
    assert (checked.findings, checked.looked["events"]) == ([], events)
    assert look(path).looked["events"] == events + 1
    journal.close()


def test_sums_and_counts_are_made_again_and_a_person_is_kept_for_it(path: Path) -> None:
    change(
        path,
        "UPDATE usage_months SET seconds = seconds + 1",
        "UPDATE event_counts SET n = n + 1 WHERE kind = 'async_completed'",
        "UPDATE event_counts SET n = n - 1 WHERE kind = 'async_failed'",
        "UPDATE receipt_counts SET n = n + 1 WHERE outcome = 'recorded'",
        "UPDATE sinks SET delivered = delivered - 3, filtered = filtered + 3 WHERE name = 'out'",
    )
    journal = open_journal(str(path), SystemClock())
    reached = sum(journal.totals().events.values()) - journal.rollup.behind()
    act = NewAct("ann@host", "a test")
    assert repair_journal(str(path), look(path), journal_now(), act) == ["counts", "rollup"]
    assert look(path).findings == []
    (last,) = journal.acts.newest(1)
    assert (last.what, last.who, last.reason) == ("repair", "ann@host", "a test")
    journal.rollup.catch_up(reached)
    assert journal.rollup.behind() < reached, "to the very same offset as before"
    while journal.rollup.catch_up(5):
        pass
    assert journal.rollup.behind() == 0
    assert look(path).findings == []
    assert repair_journal(str(path), look(path), journal_now(), act) == []
    journal.close()


def journal_now() -> datetime:
    return SystemClock().now()


def test_the_count_that_tells_of_missing_events_is_never_made_to_fit(path: Path) -> None:
    change(
        path,
        "DELETE FROM events WHERE offset = 3",
        "UPDATE receipt_counts SET n = n + 1 WHERE outcome = 'recorded'",
    )
    assert repair_journal(str(path), look(path), journal_now(), NewAct("ann@host")) == ["rollup"]
    assert {"gap", "counts"} <= found(path)
