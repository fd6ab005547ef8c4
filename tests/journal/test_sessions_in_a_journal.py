"""A streaming session is in one state, ends once, and its event and its state never differ."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.errors import JournalUnavailable
from meter.events import Event
from meter.journal import Journal, Quarantined, Recorded, Session
from support.clocks import FakeClock
from support.facts import NOON, abandoned, begun, completed, terminated

LATER = NOON + timedelta(hours=3)
RECORDED, DUPLICATE, CONFLICT = Recorded.RECORDED, Recorded.DUPLICATE, Recorded.CONFLICT
Opener = Callable[[], Journal]


def garbage(provider_id: str | None = "s1", key: str = "k1") -> Quarantined:
    return Quarantined("apps", key, "session_duration_seconds: negative", "{}", provider_id)


def found(journal: Journal, provider_id: str = "s1") -> Session:
    session = journal.sessions.find(provider_id)
    assert session is not None
    return session


def record(journal: Journal, *events: Event) -> list[Recorded]:
    return journal.append(events).wait()


@pytest.fixture
def outside(journal: Journal, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another connection to the journal's file, as another process has it."""
    assert journal.journal_id
    with closing(sqlite3.connect(tmp_path / "meter.db", isolation_level=None)) as connection:
        yield connection


# -- Begin ---------------------------------------------------------------------------------------


def test_begin_opens_a_session_and_the_journal_keeps_all_of_it(reopen: Opener) -> None:
    journal = reopen()
    new = begun("s1", dimensions={"project_id": "ü"}, model="universal-streaming")
    assert journal.sessions.open(new).wait() is RECORDED
    journal.close()
    assert found(reopen()) == Session(
        provider_id="s1",
        collector="apps",
        customer_id="acme",
        dimensions={"project_id": "ü"},
        model="universal-streaming",
        started_at=NOON,
        expires_at=LATER,
        lower_seconds=Decimal(0),
        state="open",
        ended_at=None,
    )


def test_begin_twice_for_one_customer_is_a_duplicate_and_the_first_bounds_stand(
    journal: Journal,
) -> None:
    journal.sessions.open(begun("s1")).wait()
    again = begun(
        "s1", expires_at=LATER + timedelta(hours=9), dimensions={"a": "b"}, collector="live"
    )
    assert journal.sessions.open(again).wait() is DUPLICATE
    assert (found(journal).expires_at, found(journal).dimensions) == (LATER, {})
    assert journal.totals().quarantined == {}


def test_begin_for_another_customer_is_a_conflict_in_quarantine_and_the_first_stands(
    journal: Journal,
) -> None:
    journal.sessions.open(begun("s1")).wait()
    for _ in range(2):
        assert journal.sessions.open(begun("s1", customer_id="other")).wait() is CONFLICT
    assert found(journal).customer_id == "acme"
    assert journal.totals().quarantined == {"apps": 1}


@pytest.mark.parametrize("name", ["a:b/c d", "ü🙂", "'; DROP TABLE sessions; --", "x\x00y", "%3A"])
def test_odd_ids_and_customers_come_back_as_they_went_in(journal: Journal, name: str) -> None:
    new = begun(name, customer_id=name, dimensions={name: name})
    assert journal.sessions.open(new).wait() is RECORDED
    assert record(journal, terminated(name, customer_id=name)) == [RECORDED]
    session = found(journal, name)
    assert (session.provider_id, session.customer_id) == (name, name)
    assert (session.dimensions, session.state) == ({name: name}, "closed")


# -- Termination ---------------------------------------------------------------------------------


def test_a_termination_closes_its_session(journal: Journal) -> None:
    journal.sessions.open(begun("s1")).wait()
    at = NOON + timedelta(minutes=5)
    ended = terminated("s1", seconds=Decimal("12.345678901"), recorded_at=at)
    assert record(journal, ended) == [RECORDED]
    session = found(journal)
    assert (session.state, session.ended_at) == ("closed", at)
    assert session.seconds == Decimal("12.345678901")
    assert journal.totals().sessions == {}


