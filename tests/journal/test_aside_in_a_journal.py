"""What is in quarantine is closed together with what becomes of it, once."""

from __future__ import annotations

import pytest

from meter.journal import Entry, Journal, NewAct, NewReceipt, NotDone, Quarantined, Recorded
from support.clocks import FakeClock
from support.facts import NOON, begun, completed, terminated

ME = NewAct("ada@host", "seen")


def put(journal: Journal, name: str, reason: str = "no customer", *, fetched: bool = True) -> Entry:
    item = Quarantined("transcripts", f"k:{name}", reason, "{}", provider_id=name, fetched=fetched)
    journal.quarantine([item]).wait()
    (entry,) = journal.aside.entries(states=(), provider_id=name, limit=9)
    return entry


def state(journal: Journal, entry: Entry) -> str:
    found = journal.aside.find(entry.id)
    assert found is not None
    return found.state


def test_what_is_assigned_is_recorded_and_closed_with_whatever_else_waited_for_it(
    journal: Journal, clock: FakeClock
) -> None:
    entry = put(journal, "t")
    other = Quarantined("transcripts", "k2", "no customer", "{}", provider_id="t")
    journal.quarantine([other]).wait()
    seen: list[int] = []
    journal.on_append(lambda: seen.append(1))
    answer = journal.aside.assign(entry.id, completed("t"), clock.now(), ME).wait()
    assert answer is Recorded.RECORDED
    assert journal.find(completed("t").event_id) == completed("t")
    states = {e.id: e.state for e in journal.aside.entries(states=(), limit=9)}
    assert sorted(states.values()) == ["assigned", "recorded"]
    assert states[entry.id] == "assigned"
    assert seen, "the sinks of this process are woken"
    (act,) = journal.acts.of_entry(entry.id)
    assert (act.what, act.first, act.who) == ("assign", completed("t").event_id, "ada@host")
    assert journal.acts.of_event(1) == [act]
    with pytest.raises(NotDone, match="it is assigned by now"):
        journal.aside.assign(entry.id, completed("t"), clock.now(), ME).wait()


def test_a_conflict_is_not_assigned_and_nothing_of_it_stays(
    journal: Journal, clock: FakeClock
) -> None:
    journal.append([completed("t", customer_id="first")]).wait()
    entry = put(journal, "t")
    with pytest.raises(NotDone, match="recorded, for first"):
        journal.aside.assign(entry.id, completed("t"), clock.now(), ME).wait()
    assert state(journal, entry) == "open"
    assert len(journal.aside.entries(states=(), limit=9)) == 1, "no conflict was added"
    assert journal.acts.newest(9) == []


def test_a_session_of_another_customer_is_not_assigned(journal: Journal, clock: FakeClock) -> None:
    journal.sessions.open(begun("s", customer_id="first")).wait()
    entry = put(journal, "s")
    with pytest.raises(NotDone, match="began for another customer"):
        journal.aside.assign(entry.id, terminated("s"), clock.now(), ME).wait()
    with pytest.raises(NotDone, match="belongs to another customer"):
        journal.aside.begin(entry.id, begun("s"), clock.now(), ME).wait()
    assert state(journal, entry) == "open"
    event = terminated("s", customer_id="first")
    assert journal.aside.assign(entry.id, event, clock.now(), ME).wait() is Recorded.RECORDED


def test_what_is_discarded_is_kept_and_no_backfill_asks_for_it_again(
    journal: Journal, clock: FakeClock
) -> None:
    entry = put(journal, "t")
    journal.aside.discard(entry.id, clock.now(), ME).wait()
    assert journal.totals().quarantined == {}
    assert journal.is_quarantined("transcripts", "t")
    assert put(journal, "t").state == "discarded", "the same thing again changes nothing"
    with pytest.raises(NotDone, match="discarded by now"):
        journal.aside.discard(entry.id, clock.now(), ME).wait()
    with pytest.raises(NotDone, match="no such entry"):
        journal.aside.discard(99, clock.now(), ME).wait()
    assert [act.reason for act in journal.acts.of_entry(entry.id)] == ["seen"]


def test_a_job_is_asked_for_again_once_and_with_its_own_receipt(
    journal: Journal, clock: FakeClock
) -> None:
    entry = put(journal, "t", "404, after 16 attempts", fetched=False)
    receipt = NewReceipt("transcripts", NOON, "customer_id=acme", '{"transcript_id":"t"}')
    journal.aside.ask_again(entry.id, receipt, clock.now(), ME).wait()
    (due,) = journal.due_receipts("transcripts", clock.now(), skip=(), limit=9)
    assert (due.query, due.received_at, due.attempts) == ("customer_id=acme", NOON, 0)
    with pytest.raises(NotDone, match="asked for already, after 0 attempts"):
        journal.aside.ask_again(entry.id, receipt, clock.now(), ME).wait()
    assert state(journal, entry) == "open", "until that has an end"
    journal.settle_receipt(due.id, "", event=completed("t")).wait()
    assert state(journal, entry) == "recorded"
    (came,) = journal.search.receipts(completed("t"))
    assert (came.outcome, came.attempts) == ("recorded", 0)


def test_what_the_provider_tells_at_last_replaces_that_it_did_not(journal: Journal) -> None:
    before = put(journal, "t", "404", fetched=False)
    after = put(journal, "t", "no customer")
    assert (after.id, after.reason, after.fetched, after.times) == (
        before.id,
        "no customer",
        True,
        2,
    )
    again = put(journal, "t", "404", fetched=False)
    assert (again.reason, again.fetched) == ("no customer", True)


def test_a_session_whose_end_was_discarded_is_no_trouble_any_more(
    journal: Journal, clock: FakeClock
) -> None:
    journal.sessions.open(begun("s")).wait()
    item = Quarantined("apps", "k", "Termination without seconds", "{}", provider_id="s")
    journal.sessions.set_aside("s", item).wait()
    assert journal.totals().sessions == {"quarantined": 1}
    (entry,) = journal.aside.entries(limit=9)
    journal.aside.discard(entry.id, clock.now(), ME).wait()
    assert journal.totals().sessions == {}
