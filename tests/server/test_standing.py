"""How a journal stands, for gauges: the same figures as status, at a cost that does not grow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from meter.journal import Journal, NewReceipt, Quarantined, Retry, Settlement, open_journal
from meter.journal import sqlite_standing as standing
from support.clocks import FakeClock
from support.facts import NOON, begun, completed, terminated


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = open_journal(str(path), FakeClock())
    opened.register_sink("ledger", "sqlite", skip_existing=False, not_before=None).wait()
    yield opened
    opened.close()


def offsets(journal: Journal) -> list[int]:
    return [stored.offset for stored in journal.read(0, 10_000)]


def pending(journal: Journal) -> int:
    (balance,) = journal.standing().balances
    assert balance.balances
    return balance.pending


def deliver(journal: Journal, up_to: int, delivered: list[int]) -> None:
    journal.settle(Settlement("ledger", "new", up_to, NOON, delivered=delivered)).wait()


def test_it_says_what_status_says(journal: Journal) -> None:
    journal.append([completed(n) for n in range(8)]).wait()
    journal.append([completed(1, customer_id="another"), completed(2)]).wait()
    journal.sessions.open(begun("s1")).wait()
    journal.sessions.open(begun("s2")).wait()
    journal.append([terminated("s2")]).wait()
    journal.add_receipt(NewReceipt("transcripts", NOON, "customer_id=a", "{}")).wait()
    later = NewReceipt("transcripts", NOON + timedelta(hours=1), "customer_id=a", "{}")
    journal.add_receipt(later).wait()
    journal.quarantine([Quarantined("apps", "k", "why", "{}")]).wait()
    journal.set_cursor("transcripts", "{}").wait()
    journal.set_trouble("transcripts", "a key").wait()
    all_ = offsets(journal)
    journal.settle(
        Settlement(
            "ledger",
            "new",
            all_[5],
            NOON,
            delivered=all_[:2],
            filtered=all_[2:3],
            held={all_[3]: "who?"},
            retrying={all_[4]: Retry("busy", NOON)},
            rejected={all_[5]: "no"},
        )
    ).wait()
    found, totals = journal.standing(), journal.totals()
    assert list(found.balances) == list(totals.balances)
    assert found.balances[0].balances
    assert found.events == totals.events
    assert found.quarantine_open == totals.quarantined == {"apps": 1, "transcripts": 1}
    assert found.quarantined == {"apps": 1, "transcripts": 1}
    assert found.conflicts == {"apps": 0, "transcripts": 1}
    assert found.sessions_open == {"apps": 1}
    assert found.troubles == totals.collectors == {"transcripts": "a key"}
    assert found.cursors == {"transcripts": "{}"}
    waiting = found.receipts["transcripts"]
    assert (waiting.count, waiting.oldest) == (2, totals.oldest_open_receipt)
    assert found.file_bytes["database"] > 0


def test_pending_is_counted_over_the_gaps_that_duplicates_leave(journal: Journal) -> None:
    for number in range(30):
        journal.append([completed(number // 2), completed(number)]).wait()
    all_ = offsets(journal)
    assert all_[-1] > len(all_), "there are gaps"
    assert pending(journal) == 30
    deliver(journal, all_[9], all_[:10])
    assert pending(journal) == 20
    journal.append([completed("more")]).wait()
    assert pending(journal) == 21
    deliver(journal, offsets(journal)[-1], offsets(journal)[10:])
    assert pending(journal) == 0
    journal.rewind_sink("ledger", all_[4]).wait()
    assert pending(journal) == 26
    assert list(journal.standing().balances) == list(journal.totals().balances)


def test_only_what_is_open_is_looked_at(journal: Journal, path: Path) -> None:
    """No scan of a table that grows with usage: only of small ones, or of partial indexes."""
    journal.append([completed(1)]).wait()
    small = {"SCAN sinks", "SCAN event_counts", "SCAN collectors"}
    indexes = ("receipts_open", "quarantine_open", "COVERING INDEX sqlite_autoindex_quarantine_1")
    connection = sqlite3.connect(path)
    for query in standing.QUERIES:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN {query}", ("x",) * query.count("?")
        ).fetchall()
        for *_, step in plan:
            fine = not step.startswith("SCAN") or step in small or step.endswith(indexes)
            assert fine, f"{query}: {step}"
    connection.close()
