from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.journal import Balance, Journal, Retry, Settlement
from meter.journal.offsets import count_up_to, pack, unpack
from support.clocks import FakeClock
from support.facts import NOON, completed


def _fill(journal: Journal, count: int) -> list[int]:
    journal.append([completed(n) for n in range(count)]).wait()
    return [entry.offset for entry in journal.read(0, count)]


def _register(journal: Journal, name: str = "out", *, skip: bool = False) -> None:
    journal.register_sink(name, "test", skip_existing=skip, not_before=None).wait()


def _balance(journal: Journal, name: str = "out") -> Balance:
    return next(b for b in journal.totals().balances if b.sink == name)


def _settle(journal: Journal, **outcome: object) -> None:
    base = Settlement("out", "new", None, NOON)
    journal.settle(replace(base, **outcome)).wait()  # type: ignore[arg-type]  # outcomes vary


def test_every_recorded_event_has_one_place_at_every_moment(
    journal: Journal, clock: FakeClock
) -> None:
    offsets = _fill(journal, 10)
    _register(journal)
    assert (_balance(journal).pending, _balance(journal).balances) == (10, True)
    later = Retry("busy", clock.now() + timedelta(seconds=5))
    _settle(
        journal,
        checkpoint=offsets[7],
        delivered=offsets[:3],
        filtered=offsets[3:5],
        held={offsets[5]: "no such customer"},
        retrying={offsets[6]: later},
        rejected={offsets[7]: "no such meter"},
    )
    balance = _balance(journal)
    assert (balance.delivered, balance.filtered, balance.held) == (3, 2, 1)
    assert (balance.retrying, balance.dead_lettered, balance.pending) == (1, 1, 2)
    assert balance.balances
    assert journal.exceptions.due("out", clock.now(), 10) == []
    assert journal.exceptions.next_due("out") == later.next_at
    clock.advance(seconds=60)
    due = journal.exceptions.due("out", clock.now(), 10)
    assert [(e.offset, e.state) for e in due] == [(offsets[6], "retrying"), (offsets[5], "held")]
    _settle(journal, purpose="retry", delivered=offsets[5:7])
    balance = _balance(journal)
    assert (balance.delivered, balance.held, balance.retrying) == (5, 0, 0)
    assert balance.balances
    assert journal.exceptions.next_due("out") is None