def test_the_event_and_the_state_are_one_transaction_seen_from_outside(
    journal: Journal, outside: sqlite3.Connection
) -> None:
    names = [f"s{n}" for n in range(150)]
    for ticket in [journal.sessions.open(begun(name)) for name in names]:
        ticket.wait()

    def end_all() -> None:
        for name in names:
            record(journal, terminated(name))

    ending = threading.Thread(target=end_all)
    ending.start()
    seen = Counter[int]()
    while len(names) not in seen:
        torn, closed = outside.execute(
            "SELECT total((s.state = 'closed') <> (e.event_id IS NOT NULL)),"
            " total(s.state = 'closed') FROM sessions s LEFT JOIN events e USING (event_id)"
        ).fetchone()
        assert torn == 0
        seen[int(closed)] += 1
    ending.join()


def test_when_the_state_cannot_be_written_the_event_is_not_there_either(
    journal: Journal, outside: sqlite3.Connection
) -> None:
    journal.sessions.open(begun("s1")).wait()
    outside.execute(
        "CREATE TRIGGER crash BEFORE UPDATE ON sessions BEGIN SELECT raise(ABORT, 'crash'); END"
    )
    with pytest.raises(JournalUnavailable, match="nothing was stored"):
        record(journal, terminated("s1"))
    assert journal.head() == 0
    assert (found(journal).state, journal.totals().events) == ("open", {})
    outside.execute("DROP TRIGGER crash")
    assert record(journal, terminated("s1")) == [RECORDED]
    assert found(journal).state == "closed"


def test_a_termination_twice_is_a_duplicate_and_with_another_figure_a_conflict(
    journal: Journal,
) -> None:
    journal.sessions.open(begun("s1")).wait()
    answers = record(journal, terminated("s1"), terminated("s1"), terminated("s1", seconds=1))
    assert answers == [RECORDED, DUPLICATE, CONFLICT]
    assert record(journal, terminated("s1", audio_seconds=Decimal(9))) == [DUPLICATE]
    assert found(journal).seconds == 60
    assert journal.totals().quarantined == {"apps": 1}
    assert journal.totals().events == {"stream_terminated": 1}


def test_a_termination_before_begin_is_recorded_and_begin_finds_it_closed(
    journal: Journal, clock: FakeClock
) -> None:
    assert record(journal, terminated("s1")) == [RECORDED]
    assert journal.sessions.find("s1") is None
    assert journal.sessions.open(begun("s1")).wait() is RECORDED
    session = found(journal)
    assert (session.state, session.seconds, session.ended_at) == (
        "closed",
        Decimal(60),
        clock.now(),
    )
    assert journal.sessions.open(begun("s1")).wait() is DUPLICATE
    assert journal.sessions.overdue(LATER + timedelta(days=1), limit=9) == []


def test_begin_for_another_customer_than_the_recorded_event_is_a_conflict(
    journal: Journal,
) -> None:
    record(journal, terminated("s1"))
    assert journal.sessions.open(begun("s1", customer_id="other")).wait() is CONFLICT
    assert journal.sessions.find("s1") is None
    assert journal.totals().quarantined == {"apps": 1}


def test_begin_after_the_event_knows_its_customer_in_any_text(journal: Journal) -> None:
    record(journal, terminated("s1", customer_id="a\x00b"))
    assert journal.sessions.open(begun("s1", customer_id="a\x00b")).wait() is RECORDED


@pytest.mark.parametrize("event", [terminated("s1"), abandoned("s1")])
def test_an_end_of_another_customers_session_is_a_conflict_and_changes_nothing(
    journal: Journal, event: Event
) -> None:
    journal.sessions.open(begun("s1", customer_id="owner")).wait()
    assert record(journal, completed(1), event, completed(2)) == [RECORDED, CONFLICT, RECORDED]
    assert found(journal).state == "open"
    assert journal.find(event.event_id) is None
    assert journal.totals().quarantined == {"apps": 1}
    assert journal.totals().events == {"async_completed": 2}
    assert record(journal, terminated("s1", customer_id="owner")) == [RECORDED]
    assert journal.totals().quarantined == {"apps": 1}, "a conflict waits for a person"


# -- Heartbeats ----------------------------------------------------------------------------------


