"""Streaming messages that applications post: each has one outcome, and a session ends once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.events import StreamTerminated
from meter.journal import Journal, Session
from support.clocks import FakeClock
from support.posting import CUSTOMERS, Posting, away

EXPIRES = datetime(2026, 11, 22, 15, tzinfo=UTC)
LATER = "2026-11-22T12:05:00.25Z"
EVENT = "assemblyai:session:s1"


def begin(name: str = "s1", customer: str | None = "acme", **item: Any) -> dict[str, Any]:
    said = {"type": "Begin", "id": name, "expires_at": int(EXPIRES.timestamp())}
    return {"message": said, "customer_id": customer, **item}


def beat(milliseconds: float, name: str | None = "s1", **item: Any) -> dict[str, Any]:
    said = {"type": "Heartbeat", "total_duration_ms": milliseconds}
    return {"message": said, "session_id": name, **item}


def end(seconds: Any = 60, name: str | None = "s1", **item: Any) -> dict[str, Any]:
    said = {
        "type": "Termination",
        "audio_duration_seconds": 9000,
        "session_duration_seconds": seconds,
    }
    return {"message": said, "session_id": name, **item}


@pytest.fixture
def apps(journal: Journal, clock: FakeClock) -> Iterator[Posting]:
    serving = Posting(journal, clock)
    yield serving
    serving.stop()


def found(journal: Journal, name: str = "s1") -> Session:
    session = journal.sessions.find(name)
    assert session is not None
    return session


def the_event(journal: Journal, event_id: str = EVENT) -> StreamTerminated:
    event = journal.find(event_id)
    assert isinstance(event, StreamTerminated)
    return event


# -- the usual way -------------------------------------------------------------------------------


def test_begin_opens_heartbeats_lengthen_and_termination_bills(
    apps: Posting, journal: Journal, clock: FakeClock
) -> None:
    said = begin(dimensions={"project_id": "p1"})
    said["message"]["configuration"] = {"model": "universal-streaming"}
    assert apps.results("/sessions", said) == [{"status": "recorded"}]
    assert found(journal).state == "open"
    assert (found(journal).started_at, found(journal).expires_at) == (clock.now(), EXPIRES)
    assert apps.statuses("/sessions", [beat(5000), beat(3000)]) == ["recorded"] * 2
    assert found(journal).lower_seconds == 5
    body = json.dumps(end(received_at=LATER)).replace("60", "12.345678901")
    assert apps.results("/sessions", body) == [{"status": "recorded", "event_id": EVENT}]
    event = the_event(journal)
    assert (event.seconds, event.audio_seconds) == (Decimal("12.345678901"), Decimal(9000))
    assert (event.customer_id, event.dimensions) == ("acme", {"project_id": "p1"})
    assert (event.collector, event.model) == ("apps", "universal-streaming")
    assert (event.started_at, event.occurred_at) == (
        clock.now(),
        clock.now() + timedelta(minutes=5, milliseconds=250),
    )
    assert (found(journal).state, found(journal).seconds) == ("closed", event.seconds)


def test_begin_and_termination_may_come_in_one_request_in_any_order(
    apps: Posting, journal: Journal
) -> None:
    for number, order in enumerate(permutations("behb")):
        name = f"s{number}"
        items = {"b": begin(name), "e": end(60, name), "h": beat(5000, name)}
        statuses = apps.statuses("/sessions", [items[letter] for letter in order])
        expected = {"b": ["recorded", "duplicate"], "e": ["recorded"], "h": ["recorded"]}
        assert statuses == [expected[letter].pop(0) for letter in order]
        assert the_event(journal, f"assemblyai:session:{name}").started_at is not None
        assert found(journal, name).state == "closed"
    assert journal.totals().quarantined == {}


def test_all_of_it_again_changes_nothing(apps: Posting, journal: Journal) -> None:
    body = [begin(), beat(5000), end()]
    assert apps.statuses("/sessions", body) == ["recorded"] * 3
    before = found(journal), journal.totals()
    assert apps.statuses("/sessions", body) == ["duplicate", "recorded", "duplicate"]
    assert (found(journal), journal.totals()) == before


def test_a_thousand_messages_in_one_request(apps: Posting, journal: Journal) -> None:
    names = [f"s{n}" for n in range(500)]
    body = [end(n, name) for n, name in enumerate(names)] + [begin(name) for name in names]
    assert apps.statuses("/sessions", body) == ["recorded"] * 1000
    assert journal.totals().events == {"stream_terminated": 500}
    assert found(journal, "s77").seconds == 77
    assert apps.post("/sessions", [*body, begin()]).status_code == 400


# -- every other outcome -------------------------------------------------------------------------


def test_every_answer_stands_where_its_item_stood(apps: Posting, journal: Journal) -> None:
    items = {
        "recorded": end(customer_id="other"),
        "ignored": {"message": {"type": "Turn", "transcript": "hello"}},
        "quarantined": end(-1, "s2", customer_id="acme"),
        "duplicate": end(),
        "quarantined again": begin("s3", None),
        "conflict": end(61),
        "recorded again": begin(customer="other"),
        "invalid": {"message": {}, "colour": "red"},
        "conflict again": begin(customer="acme"),
        "invalid again": beat(1, None),
    }
    results = apps.results("/sessions", list(items.values()))
    assert [result["status"] for result in results] == [name.split()[0] for name in items]
    assert all(
        ("reason" in result) is (result["status"] not in {"recorded", "duplicate"})
        for result in results
    )
    assert found(journal).customer_id == "other"


def test_a_termination_for_another_customer_is_a_conflict_and_the_session_stays_open(
    apps: Posting, journal: Journal
) -> None:
    apps.statuses("/sessions", begin())
    (result,) = apps.results("/sessions", end(customer_id="other"))
    assert (result["status"], result["event_id"]) == ("conflict", EVENT)
    assert found(journal).state == "open"
    assert apps.statuses("/sessions", [end(customer_id="acme"), end(61)]) == [
        "recorded",
        "conflict",
    ]
    assert the_event(journal).seconds == 60
    assert journal.totals().quarantined == {"apps": 2}


def test_a_termination_whose_begin_nobody_posted_is_billed_when_it_names_the_customer(
    apps: Posting, journal: Journal
) -> None:
    item = end(customer_id="acme", dimensions={"a": "b"})
    assert apps.statuses("/sessions", [item, item]) == ["recorded", "duplicate"]
    event = the_event(journal)
    assert (event.started_at, event.dimensions) == (None, {"a": "b"})
    assert apps.statuses("/sessions", begin()) == ["recorded"]
    assert found(journal).state == "closed"


def test_a_termination_that_nobody_owns_waits_in_quarantine_until_it_is_known_whose(
    apps: Posting, journal: Journal
) -> None:
    (result,) = apps.results("/sessions", end())
    assert result["status"] == "quarantined"
    assert result["reason"].startswith("customer_id: this session's Begin is not known")
    assert apps.statuses("/sessions", end(name=None)) == ["quarantined"]
    assert journal.totals().quarantined == {"apps": 2}
    assert apps.statuses("/sessions", [begin(), end()]) == ["recorded", "duplicate"]
    assert journal.totals().quarantined == {"apps": 1}, "of one, the id is not known"


UNUSABLE: list[Any] = [-1, None, "60", True, 10**7 + 1, [], {}]


def test_a_termination_without_a_usable_figure_waits_and_so_does_its_session(
    apps: Posting, journal: Journal
) -> None:
    names = [f"s{n}" for n in range(len(UNUSABLE))]
    apps.statuses("/sessions", [begin(name) for name in names])
    bad = [end(figure, name) for name, figure in zip(names, UNUSABLE, strict=True)]
    for _ in range(2):
        results = apps.results("/sessions", bad)
        assert {result["status"] for result in results} == {"quarantined"}
        assert all("session_duration_seconds" in result["reason"] for result in results)
    assert journal.totals().sessions == {"quarantined": len(names)}
    assert journal.totals().quarantined == {"apps": len(names)}
    assert apps.statuses("/sessions", [end(60, name) for name in names]) == ["recorded"] * len(bad)
    assert (journal.totals().sessions, journal.totals().quarantined) == ({}, {})


def test_a_begin_that_names_no_customer_or_no_session_waits_in_quarantine(
    apps: Posting, journal: Journal
) -> None:
    unclear = [begin(customer=None), begin(customer=""), begin("")]
    assert apps.statuses("/sessions", unclear) == ["quarantined"] * 3
    assert apps.results("/sessions", begin("s2", session_id="s3")) == [
        {"status": "invalid", "reason": "session_id: Begin carries another id"}
    ]
    assert journal.totals().quarantined == {"apps": 3}
    assert apps.statuses("/sessions", [begin(session_id="s1"), end()]) == ["recorded"] * 2
    assert journal.totals().quarantined == {"apps": 1}


@pytest.mark.parametrize(
    "again", [begin(customer=None), {**begin(), "message": {"type": "Begin"}, "session_id": "s1"}]
)
def test_a_begin_that_is_set_aside_ends_no_session(
    apps: Posting, journal: Journal, again: dict[str, Any]
) -> None:
    apps.statuses("/sessions", begin())
    assert apps.statuses("/sessions", again) == ["quarantined"]
    assert found(journal).state == "open"


def test_what_is_no_message_or_no_item_is_ignored_or_invalid(
    apps: Posting, journal: Journal
) -> None:
    others: list[Any] = [{}, {"type": "Error", "error": "x"}, {"type": "Turn"}]
    for message in others:
        assert apps.statuses("/sessions", {"message": message}) == ["ignored"]
    for message in ([], None, 7, '{"type": "Begin"}'):
        assert apps.statuses("/sessions", {"message": message}) == ["invalid"]
    bad = {
        "colour": begin(colour="red"),
        "message": {"customer_id": "acme"},
        "customer_id": begin(customer=7),  # type: ignore[arg-type]  # what a careless client sends
        "dimensions": begin(dimensions={"a": 1}),
        "session_id": end(name=7),  # type: ignore[arg-type]  # what a careless client sends
        "received_at": begin(received_at="2026-11-22T12:00:00"),
    }
    results = apps.results("/sessions", [*bad.values(), begin("s9")])
    assert [result["status"] for result in results] == ["invalid"] * len(bad) + ["recorded"]
    assert all(
        name in result["reason"] for name, result in zip(bad, results[: len(bad)], strict=True)
    )
    assert journal.totals().quarantined == {}


@pytest.mark.parametrize(
    "item",
    [
        {**begin(received_at="9999-12-31T23:00:00Z"), "message": {"type": "Begin", "id": "s1"}},
        end(customer_id="acme", received_at="0001-01-01T00:00:00+14:00"),
    ],
)
def test_a_moment_that_cannot_be_holds_up_nothing_beside_it(
    apps: Posting, item: dict[str, Any]
) -> None:
    assert apps.statuses("/sessions", [item, begin("s2")]) == ["invalid", "recorded"]


def test_a_number_beyond_all_measure_holds_up_nothing_beside_it(apps: Posting) -> None:
    bad = json.dumps(end()).replace("60", "1e9999999999999999999")
    body = f"[{bad}, {json.dumps(begin('s2'))}]"
    assert apps.statuses("/sessions", body) == ["quarantined", "recorded"]


def test_customers_of_every_script_are_taken_exactly_as_given(
    apps: Posting, journal: Journal
) -> None:
    body = [begin(name, name) for name in CUSTOMERS]
    body += [end(60, name) for name in CUSTOMERS]
    assert apps.statuses("/sessions", body) == ["recorded"] * len(body)
    for name in CUSTOMERS:
        session = found(journal, name)
        assert (session.customer_id, session.state) == (name, "closed")
    stored = [entry.event for entry in journal.read(0, 100)]
    assert [(e.provider_id, e.customer_id) for e in stored] == [(n, n) for n in CUSTOMERS]


def test_a_begin_again_after_its_end_is_a_duplicate_for_any_customer(apps: Posting) -> None:
    assert apps.statuses("/sessions", [begin(customer="a\x00b"), end()]) == ["recorded"] * 2
    assert apps.statuses("/sessions", begin(customer="a\x00b")) == ["duplicate"]


def test_nothing_that_was_said_is_kept(
    apps: Posting, journal: Journal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    said = "what-was-said"
    items = [begin(), {"message": {"type": "Turn"}}, end(None), end(), begin("s2", None)]
    for item in items:
        item["message"] |= {"transcript": said, "words": [{"text": said}], said: said}
    assert "recorded" in apps.statuses("/sessions", items)
    journal.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("m.db*"))
    assert b"session_duration_seconds" in kept
    assert said.encode() not in kept
    assert said not in caplog.text


# -- in any order --------------------------------------------------------------------------------

ITEMS = ["begin", "begin", "beat", "end", "end"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(ITEMS), cuts=st.sets(st.integers(1, 4)), name=st.uuids())
def test_the_same_items_in_any_order_and_any_requests_end_in_one_billed_event(
    apps: Posting, journal: Journal, order: list[str], cuts: set[int], name: Any
) -> None:
    session = str(name)
    made = {
        "begin": begin(session),
        "beat": beat(5000, session),
        "end": end(60, session, customer_id="acme"),
    }
    edges = [0, *sorted(cuts), len(order)]
    for start, stop in pairwise(edges):
        apps.statuses("/sessions", [made[action] for action in order[start:stop]])
    event = the_event(journal, f"assemblyai:session:{session}")
    assert (event.customer_id, event.seconds) == ("acme", Decimal(60))
    assert found(journal, session).state == "closed"
    assert journal.totals().quarantined == {}


# -- faults of ours ------------------------------------------------------------------------------


def test_when_the_journal_cannot_be_written_503_and_the_retry_loses_nothing(
    apps: Posting, journal: Journal, tmp_path: Path
) -> None:
    apps.statuses("/sessions", [begin("s0"), end(60, "s0")])
    bodies = [[begin(), end()], [end(-1)], [begin("s2", None)], [beat(5000, "s0")]]
    moved = away(tmp_path / "m.db")
    for body in bodies:
        answer = apps.post("/sessions", body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    moved.rename(tmp_path / "m.db")
    assert (journal.totals().sessions, journal.totals().quarantined) == ({}, {})
    assert [apps.statuses("/sessions", body) for body in bodies] == [
        ["recorded", "recorded"],
        ["quarantined"],
        ["quarantined"],
        ["recorded"],
    ]
    assert found(journal).seconds == 60


def test_looking_for_a_session_never_makes_a_file_where_the_journal_was(
    apps: Posting, tmp_path: Path
) -> None:
    apps.statuses("/sessions", begin())
    moved = away(tmp_path / "m.db")
    assert apps.post("/sessions", end()).status_code == 503
    made = (tmp_path / "m.db").exists()
    moved.rename(tmp_path / "m.db")
    assert not made


def test_quarantine_holds_all_that_a_person_needs(
    apps: Posting, journal: Journal, tmp_path: Path
) -> None:
    apps.statuses("/sessions", end(-1.5, customer_id="Müller", dimensions={"a": "b"}))
    assert journal.totals().quarantined == {"apps": 1}
    with closing(sqlite3.connect(tmp_path / "m.db")) as outside:
        ((reason, payload),) = outside.execute("SELECT reason, payload FROM quarantine").fetchall()
    assert reason == "session_duration_seconds: expected 0 or more, got -1.5"
    kept = json.loads(payload)
    assert (kept["session_id"], kept["customer_id"]) == ("s1", "Müller")
    assert kept["dimensions"] == {"a": "b"}
    assert kept["said"]["fields"]["session_duration_seconds"] == -1.5
