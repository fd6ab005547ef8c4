"""What is let go of a journal changes no sum, no event and nothing that can come again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from meter.journal import Journal, NewAct, NewReceipt, Recorded, open_journal
from meter.journal.checked import Checked
from meter.journal.sqlite_check import check_journal
from meter.journal.sqlite_prune import Prunable, prunable, prune
from meter.journal.sqlite_repair import repair_journal
from support.clocks import FakeClock
from support.full_journal import EVENTS, fill
from support.settling import Sinks

ACT = NewAct("ann@host", "old")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meter.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journal(path: Path, clock: FakeClock) -> Iterator[Journal]:
    opened = open_journal(str(path), clock)
    fill(opened, clock)
    yield opened
    opened.close()


def look(path: Path) -> Checked:
    checked = check_journal(str(path), lambda _what, _done, _total: None)
    checked.findings = [f for f in checked.findings if f.grave]
    return checked


def let_go(path: Path, clock: FakeClock, tell: Callable[[int], None] = lambda _n: None) -> Prunable:
    return prune(str(path), clock.now() - timedelta(days=90), clock.now(), ACT, tell)


def test_balances_totals_and_events_are_the_same_before_and_after(
    path: Path, journal: Journal, clock: FakeClock
) -> None:
    clock.advance(days=91)
    totals, events = journal.totals(), journal.read(0, 1000)
    places = {e.event.event_id: journal.exceptions.places(e.event.event_id) for e in events}
    rows = {row.offset for row in journal.exceptions.rows(sinks=["out"], states=["delivered"])}
    assert rows
    expected = Prunable(receipts=3, exceptions=len(rows))
    assert prunable(str(path), clock.now() - timedelta(days=90)) == expected
    assert let_go(path, clock) == expected
    assert journal.totals() == totals
    assert journal.read(0, 1000) == events
    for event_id, before in places.items():
        after = journal.exceptions.places(event_id)
        assert [(p.sink, p.state) for p in after] == [(p.sink, p.state) for p in before]
    assert look(path).findings == []
    assert let_go(path, clock) == Prunable(0, 0)
    acts = [act.what for act in journal.acts.newest(10)]
    assert acts.count("prune") == 1, "what did nothing is no act"


def test_an_event_and_a_conflict_are_known_for_ever(
    path: Path, journal: Journal, clock: FakeClock
) -> None:
    clock.advance(days=91)
    let_go(path, clock)
    again = journal.append(EVENTS).wait()
    assert set(again) == {Recorded.DUPLICATE}
    conflicts = [e for e in journal.aside.entries(limit=99) if e.key.startswith("conflict:")]
    assert len(conflicts) == 1


def test_what_is_young_open_or_not_delivered_stays(
    path: Path, journal: Journal, clock: FakeClock
) -> None:
    assert let_go(path, clock) == Prunable(0, 0), "all of it is young"
    clock.advance(days=91)
    states = {row.state for row in journal.exceptions.rows(sinks=["out"])}
    let_go(path, clock)
    assert {row.state for row in journal.exceptions.rows(sinks=["out"])} == states - {"delivered"}
    assert journal.open_receipts("transcripts") == 1


def test_an_event_without_its_late_delivery_can_be_offered_again_and_counts_once(
    path: Path, journal: Journal, clock: FakeClock
) -> None:
    (row,) = journal.exceptions.rows(sinks=["out"], states=["delivered"])
    clock.advance(days=91)
    let_go(path, clock)
    sinks = Sinks(journal, clock)
    before = sinks.balance()
    assert journal.exceptions.replay("out", [row.offset], clock.now(), ACT).wait() == [row.offset]
    assert sinks.balance().retrying == before.retrying + 1
    sinks.settle(purpose="replay", delivered=[row.offset])
    assert sinks.balance() == before
    assert look(path).findings == []


def test_many_rows_go_in_several_transactions_and_are_counted(
    path: Path, journal: Journal, clock: FakeClock
) -> None:
    added = [
        journal.add_receipt(NewReceipt("many", clock.now(), f"{number}", "{}"))
        for number in range(2500)
    ]
    added[-1].wait()
    while due := journal.due_receipts("many", clock.now(), skip=(), limit=5000):
        tickets = [journal.settle_receipt(receipt.id, "redacted audio") for receipt in due]
        for ticket in tickets:
            ticket.wait()
    clock.advance(days=91)
    told: list[int] = []
    totals = journal.totals()
    assert let_go(path, clock, told.append).receipts == 2503
    assert told[0] == 2000
    assert journal.totals() == totals
    assert look(path).findings == []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE receipt_counts SET n = n - 1 WHERE outcome = 'redacted audio'")
    assert [finding.check for finding in look(path).findings] == ["counts"]
    repair_journal(str(path), look(path), clock.now(), ACT)
    assert journal.totals() == totals, "also what was let go is counted again"
