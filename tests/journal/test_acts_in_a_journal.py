"""What people do is done and recorded in one transaction, and every balance stays right."""

from __future__ import annotations

from typing import Any

import pytest

from meter.journal import Journal, NewAct, Retry
from support.clocks import FakeClock
from support.facts import NOON
from support.settling import Sinks, event_id

ME = NewAct("ada@host", "the mapping is right now")


@pytest.fixture
def sinks(journal: Journal, clock: FakeClock) -> Sinks:
    sinks = Sinks(journal, clock)
    sinks.fill(4)
    sinks.register()
    sinks.settle(checkpoint=4, delivered=[1, 2], rejected={3: "no such meter", 4: "no customer"})
    sinks.clock.advance(minutes=1)
    return sinks


def discard(sinks: Sinks, *offsets: int) -> int:
    now = sinks.clock.now()
    return sinks.journal.exceptions.discard("out", offsets, now, ME).wait()


def replay(sinks: Sinks, *offsets: int) -> list[int]:
    now = sinks.clock.now()
    return sinks.journal.exceptions.replay("out", offsets, now, ME).wait()


def told(sinks: Sinks, number: int) -> list[tuple[str, str, str | None, str]]:
    acts = sinks.journal.acts.of_event(number)
    return [(act.who, act.what, act.sink, act.reason) for act in acts]


def test_a_discarded_dead_letter_stays_one_in_the_sum_and_nothing_is_to_be_done_about_it(
    sinks: Sinks,
) -> None:
    assert discard(sinks, 1, 3) == 1, "only the dead letter"
    balance = sinks.balance()
    assert (balance.dead_lettered, balance.discarded, balance.delivered) == (2, 1, 2)
    assert [r.first for r in sinks.journal.exceptions.reasons()] == [event_id(4)]
    assert sinks.row(3).reason == "no such meter", "what the sink said is kept"
    assert told(sinks, 3) == [("ada@host", "discard", "out", ME.reason)]
    assert told(sinks, 1) == [], "nothing was done to it"
    assert discard(sinks, 3) == 0
    assert len(told(sinks, 3)) == 1


def test_a_discard_can_be_taken_back(sinks: Sinks) -> None:
    discard(sinks, 3)
    now = sinks.clock.now()
    assert sinks.journal.exceptions.redrive("out", [1, 3], now, ME).wait() == 1
    assert (sinks.balance().discarded, sinks.due()) == (0, [3])
    sinks.settle(purpose="retry", delivered=[3])
    assert (sinks.balance().delivered, sinks.balance().dead_lettered) == (3, 1)
    assert [what for _, what, _, _ in told(sinks, 3)] == ["discard", "retry"]


def test_a_discarded_one_that_was_in_hand_and_is_taken_after_all_counts_as_delivered(
    sinks: Sinks,
) -> None:
    sinks.redrive([3])
    assert sinks.due() == [3]
    sinks.settle(purpose="retry", rejected={3: "no"})
    discard(sinks, 3)
    sinks.settle(purpose="retry", delivered=[3])
    assert (sinks.balance().delivered, sinks.balance().discarded) == (3, 0)


def test_only_what_was_delivered_is_replayed_and_no_checkpoint_moves(sinks: Sinks) -> None:
    sinks.fill(1, start=5)
    assert replay(sinks, 1, 2, 3, 5) == [1, 2]
    assert replay(sinks, 1) == [], "it is under way"
    balance = sinks.balance()
    assert (balance.checkpoint, balance.delivered, balance.retrying) == (4, 0, 2)
    due = sinks.journal.exceptions.due("out", sinks.clock.now(), 9)
    assert [(entry.offset, entry.replay) for entry in due] == [(1, True), (2, True)]
    assert sinks.row(1).reason == "replayed by ada@host: the mapping is right now"
    (act,) = sinks.journal.acts.newest(9)
    assert (act.what, act.events, act.first) == ("replay", 2, event_id(1))


@pytest.mark.parametrize(
    "outcome",
    [
        {"delivered": [1]},
        {"held": {1: "no customer any more"}},
        {"retrying": {1: Retry("busy", NOON)}},
        {"later": {1: Retry("its minute", NOON)}},
        {"rejected": {1: "no such meter"}},
    ],
)
@pytest.mark.parametrize("asked_for", [True, False])
@pytest.mark.parametrize("purpose", ["retry", "replay"])
def test_whatever_becomes_of_a_replay_every_event_has_one_place(
    sinks: Sinks, outcome: dict[str, Any], purpose: str, *, asked_for: bool
) -> None:
    if asked_for:
        assert replay(sinks, 1) == [1]
    sinks.settle(purpose=purpose, **outcome)
    balance = sinks.balance()
    assert (balance.delivered == 2) == ("delivered" in outcome)
    assert balance.accounted == 4
    sinks.settle(purpose="retry", delivered=[1])
    assert sinks.balance().delivered == 2
    assert not any(entry.replay for entry in sinks.journal.exceptions.rows())


def test_what_a_sink_recalls_by_itself_is_no_replay(sinks: Sinks) -> None:
    replay(sinks, 1)
    sinks.settle(purpose="replay", delivered=[1])
    sinks.recall(1)
    (due,) = sinks.journal.exceptions.due("out", sinks.clock.now(), 9)
    assert not due.replay, "its destination does not have it"


def test_the_deliveries_of_an_event_are_told_exactly(sinks: Sinks) -> None:
    sinks.redrive([3, 4])
    sinks.clock.advance(minutes=1)
    sinks.settle(purpose="retry", delivered=[4])
    replay(sinks, 1, 4)
    sinks.settle(purpose="replay", delivered=[1, 4])
    deliveries = sinks.journal.exceptions.deliveries

    def purposes(offset: int) -> list[str]:
        return [delivery.purpose for delivery in deliveries("out", offset)]

    assert purposes(1) == ["new", "replay"]
    assert purposes(2) == ["new"], "between the offsets of a replay that it was not in"
    assert told(sinks, 2) == []
    assert [what for _, what, _, _ in told(sinks, 4)] == ["replay"]
    assert purposes(4) == ["new", "retry", "replay"]
    assert deliveries("out", 99) == []
    assert deliveries("other", 1) == []
