"""What lies below a sink's checkpoint and is not settled, or was not once."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meter.events import encode_event
from meter.journal import Journal, Retry, open_journal
from meter.journal import sqlite_schema as schema
from support.clocks import FakeClock
from support.facts import NOON, completed
from support.settling import Sinks, event_id


@pytest.fixture
def sinks(journal: Journal, clock: FakeClock) -> Sinks:
    return Sinks(journal, clock)


# -- recall


def test_what_was_delivered_is_offered_again_when_it_is_recalled(sinks: Sinks) -> None:
    offsets = sinks.fill(3)
    sinks.register()
    sinks.settle(checkpoint=3, delivered=offsets)
    sinks.clock.advance(hours=1)
    assert sinks.recall(2) == [event_id(2)]
    balance = sinks.balance()
    assert (balance.delivered, balance.retrying) == (2, 1)
    assert sinks.due() == [2]
    row = sinks.row(2)
    assert (row.state, row.reason, row.attempts) == ("retrying", "not at the destination", 0)
    assert row.first_at == row.next_at == sinks.clock.now()
    sinks.settle(purpose="retry", delivered=[2])
    assert (sinks.balance().delivered, sinks.due()) == (3, [])


def test_what_a_retry_delivered_can_be_recalled_too_and_is_set_aside_anew(sinks: Sinks) -> None:
    sinks.fill(2)
    sinks.register()
    sinks.settle(checkpoint=2, delivered=[1], retrying={2: Retry("busy", NOON)})
    sinks.settle(purpose="retry", delivered=[2])
    assert sinks.place(2).state == "delivered"
    sinks.clock.advance(days=3)
    assert sinks.recall(1, 2) == [event_id(1), event_id(2)]
    assert sinks.row(2).first_at == sinks.clock.now()
    balance = sinks.balance()
    assert (balance.delivered, balance.retrying) == (0, 2)
    assert sinks.recall(1, 2) == [], "they are retrying already"
    assert sinks.balance() == balance


def test_only_what_was_delivered_is_recalled(sinks: Sinks) -> None:
    sinks.fill(7)
    sinks.register()
    sinks.settle(
        checkpoint=6,
        delivered=[1],
        filtered=[2],
        held={3: "no customer"},
        rejected={4: "no meter"},
        retrying={5: sinks.later(hours=1)},
        later={6: sinks.later(hours=1)},
    )
    before = sinks.balance()
    rows = sinks.journal.exceptions.rows()
    assert sinks.recall(2, 3, 4, 5, 6, 7, 99) == []
    assert (sinks.balance(), sinks.journal.exceptions.rows()) == (before, rows)
    assert sinks.journal.exceptions.recall("nobody", {event_id(1): "x"}, NOON).wait() == []


def test_what_the_same_delivery_filters_is_not_recalled_by_it(sinks: Sinks) -> None:
    sinks.fill(3)
    sinks.register()
    sinks.settle(checkpoint=1, delivered=[1])
    recall = {event_id(1): "gone", event_id(2): "never was there"}
    sinks.settle(checkpoint=3, delivered=[3], filtered=[2], recall=recall)
    balance = sinks.balance()
    assert (balance.delivered, balance.filtered, balance.retrying) == (1, 1, 1)
    assert [sinks.place(n).state for n in (1, 2, 3)] == ["retrying", "filtered", "delivered"]


def test_what_lies_before_the_start_is_not_recalled(sinks: Sinks) -> None:
    sinks.fill(2)
    sinks.register(skip=True)
    assert sinks.recall(1, 2) == []
    assert sinks.balance().filtered == 2


def test_state_is_written_with_the_recall_or_neither_is(sinks: Sinks) -> None:
    sinks.fill(2)
    sinks.register()
    sinks.settle(checkpoint=2, delivered=[1, 2])
    state = sinks.journal.sink_state("out", "test")
    assert sinks.recall(1, state=[state.put("intent", "rejected")]) == [event_id(1)]
    assert state.get("intent") == "rejected"
    impossible: Any = object()
    with pytest.raises(Exception, match="type 'object' is not supported"):
        sinks.recall(2, state=[state.put("intent", "again"), state.put("x", impossible)])
    assert state.get("intent") == "rejected"
    assert (sinks.balance().delivered, sinks.place(2).state) == (1, "delivered")


@pytest.mark.parametrize("back_to", range(6))
def test_a_sink_that_was_taken_back_keeps_one_place_for_what_was_recalled(
    sinks: Sinks, back_to: int
) -> None:
    offsets = sinks.fill(5)
    sinks.register()
    sinks.settle(checkpoint=5, delivered=offsets)
    sinks.recall(2, 4)
    sinks.settle(purpose="retry", delivered=[2])
    assert sinks.journal.rewind_sink("out", back_to).wait() == back_to
    balance = sinks.balance()
    # What was once an exception is offered again, and what lies above is new.
    assert balance.retrying == sum(n <= back_to for n in (2, 4))
    assert balance.pending == 5 - back_to
    recalled = sinks.recall(1, 2, 3, 4, 5)
    assert recalled == [event_id(n) for n in (1, 3, 5) if n <= back_to]
    assert sinks.balance().delivered == 0


# -- every place, at every moment


@pytest.mark.parametrize("seed", range(12))
def test_places_and_figures_agree_whatever_happens(sinks: Sinks, seed: int) -> None:
    chance = random.Random(seed)
    sinks.fill(3)
    sinks.register(skip=seed % 3 == 0)
    count = 3
    for _ in range(40):
        sinks.clock.advance(seconds=chance.choice([0, 30, 4000]))
        act = chance.randrange(7)
        checkpoint = sinks.balance().checkpoint
        if act == 0:
            sinks.fill(chance.randrange(1, 6), start=count + 1)
            count = sinks.journal.head()
        elif act == 1:
            some = list(range(checkpoint + 1, count + 1))[: chance.randrange(1, 8)]
            if some:
                sinks.settle(checkpoint=some[-1], **_outcomes(sinks, some, chance, new=True))
        elif act == 2:
            if due := sinks.due():
                sinks.settle(purpose="retry", **_outcomes(sinks, due, chance, new=False))
        elif act == 3:
            sinks.recall(*chance.sample(range(1, count + 1), 2))
        elif act == 4:
            sinks.redrive(chance.sample(range(1, count + 1), 2))
        elif act == 5 and chance.random() < 0.3:
            sinks.journal.rewind_sink("out", chance.randrange(count + 1)).wait()
        else:
            sinks.journal.exceptions.hasten("out", sinks.clock.now(), ("held", "retrying")).wait()
        balance = sinks.balance()
        places = Counter(sinks.place(n).state for n in range(1, count + 1))
        assert places == Counter(
            {
                "delivered": balance.delivered,
                "filtered": balance.filtered,
                "dead": balance.dead_lettered,
                "held": balance.held,
                "retrying": balance.retrying,
                "pending": balance.pending,
            }
        )


def _outcomes(
    sinks: Sinks, offsets: list[int], chance: random.Random, *, new: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {"delivered": [], "filtered": []}
    for offset in offsets:
        place = chance.choice(["delivered", "held", "retrying", "later", "rejected", "filtered"])
        if place == "delivered" or (place == "filtered" and not new):
            found["delivered"].append(offset)
        elif place == "filtered":
            found["filtered"].append(offset)
        else:
            given = "reason" if place in ("held", "rejected") else sinks.later(seconds=45)
            found.setdefault(place, {})[offset] = given
    return found


def test_places_name_every_sink_and_every_state(sinks: Sinks) -> None:
    sinks.fill(2)
    sinks.register("late", skip=True)
    sinks.register("out")
    sinks.fill(6, start=3)
    sinks.settle(
        checkpoint=7,
        delivered=[1],
        filtered=[2],
        held={3: "a"},
        rejected={4: "b"},
        retrying={5: sinks.later(hours=1)},
        later={6: sinks.later(hours=1)},
    )
    states = [sinks.place(n).state for n in range(1, 9)]
    assert states[:6] == ["delivered", "filtered", "held", "dead", "retrying", "retrying"]
    assert states[6:] == ["delivered", "pending"]
    assert [sinks.row(n).put_off for n in (3, 4, 5, 6)] == [False, False, False, True]
    assert [sinks.place(n, "late").state for n in (1, 2, 3)] == ["filtered", "filtered", "pending"]
    assert sinks.journal.exceptions.start("late") == 2
    assert sinks.journal.exceptions.start("out") == 0
    assert sinks.journal.exceptions.places("no such event") == []


def test_what_was_filtered_is_found_in_any_range(sinks: Sinks) -> None:
    sinks.fill(4)
    sinks.register(skip=True)
    sinks.fill(8, start=5)
    sinks.settle(checkpoint=8, delivered=[5, 7], filtered=[6, 8])
    sinks.settle(checkpoint=9, delivered=[], held={9: "later"})
    sinks.clock.advance(hours=1)
    sinks.settle(purpose="retry", delivered=[9])
    sinks.settle(checkpoint=12, filtered=[10, 11, 12])
    gone = {1, 2, 3, 4, 6, 8, 10, 11, 12}
    for first in range(1, 13):
        for last in range(first, 13):
            found = [o for r in sinks.journal.exceptions.filtered("out", first, last) for o in r]
            assert found == sorted(gone & set(range(first, last + 1)))


# -- dead letters


def test_a_redriven_dead_letter_is_due_now_and_nothing_else_is(sinks: Sinks) -> None:
    sinks.fill(4)
    sinks.register()
    sinks.settle(
        checkpoint=4, delivered=[1], rejected={2: "no meter", 3: "no"}, held={4: "no customer"}
    )
    sinks.clock.advance(seconds=10)
    assert sinks.redrive([1, 2, 4, 99]) == 1
    assert sinks.due() == [2]
    row = sinks.row(2)
    assert (row.state, row.reason, row.attempts, row.put_off) == ("retrying", "no meter", 1, False)
    assert (sinks.balance().dead_lettered, sinks.balance().retrying) == (1, 1)
    assert sinks.redrive([2]) == 0
    sinks.settle(purpose="retry", rejected={2: "no meter yet"})
    assert (sinks.row(2).state, sinks.row(2).attempts) == ("dead", 2)


# -- looking


def test_rows_come_in_pages_by_sink_and_offset(sinks: Sinks) -> None:
    offsets = sinks.fill(6)
    for name in ("b", "a", "c"):
        sinks.register(name)
        refused = {o: "no" for o in offsets if o % 2}
        held = {o: "wait" for o in offsets if not o % 2}
        sinks.settle(name, checkpoint=6, rejected=refused, held=held)
    everything = [("a", o) for o in offsets] + [("b", o) for o in offsets]
    everything += [("c", o) for o in offsets]
    rows = sinks.journal.exceptions.rows
    for wanted, states in ((everything, ()), ([k for k in everything if k[1] % 2], ("dead",))):
        found: list[tuple[str, int]] = []
        after = ("", 0)
        while page := rows(states=states, after=after, limit=4):
            assert len(page) <= 4
            found += [(row.sink, row.offset) for row in page]
            after = found[-1]
        assert found == wanted
    assert {row.sink for row in rows(sinks=["c"])} == {"c"}
    some = rows(sinks=["c", "a"], states=["held", "dead"], after=("a", 5), limit=2)
    assert [(r.sink, r.offset, r.state) for r in some] == [("a", 6, "held"), ("c", 1, "dead")]
    assert rows(states=["delivered"]) == []


def test_reasons_are_counted_the_most_frequent_first(sinks: Sinks) -> None:
    sinks.fill(9)
    sinks.register()
    soon = sinks.later(seconds=5)
    sinks.settle(
        checkpoint=9,
        held={1: "no customer", 2: "no customer", 3: "too late"},
        rejected={4: "refused", 5: "refused"},
        retrying={6: soon},
        later={7: soon, 8: soon},
        delivered=[9],
    )
    sinks.recall(9)
    sinks.settle(purpose="retry", delivered=[9])
    found = [
        (r.state, r.reason, r.count, r.put_off, r.first) for r in sinks.journal.exceptions.reasons()
    ]
    assert found == [
        ("dead", "refused", 2, False, event_id(4)),
        ("held", "no customer", 2, False, event_id(1)),
        ("held", "too late", 1, False, event_id(3)),
        ("retrying", "its minute", 1, False, event_id(6)),
        ("retrying", "its minute", 2, True, event_id(7)),
    ]
    assert [r.count for r in sinks.journal.exceptions.reasons(1)] == [2, 2, 1]


def test_the_oldest_unsettled_event_is_pending_retrying_or_held(sinks: Sinks) -> None:
    def recorded(number: int) -> datetime:
        return NOON + timedelta(minutes=number)

    sinks.journal.append([completed(n, recorded_at=recorded(n)) for n in range(1, 6)]).wait()
    sinks.register()
    assert sinks.balance().oldest_unsettled == recorded(1)
    sinks.settle(checkpoint=1, rejected={1: "no"})
    assert sinks.balance().oldest_unsettled == recorded(2)
    sinks.settle(checkpoint=4, held={2: "x"}, later={3: sinks.later(hours=1)}, delivered=[4])
    assert sinks.balance().oldest_unsettled == recorded(2)
    sinks.settle(purpose="retry", delivered=[2])
    assert sinks.balance().oldest_unsettled == recorded(3)
    sinks.settle(purpose="retry", delivered=[3])
    assert sinks.balance().oldest_unsettled == recorded(5)
    sinks.settle(checkpoint=5, delivered=[5])
    assert sinks.balance().oldest_unsettled is None


def test_an_event_is_located_by_its_id(sinks: Sinks) -> None:
    sinks.fill(2)
    found = sinks.journal.locate(event_id(2))
    assert found is not None
    assert (found.offset, found.event) == (2, completed(2))
    assert sinks.journal.locate("no such event") is None


def test_a_journal_tells_whether_something_runs_on_it(
    sinks: Sinks, tmp_path: Path, clock: FakeClock
) -> None:
    location = str(tmp_path / "meter.db")
    assert not sinks.journal.running()
    running = open_journal(location, clock, run=True)
    assert sinks.journal.running()
    assert running.running()
    running.close()
    assert not sinks.journal.running()
    open_journal(location, clock, run=True).close()


def test_exceptions_of_an_older_journal_are_taken_over_as_they_are(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for script in schema._MIGRATIONS[:2]:
            for statement in schema._statements(script):
                old.execute(statement)
        old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 2")
        old.execute("INSERT INTO meta VALUES ('journal_id', 'the-old-one'), ('probe', '0')")
        body = encode_event(completed(1)).decode()
        old.execute("INSERT INTO events VALUES (1, ?, ?)", (event_id(1), body))
        old.execute("INSERT INTO event_counts VALUES ('async_completed', 1)")
        old.execute("INSERT INTO sinks (name, type, checkpoint) VALUES ('out', 'test', 1)")
        old.execute("INSERT INTO exceptions VALUES ('out', 1, 'retrying', 'busy', 2, 5, 6, 7)")
    journal = open_journal(str(path), clock)
    try:
        (row,) = journal.exceptions.rows()
        assert (row.state, row.reason, row.attempts, row.put_off) == ("retrying", "busy", 2, False)
        assert all(b.balances for b in journal.totals().balances)
    finally:
        journal.close()
