"""When what a sink did not settle is offered again: held, put off, retrying."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meter.journal import Journal
from support.clocks import FakeClock
from support.facts import NOON
from support.settling import Sinks


@pytest.fixture
def sinks(journal: Journal, clock: FakeClock) -> Sinks:
    return Sinks(journal, clock)


def test_what_is_held_waits_as_long_as_it_was_held_a_minute_to_an_hour(sinks: Sinks) -> None:
    sinks.fill(1)
    sinks.register()
    sinks.settle(checkpoint=1, held={1: "no customer"})
    waits = []
    for _ in range(10):
        due = sinks.row(1).next_at
        assert due is not None
        waits.append((due - sinks.clock.now()).total_seconds())
        sinks.clock.advance(seconds=waits[-1] - 1)
        assert sinks.due() == []
        sinks.clock.advance(seconds=1)
        assert sinks.due() == [1]
        sinks.settle(purpose="retry", held={1: "still no customer"})
    assert waits == [60, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    row = sinks.row(1)
    assert (row.reason, row.attempts, row.first_at) == ("still no customer", 0, NOON)


def test_the_wait_counts_from_when_it_was_held_and_not_from_what_was_before(sinks: Sinks) -> None:
    sinks.fill(3)
    sinks.register()
    busy = {1: sinks.later(seconds=0)}
    sinks.settle(checkpoint=3, retrying=busy, rejected={2: "no"}, delivered=[3])
    sinks.clock.advance(days=1)
    sinks.redrive([2])
    sinks.recall(3)
    sinks.settle(purpose="retry", held={1: "x", 2: "x", 3: "x"})
    for number in (1, 2, 3):
        row = sinks.row(number)
        assert row.first_at == sinks.clock.now()
        assert row.next_at == sinks.clock.now() + timedelta(seconds=60)


def test_putting_off_is_no_attempt_and_is_due_at_its_time(sinks: Sinks) -> None:
    sinks.fill(2)
    sinks.register()
    sinks.settle(checkpoint=2, later={1: sinks.later(seconds=30)}, held={2: "no customer"})
    assert sinks.balance().retrying == 1
    for _ in range(3):
        sinks.clock.advance(seconds=29)
        assert sinks.due() == []
        sinks.clock.advance(seconds=1)
        assert 1 in sinks.due()
        sinks.settle(purpose="retry", later={1: sinks.later(seconds=30)}, held={2: "no customer"})
        sinks.journal.exceptions.hasten("out", sinks.clock.now(), ["held"])
        sinks.settle(purpose="retry", held={2: "no customer"})
    row = sinks.row(1)
    assert (row.state, row.attempts, row.put_off, row.reason) == ("retrying", 0, True, "its minute")
    sinks.settle(purpose="retry", retrying={1: sinks.later(seconds=5)})
    assert (sinks.row(1).attempts, sinks.row(1).put_off) == (1, False)
    sinks.settle(purpose="retry", later={1: sinks.later(seconds=5)})
    assert (sinks.row(1).attempts, sinks.row(1).put_off) == (1, True)


def test_the_next_due_of_all_and_of_what_is_put_off(sinks: Sinks) -> None:
    sinks.fill(3)
    sinks.register()
    assert sinks.journal.exceptions.next_due("out") is None
    off, busy = sinks.later(seconds=90), sinks.later(seconds=5)
    sinks.settle(checkpoint=3, later={1: off}, retrying={2: busy}, held={3: "x"})
    assert sinks.journal.exceptions.next_due("out") == busy.next_at
    assert sinks.journal.exceptions.next_due("out", put_off=True) == off.next_at
    sinks.settle(purpose="retry", delivered=[1, 2])
    assert sinks.journal.exceptions.next_due("out") == NOON + timedelta(seconds=60)
    assert sinks.journal.exceptions.next_due("out", put_off=True) is None


@pytest.mark.parametrize(
    ("states", "put_off", "due"),
    [
        (("retrying",), True, [1, 2]),
        (("retrying",), False, [1]),
        (("held",), True, [3]),
        (("retrying", "held"), True, [1, 2, 3]),
        (("retrying", "held"), False, [1, 3]),
    ],
)
def test_hastening_takes_the_states_that_it_is_given(
    sinks: Sinks,
    states: tuple[str, ...],
    put_off: bool,  # noqa: FBT001  because a table gives it
    due: list[int],
) -> None:
    sinks.fill(4)
    sinks.register()
    waiting = sinks.later(hours=1)
    sinks.settle(
        checkpoint=4, retrying={1: waiting}, later={2: waiting}, held={3: "x"}, rejected={4: "no"}
    )
    now = sinks.clock.now()
    sinks.journal.exceptions.hasten("out", now, states, put_off=put_off).wait()
    assert sorted(sinks.due()) == due


def test_a_report_that_hastens_makes_due_whatever_waits(sinks: Sinks) -> None:
    sinks.fill(3)
    sinks.register()
    sinks.settle(checkpoint=2, later={1: sinks.later(hours=1)}, held={2: "x"})
    sinks.settle(purpose="tend", hasten=True)
    assert sorted(sinks.due()) == [1, 2]