def test_heartbeats_raise_the_lower_bound_and_never_sink_it(journal: Journal) -> None:
    journal.sessions.open(begun("s1")).wait()
    journal.sessions.open(begun("s2")).wait()
    for seconds, expected in [("5.5", "5.5"), ("3", "5.5"), ("5.500001", "5.500001"), ("0", "5.5")]:
        journal.sessions.lengthen([("s1", Decimal(seconds)), ("unknown", Decimal(9))]).wait()
        assert found(journal).lower_seconds >= Decimal(expected)
    assert found(journal).lower_seconds == Decimal("5.500001")
    assert found(journal, "s2").lower_seconds == 0
    assert journal.sessions.find("unknown") is None


def test_a_lower_bound_is_never_rounded_up(journal: Journal) -> None:
    journal.sessions.open(begun("s1")).wait()
    journal.sessions.lengthen([("s1", Decimal("1.9999999"))]).wait()
    assert found(journal).lower_seconds == Decimal("1.999999")


# -- abandonment ---------------------------------------------------------------------------------


def test_an_open_session_is_abandoned_once(journal: Journal) -> None:
    journal.sessions.open(begun("s1")).wait()
    assert journal.sessions.abandon(abandoned("s1", recorded_at=LATER)).wait() is RECORDED
    assert journal.sessions.abandon(abandoned("s1")).wait() is None
    session = found(journal)
    assert (session.state, session.ended_at, session.seconds) == ("abandoned", LATER, None)
    assert journal.totals().events == {"stream_abandoned": 1}
    assert journal.totals().sessions == {}


def test_only_an_open_session_can_be_abandoned(journal: Journal) -> None:
    assert journal.sessions.abandon(abandoned("never begun")).wait() is None
    journal.sessions.open(begun("s1")).wait()
    record(journal, terminated("s1"))
    assert journal.sessions.abandon(abandoned("s1")).wait() is None
    journal.sessions.open(begun("s2")).wait()
    journal.sessions.set_aside("s2", garbage("s2")).wait()
    assert journal.sessions.abandon(abandoned("s2")).wait() is None
    assert [found(journal, name).state for name in ("s1", "s2")] == ["closed", "quarantined"]
    assert journal.totals().events == {"stream_terminated": 1}


def test_the_truth_that_comes_late_is_billed_and_every_balance_holds(journal: Journal) -> None:
    journal.register_sink("ledger", "sqlite", skip_existing=False, not_before=None).wait()
    journal.sessions.open(begun("s1")).wait()
    journal.sessions.abandon(abandoned("s1")).wait()
    assert record(journal, terminated("s1")) == [RECORDED]
    assert (found(journal).state, found(journal).seconds) == ("closed", Decimal(60))
    totals = journal.totals()
    assert totals.events == {"stream_abandoned": 1, "stream_terminated": 1}
    assert totals.quarantined == {}
    (balance,) = totals.balances
    assert (balance.balances, balance.recorded, balance.pending) == (True, 2, 2)
    assert record(journal, abandoned("s1")) == [DUPLICATE]
    assert found(journal).state == "closed"


def test_a_session_whose_abandonment_is_recorded_before_its_begin_is_abandoned(
    journal: Journal,
) -> None:
    record(journal, abandoned("s1"))
    journal.sessions.open(begun("s1")).wait()
    assert found(journal).state == "abandoned"


# -- quarantine ----------------------------------------------------------------------------------


def test_what_ended_a_session_unusably_waits_and_so_does_the_session(
    journal: Journal, clock: FakeClock
) -> None:
    journal.sessions.open(begun("s1")).wait()
    for _ in range(2):
        journal.sessions.set_aside("s1", garbage()).wait()
    assert (found(journal).state, found(journal).ended_at) == ("quarantined", clock.now())
    assert journal.totals().sessions == {"quarantined": 1}
    assert journal.totals().quarantined == {"apps": 1}
    assert journal.sessions.overdue(LATER + timedelta(days=9), limit=9) == []


