"""Events are found by what they say and by where they stand, and by nothing else."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from meter.events import Event
from meter.journal import STATES, Journal, NewAct, Wanted
from support.clocks import FakeClock
from support.facts import NOON, completed, failed, terminated
from support.settling import Sinks, event_id


def test_every_filter_finds_what_a_plain_look_at_every_event_finds(journal: Journal) -> None:
    chance = random.Random(6)
    events: list[Event] = []
    for n in range(300):
        at = NOON + timedelta(milliseconds=chance.randrange(0, 20_000, 250))
        facts: dict[str, Any] = {"customer_id": chance.choice("ab"), "occurred_at": at}
        model = chance.choice([None, "slam-1"])
        make = chance.choice([completed, terminated, failed])
        events.append(make(n, **facts) if make is failed else make(n, model=model, **facts))
    journal.append(events).wait()
    since, until = NOON + timedelta(seconds=5), NOON + timedelta(seconds=15)
    for wanted in (
        Wanted(),
        Wanted(customer_id="a"),
        Wanted(customer_id="a' OR '1"),
        Wanted(kind="async_completed", model="slam-1"),
        Wanted(since=since),
        Wanted(until=until),
        Wanted(customer_id="b", since=since, until=until),
    ):
        expected = [e for e in events if fits(e, wanted)]
        found = [entry.event for entry in journal.search.newest(wanted, 1000)]
        assert found[::-1] == expected
        paged: list[Event] = []
        end = 0
        while end < journal.head():
            some, end = journal.search.after(wanted, end, 70)
            paged += [entry.event for entry in some]
        assert paged == expected
        assert [e.event for e in journal.search.newest(wanted, 3)] == expected[::-1][:3]


def fits(event: Event, wanted: Wanted) -> bool:
    return (
        wanted.customer_id in (None, event.customer_id)
        and wanted.kind in (None, event.kind)
        and (wanted.model is None or getattr(event, "model", None) == wanted.model)
        and (wanted.since is None or event.occurred_at >= wanted.since)
        and (wanted.until is None or event.occurred_at < wanted.until)
    )


def test_each_state_finds_what_stands_there(journal: Journal, clock: FakeClock) -> None:
    sinks = Sinks(journal, clock)
    sinks.fill(1300)
    sinks.register()
    odd = [n for n in range(1, 1201) if n % 2]
    even = [n for n in range(1, 1201) if not n % 2]
    sinks.settle(
        checkpoint=1204,
        delivered=even,
        filtered=odd,
        held={1201: "no customer"},
        retrying={1202: sinks.later(hours=1)},
        rejected={1203: "no", 1204: "no"},
    )
    journal.exceptions.discard("out", [1204], clock.now(), NewAct("ada@host", "why")).wait()
    found: dict[str, list[int]] = {}
    for state in STATES:
        wanted = Wanted(sink="out", state=state)
        newest = journal.search.newest(wanted, 2000)
        found[state] = [entry.offset for entry in newest][::-1]
        assert journal.search.newest(wanted, 2) == newest[:2]
        for entry in newest[:3]:
            (place,) = journal.exceptions.places(entry.event.event_id)
            assert place.state == state
    assert found == {
        "delivered": even,
        "filtered": odd,
        "held": [1201],
        "retrying": [1202],
        "dead": [1203],
        "discarded": [1204],
        "pending": list(range(1205, 1301)),
    }
    assert journal.search.newest(Wanted(sink="unknown", state="pending"), 9) == []


def test_the_nearest_ids_are_those_that_begin_alike(journal: Journal, clock: FakeClock) -> None:
    Sinks(journal, clock).fill(12)
    assert journal.search.nearest(event_id(12) + "x") == [event_id(12)]
    assert journal.search.nearest("1x") == [event_id(1), event_id(10), event_id(11)]
    assert journal.search.nearest("assemblyai:transcript:zzz") == []