def test_pending_is_right_at_every_checkpoint_however_far_the_rollup_has_come(
    journal: Journal,
) -> None:
    for number in range(20):  # the duplicates leave gaps
        journal.append([completed(number // 2), completed(number)]).wait()
    offsets = [entry.offset for entry in journal.read(0, 99)]
    assert offsets[-1] > len(offsets)
    _register(journal)
    for left in range(len(offsets), -1, -1):
        if left % 3 == 0:
            journal.rollup.catch_up(4)
        assert (_balance(journal).pending, _balance(journal).balances) == (left, True)
        if left:
            offset = offsets[-left]
            _settle(journal, checkpoint=offset, delivered=[offset])
    assert journal.rollup.behind() == 0


def test_a_replay_moves_no_counter_and_no_checkpoint(journal: Journal) -> None:
    offsets = _fill(journal, 4)
    _register(journal)
    _settle(journal, checkpoint=offsets[3], delivered=offsets)
    before = _balance(journal)
    _settle(journal, purpose="replay", delivered=offsets[:2])
    assert _balance(journal) == before


def test_a_sink_that_starts_now_is_not_given_the_past(journal: Journal) -> None:
    offsets = _fill(journal, 5)
    _register(journal, skip=True)
    balance = _balance(journal)
    assert (balance.checkpoint, balance.filtered, balance.pending) == (offsets[-1], 5, 0)
    assert balance.balances
    assert journal.rewind_sink("out", 0).wait() == offsets[-1]
    assert _balance(journal) == balance


def test_the_start_of_a_known_sink_is_never_changed(journal: Journal) -> None:
    _register(journal)
    _fill(journal, 3)
    row = journal.register_sink("out", "test", skip_existing=True, not_before=NOON).wait()
    assert (row.checkpoint, row.not_before) == (0, None)


def test_parking_is_remembered_until_it_is_cleared(journal: Journal) -> None:
    _register(journal)
    journal.park_sink("out", "wrong key").wait()
    row = journal.register_sink("out", "test", skip_existing=False, not_before=None).wait()
    assert row.parked == _balance(journal).parked == "wrong key"
    journal.park_sink("out", None).wait()
    assert _balance(journal).parked is None


def test_hastening_makes_what_is_retrying_due(journal: Journal, clock: FakeClock) -> None:
    offsets = _fill(journal, 2)
    _register(journal)
    later = Retry("down", clock.now() + timedelta(hours=1))
    _settle(journal, checkpoint=offsets[1], retrying={offsets[0]: later}, held={offsets[1]: "late"})
    journal.exceptions.hasten("out", clock.now()).wait()
    assert [e.offset for e in journal.exceptions.due("out", clock.now(), 9)] == [offsets[0]]


@pytest.mark.parametrize("back_to", range(11))
def test_a_rewound_sink_balances_and_is_offered_all_it_lacks(
    journal: Journal, clock: FakeClock, back_to: int
) -> None:
    offsets = _fill(journal, 10)
    _register(journal)
    due = Retry("busy", clock.now())
    _settle(journal, checkpoint=offsets[3], delivered=offsets[:3], filtered=[offsets[3]])
    _settle(
        journal,
        checkpoint=offsets[7],
        delivered=[offsets[4]],
        filtered=[offsets[5]],
        rejected={offsets[6]: "no"},
        retrying={offsets[7]: due},
    )
    _settle(journal, purpose="retry", delivered=[offsets[7]])
    checkpoint = offsets[back_to - 1] if back_to else 0
    journal.rewind_sink("out", checkpoint).wait()
    balance = _balance(journal)
    assert balance.balances
    assert balance.checkpoint == checkpoint
    assert balance.pending == 10 - back_to
    assert balance.dead_lettered == (1 if back_to >= 7 else 0)
    assert balance.retrying == (1 if back_to >= 8 else 0)


def test_a_sink_that_started_now_balances_after_it_was_rewound_over_gaps(
    journal: Journal,
) -> None:
    for number in range(6):  # the duplicates leave gaps
        journal.append([completed(number // 2), completed(number)]).wait()
    _register(journal, skip=True)
    journal.append([completed("later")]).wait()
    last = journal.head()
    _settle(journal, checkpoint=last, delivered=[last])
    journal.rewind_sink("out", 0).wait()
    balance = _balance(journal)
    assert (balance.filtered, balance.delivered, balance.pending) == (6, 0, 1)
    assert balance.balances


def test_sink_state_is_ordered_scoped_and_committed_with_the_checkpoint(journal: Journal) -> None:
    offsets = _fill(journal, 2)
    _register(journal)
    state = journal.sink_state("out", "test")
    state.commit([state.put("b", "2"), state.put("a", "1"), state.put("c/x", "3")])
    assert state.scan() == [("a", "1"), ("b", "2"), ("c/x", "3")]
    assert state.scan("c/") == [("c/x", "3")]
    assert state.scan(after="a", limit=1) == [("b", "2")]
    assert state.get("nothing") is None
    _settle(
        journal,
        checkpoint=offsets[1],
        delivered=offsets,
        state=[state.put("a", "9"), state.delete("b")],
    )
    assert state.scan() == [("a", "9"), ("c/x", "3")]
    assert journal.sink_state("other", "test").scan() == []
    shared = state.scoped("acct_1/test")
    shared.commit([shared.put("intent", "frozen")])
    assert journal.sink_state("renamed", "test").scoped("acct_1/test").get("intent") == "frozen"
    assert journal.sink_state("out", "another").scoped("acct_1/test").get("intent") is None


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(st.integers(1, 60)), st.integers(0, 70))
def test_packed_offsets_mean_the_same_set(offsets: set[int], limit: int) -> None:
    packed = pack(sorted(offsets))
    assert {o for r in unpack(packed) for o in r} == offsets
    assert count_up_to(packed, limit) == sum(1 for o in offsets if o <= limit)