def test_the_event_that_comes_after_all_closes_the_session_and_its_entry(
    journal: Journal,
) -> None:
    journal.sessions.open(begun("s1")).wait()
    journal.sessions.set_aside("s1", garbage()).wait()
    assert record(journal, terminated("s1", collector="import")) == [RECORDED]
    assert found(journal).state == "closed"
    assert (journal.totals().sessions, journal.totals().quarantined) == ({}, {})


def test_setting_aside_never_reopens_a_session_that_has_ended(journal: Journal) -> None:
    journal.sessions.open(begun("s1")).wait()
    record(journal, terminated("s1"))
    journal.sessions.set_aside("s1", garbage()).wait()
    assert (found(journal).state, found(journal).seconds) == ("closed", Decimal(60))
    journal.sessions.set_aside("nobody's", garbage("nobody's", "k2")).wait()
    assert journal.sessions.find("nobody's") is None
    assert journal.totals().quarantined == {"apps": 2}


def test_of_two_processes_that_open_one_session_at_once_one_wins(reopen: Opener) -> None:
    journals = {"acme": reopen(), "other": reopen()}
    together = threading.Barrier(2)
    answers: dict[str, list[Recorded]] = {name: [] for name in journals}

    def begin_all(customer: str) -> None:
        for number in range(60):
            together.wait(20)
            new = begun(f"s{number}", customer_id=customer)
            answers[customer].append(journals[customer].sessions.open(new).wait())

    threads = [threading.Thread(target=begin_all, args=(name,)) for name in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pairs = list(zip(*answers.values(), strict=True))
    assert all(set(pair) == {RECORDED, CONFLICT} for pair in pairs)
    for number, (acme, _) in enumerate(pairs):
        winner = "acme" if acme is RECORDED else "other"
        assert found(journals["acme"], f"s{number}").customer_id == winner
    assert journals["other"].totals().sessions == {"open": 60}


def test_a_list_is_filtered_by_state_collector_and_customer_and_the_newest_comes_first(
    journal: Journal,
) -> None:
    for number in range(6):
        customer, collector = ("acme", "apps") if number % 2 else ("other", "live")
        at = NOON + timedelta(minutes=number)
        new = begun(f"s{number}", customer_id=customer, collector=collector, started_at=at)
        journal.sessions.open(new).wait()
    record(journal, terminated("s1"))
    journal.sessions.abandon(abandoned("s3")).wait()
    journal.sessions.set_aside("s2", garbage("s2")).wait()

    def names(**filters: Any) -> str:
        listed = journal.sessions.list(**{"limit": 10, **filters})
        return " ".join(session.provider_id for session in listed)

    assert names() == "s5 s4 s3 s2 s1 s0"
    assert names(limit=2) == "s5 s4"
    assert names(states=["open"]) == "s5 s4 s0"
    assert names(states=["closed", "abandoned"]) == "s3 s1"
    assert names(customer_id="other") == "s4 s2 s0"
    assert names(collector="apps", states=["open"]) == "s5"
    assert names(customer_id="nobody") == ""
    assert journal.totals().sessions == {"open": 3, "quarantined": 1}


ACTIONS: dict[str, Callable[[Journal, str], Any]] = {
    "begin": lambda journal, name: journal.sessions.open(begun(name)).wait(),
    "beat": lambda journal, name: journal.sessions.lengthen([(name, Decimal(5))]).wait(),
    "end": lambda journal, name: record(journal, terminated(name)),
    "give up": lambda journal, name: journal.sessions.abandon(abandoned(name)).wait(),
    "garbage": lambda journal, name: journal.sessions.set_aside(name, garbage(name, name)).wait(),
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([*ACTIONS, "begin", "end", "beat"]), name=st.uuids())
def test_the_same_words_in_any_order_end_in_one_billed_event(
    journal: Journal, order: list[str], name: Any
) -> None:
    for action in order:
        ACTIONS[action](journal, str(name))
    session = found(journal, str(name))
    assert (session.state, session.seconds) == ("closed", Decimal(60))
    event = journal.find(terminated(str(name)).event_id)
    assert event is not None
    assert (event.customer_id, event.billed_seconds) == ("acme", Decimal(60))
    assert journal.totals().sessions == {}
