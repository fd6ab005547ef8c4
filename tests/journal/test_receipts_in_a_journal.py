from __future__ import annotations

from datetime import timedelta

from meter.journal import Journal, NewReceipt, Quarantined, Receipt, Recorded, Watched
from support.clocks import FakeClock
from support.facts import NOON, completed


def _receipt(journal: Journal, clock: FakeClock, number: int = 1) -> None:
    fields = f'{{"transcript_id":"t{number}"}}'
    journal.add_receipt(NewReceipt("transcripts", clock.now(), "customer_id=acme", fields)).wait()


def _due(journal: Journal, clock: FakeClock) -> list[Receipt]:
    return journal.due_receipts("transcripts", clock.now(), skip=(), limit=10)


def test_a_receipt_is_due_until_it_is_settled_together_with_its_event(
    journal: Journal, clock: FakeClock
) -> None:
    _receipt(journal, clock)
    (receipt,) = _due(journal, clock)
    assert (receipt.query, receipt.received_at) == ("customer_id=acme", clock.now())
    answer = journal.settle_receipt(receipt.id, "", event=completed(1)).wait()
    assert answer is Recorded.RECORDED
    assert _due(journal, clock) == []
    assert journal.totals().receipts == {"recorded": 1}
    assert journal.find(completed(1).event_id) is not None


def test_a_second_delivery_settles_as_a_duplicate(journal: Journal, clock: FakeClock) -> None:
    for _ in range(2):
        _receipt(journal, clock)
    answers = [
        journal.settle_receipt(receipt.id, "", event=completed(1)).wait()
        for receipt in _due(journal, clock)
    ]
    assert answers == [Recorded.RECORDED, Recorded.DUPLICATE]
    assert journal.totals().receipts == {"recorded": 1, "duplicate": 1}


def test_receipts_being_worked_on_are_skipped_without_starving_the_rest(
    journal: Journal, clock: FakeClock
) -> None:
    for number in range(5):
        _receipt(journal, clock, number)
    first, second, *_ = _due(journal, clock)
    rest = journal.due_receipts("transcripts", clock.now(), skip=(first.id, second.id), limit=2)
    assert len(rest) == 2
    assert {first.id, second.id}.isdisjoint(receipt.id for receipt in rest)
    assert journal.due_receipts("another", clock.now(), skip=(), limit=10) == []


def test_a_retried_receipt_comes_back_when_its_time_has_come(
    journal: Journal, clock: FakeClock
) -> None:
    _receipt(journal, clock)
    (receipt,) = _due(journal, clock)
    started = clock.now()
    journal.retry_receipt(receipt.id, "429", clock.now() + timedelta(seconds=30)).wait()
    assert _due(journal, clock) == []
    assert journal.open_receipts("transcripts") == 1
    clock.advance(seconds=30)
    (again,) = _due(journal, clock)
    assert (again.attempts, again.first_error_at) == (1, started)


def test_a_quarantined_receipt_is_settled_and_shown(journal: Journal, clock: FakeClock) -> None:
    _receipt(journal, clock)
    (receipt,) = _due(journal, clock)
    item = Quarantined("transcripts", "transcript:t1", "no customer", "{}", "t1")
    journal.settle_receipt(receipt.id, "quarantined", quarantined=item).wait()
    totals = journal.totals()
    assert totals.receipts == {"quarantined": 1}
    assert totals.quarantined == {"transcripts": 1}
    assert journal.is_quarantined("transcripts", "t1")
    assert not journal.is_quarantined("transcripts", "t2")


def test_the_same_thing_is_quarantined_once(journal: Journal) -> None:
    item = Quarantined("import", "line:abc", "not JSON", "{}")
    assert journal.quarantine([item, item]).wait() == 1
    assert journal.quarantine([item]).wait() == 0
    assert journal.totals().quarantined == {"import": 1}


def test_cursors_watched_jobs_and_troubles_are_remembered_per_collector(journal: Journal) -> None:
    assert journal.cursor("a") is None
    journal.set_cursor("a", "here").wait()
    journal.set_trouble("a", "401").wait()
    journal.watch(
        "a", [Watched("t1", "unfinished", NOON), Watched("t2", "foreign", NOON)], ()
    ).wait()
    assert journal.cursor("a") == "here"
    assert journal.cursor("b") is None
    assert journal.totals().collectors == {"a": "401"}
    journal.watch("a", [Watched("t2", "unfinished", NOON)], ["t1"]).wait()
    assert journal.watched("a") == [Watched("t2", "unfinished", NOON)]
    assert journal.watched("b") == []
    journal.set_trouble("a", None).wait()
    assert journal.totals().collectors == {}
