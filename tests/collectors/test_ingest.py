"""What applications post is answered item by item, after it is durable, and kept exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.collectors.posted import MOST_ITEMS
from meter.events import AnyEvent, StreamTerminated
from meter.journal import Journal
from support.clocks import FakeClock
from support.posting import CUSTOMERS, SECRET, Posting, away

AT = "2026-11-01T12:00:00Z"
MANY = [f"b{n}" for n in range(MOST_ITEMS)]


def fact(provider_id: str = "t1", **changes: Any) -> dict[str, Any]:
    return {
        "kind": "async_completed",
        "provider_id": provider_id,
        "customer_id": "acme",
        "occurred_at": AT,
        "seconds": 61,
        **changes,
    }


@pytest.fixture
def apps(journal: Journal, clock: FakeClock) -> Iterator[Posting]:
    serving = Posting(journal, clock)
    yield serving
    serving.stop()


def stored(journal: Journal) -> list[Any]:
    return [entry.event for entry in journal.read(0, 10_000)]


def the_one(journal: Journal) -> AnyEvent:
    (event,) = stored(journal)
    assert isinstance(event, AnyEvent)
    return event


# -- who may post --------------------------------------------------------------------------------


def test_the_right_secret_may_post_whatever_the_case_of_bearer(
    apps: Posting, journal: Journal
) -> None:
    for number, scheme in enumerate(["Bearer", "bearer", "BEARER"]):
        headers = {"authorization": f"{scheme} {SECRET}"}
        assert apps.post("/events", fact(f"t{number}"), headers=headers).status_code == 200
    assert len(stored(journal)) == 3


@pytest.mark.parametrize("path", ["/events", "/sessions"])
def test_a_missing_or_wrong_secret_is_refused_and_nothing_is_stored(
    apps: Posting, journal: Journal, path: str
) -> None:
    wrong = ["", "Bearer", SECRET, f"Basic {SECRET}", f"Bearer {SECRET}x", "Bearer null"]
    wrong += [f"Bearer {SECRET.upper()}", f"Bearer {SECRET[:-1]}", f"Bearer {SECRET} {SECRET}"]
    for header in wrong:
        answer = apps.post(path, fact(), headers={"authorization": header})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert SECRET not in answer.text
    del apps.client.headers["authorization"]
    assert apps.post(path, fact()).status_code == 401
    assert stored(journal) == []


# -- bodies --------------------------------------------------------------------------------------

NOT_JSON = [b"", b"{", b"kind=async_completed", b"{} {}", b"[{},]", b"\xff\xfe", b"[" * 5000]
NOT_JSON += [b'[{"seconds": NaN}]', b"\xef\xbb\xbf{}"]


@pytest.mark.parametrize("path", ["/events", "/sessions"])
def test_a_body_without_items_is_refused_with_the_reason(
    apps: Posting, journal: Journal, path: str
) -> None:
    refused = dict.fromkeys(NOT_JSON, "the body is not JSON")
    refused[b" [] "] = "no items; send an object, or an array of objects"
    refused[b"[" + b"{}," * 1000 + b"{}]"] = "1001 items; send at most 1000 in one request"
    for body, why in refused.items():
        answer = apps.post(path, body)
        assert (answer.status_code, answer.json()) == (400, {"error": why})
    assert stored(journal) == []


def test_a_thousand_facts_in_one_request_are_all_recorded_in_their_order(
    apps: Posting, journal: Journal
) -> None:
    body = [fact(name, seconds=n) for n, name in enumerate(MANY)]
    results = apps.results("/events", body)
    assert [r["event_id"] for r in results] == [f"assemblyai:transcript:{name}" for name in MANY]
    assert {r["status"] for r in results} == {"recorded"}
    assert [event.provider_id for event in stored(journal)] == MANY
    assert apps.statuses("/events", body) == ["duplicate"] * 1000


def test_a_body_over_the_cap_is_refused(journal: Journal, clock: FakeClock) -> None:
    apps = Posting(journal, clock, max_body=1000)
    assert apps.post("/events", [fact("x" * 1000)]).status_code == 413
    assert apps.post("/events", iter([b"[", b" " * 2000, b"]"])).status_code == 413
    assert apps.statuses("/events", fact()) == ["recorded"]
    assert len(stored(journal)) == 1
    apps.stop()


def test_an_item_that_is_no_object_is_invalid_and_harms_no_other(
    apps: Posting, journal: Journal
) -> None:
    bad = ["null", "7", '"text"', "[]", "true", "[[]]"]
    for path in ("/sessions", "/events"):
        assert apps.statuses(path, f"[{','.join(bad)}]") == ["invalid"] * len(bad)
        assert [apps.statuses(path, item) for item in bad if item != "[]"][:2] == [["invalid"]] * 2
    assert apps.statuses("/events", f"[null, {json.dumps(fact())}]") == ["invalid", "recorded"]
    assert len(stored(journal)) == 1


@pytest.mark.parametrize(
    ("path", "name"), [("/events", "customer_id"), ("/sessions", "session_id")]
)
def test_text_that_utf8_cannot_hold_is_invalid_and_harms_no_other(
    apps: Posting, path: str, name: str
) -> None:
    """JavaScript writes such text when a name was cut in the middle of an emoji."""
    bad, _ = apps.statuses(path, [{name: "\ud83d", "message": {}}, fact()])
    assert bad == "invalid"


# -- facts ---------------------------------------------------------------------------------------


def test_every_answer_stands_where_its_item_stood(apps: Posting, journal: Journal) -> None:
    results = apps.results(
        "/events",
        [
            fact("a"),
            fact("a", seconds=-1),
            fact("a"),
            fact("b", dimensions={"project_id": "p"}),
            fact("a", customer_id="other"),
            fact("a", seconds=62),
            {"kind": "async_failed", **{k: v for k, v in fact("a").items() if k[0] in "pco"}},
        ],
    )
    assert [r["status"] for r in results] == [
        "recorded",
        "invalid",
        "duplicate",
        "recorded",
        "conflict",
        "conflict",
        "recorded",
    ]
    assert results[1]["reason"] == "seconds: expected 0 or more, got -1"
    assert results[4]["reason"].endswith("the first stands")
    assert results[6]["event_id"] == "assemblyai:transcript:a:failed"
    assert [(e.provider_id, e.collector, e.billed_seconds) for e in stored(journal)] == [
        ("a", "apps", 61),
        ("b", "apps", 61),
        ("a", "apps", None),
    ]
    assert journal.totals().quarantined == {"apps": 2}


def test_a_fact_is_kept_exactly_and_meter_says_who_and_when(
    apps: Posting, journal: Journal, clock: FakeClock
) -> None:
    body = json.dumps(fact(dimensions={"a": "b"})).replace("61", "12.345678901")
    assert apps.statuses("/events", body) == ["recorded"]
    event = the_one(journal)
    assert event.billed_seconds == Decimal("12.345678901")
    assert (event.collector, event.recorded_at) == ("apps", clock.now())
    assert event.dimensions == {"a": "b"}


@given(digits=st.integers(0, 10**16), places=st.integers(0, 9))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decimals_arrive_exactly_as_they_were_written(
    apps: Posting, journal: Journal, digits: int, places: int
) -> None:
    written = f"{Decimal(digits % 10 ** (places + 7)).scaleb(-places):f}"
    name = f"t{digits}-{places}"
    body = json.dumps(fact(name)).replace('"seconds": 61', f'"seconds": {written}')
    assert apps.statuses("/events", body)[0] in {"recorded", "duplicate"}
    event = journal.find(f"assemblyai:transcript:{name}")
    assert event is not None
    assert event.billed_seconds == Decimal(written)


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"event_id": "mine"}, "event_id: meter derives"),
    ({"collector": "apps"}, "collector: meter says that itself; leave it out"),
    ({"recorded_at": AT}, "recorded_at: meter says that itself; leave it out"),
    ({"colour": "red"}, "colour"),
    ({"kind": "async_started"}, "async_started"),
    ({"kind": None}, "kind"),
    ({"customer_id": ""}, "customer_id: expected whose usage it is"),
    ({"customer_id": 7}, "customer_id"),
    ({"customer_id": None}, "customer_id"),
    ({"provider_id": ""}, "provider_id: expected the provider's id"),
    ({"provider": "a:b"}, "provider: expected a name without a colon"),
    ({"dimensions": {"a": 1}}, "dimensions"),
    ({"dimensions": []}, "dimensions"),
    ({"occurred_at": "2026-11-01T12:00:00"}, "occurred_at"),
    ({"occurred_at": "yesterday"}, "occurred_at"),
    ({"seconds": True}, "seconds"),
    ({"seconds": None}, "seconds"),
    ({"seconds": [61]}, "seconds"),
    ({"seconds": 10**7 + 1}, "seconds: expected at most 10000000"),
    ({"seconds": -0.5}, "seconds: expected 0 or more"),
    ({"seconds": 1e300}, "seconds: expected at most 10000000"),
]


def test_what_cannot_be_true_is_invalid_with_the_reason_and_the_rest_is_recorded(
    apps: Posting, journal: Journal
) -> None:
    bad = [{**fact(f"bad{n}"), **changes} for n, (changes, _) in enumerate(INVALID)]
    bad += [{k: v for k, v in fact().items() if k != name} for name in fact()]
    *results, good = apps.results("/events", [*bad, fact("good")])
    for result, reason in zip(results, [why for _, why in INVALID] + list(fact()), strict=True):
        assert result["status"] == "invalid"
        assert reason in result["reason"]
    assert good["status"] == "recorded"
    assert the_one(journal).provider_id == "good"
    assert journal.totals().quarantined == {}


def test_a_duration_written_as_text_is_no_number(apps: Posting) -> None:
    items = [fact(f"t{n}", seconds=text) for n, text in enumerate(["61", "1_000", "٣"])]
    assert apps.statuses("/events", items) == ["invalid"] * 3


def test_a_time_that_has_no_utc_holds_up_nothing_beside_it(apps: Posting) -> None:
    times = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    bad = [fact(f"bad{n}", occurred_at=time) for n, time in enumerate(times)]
    assert apps.statuses("/events", [*bad, fact()]) == ["invalid", "invalid", "recorded"]


def test_a_number_beyond_all_measure_holds_up_nothing_beside_it(apps: Posting) -> None:
    bad = json.dumps(fact("bad")).replace("61", "1e9999999999999999999")
    assert apps.statuses("/events", f"[{bad}, {json.dumps(fact())}]") == ["invalid", "recorded"]


def test_the_event_id_that_meter_derives_may_be_given(apps: Posting) -> None:
    body = fact("a/b", event_id="assemblyai:transcript:a%2Fb")
    assert apps.results("/events", body) == [
        {"status": "recorded", "event_id": "assemblyai:transcript:a%2Fb"}
    ]


def test_of_a_name_given_twice_the_last_one_counts(apps: Posting, journal: Journal) -> None:
    body = json.dumps(fact())[:-1] + ', "seconds": 7, "dimensions": {"a": "1", "a": "2"}}'
    assert apps.statuses("/events", body) == ["recorded"]
    assert the_one(journal).billed_seconds == 7
    assert the_one(journal).dimensions == {"a": "2"}


def test_customers_of_every_script_are_taken_exactly_as_given(
    apps: Posting, journal: Journal
) -> None:
    items = [fact(f"t{n}", customer_id=name) for n, name in enumerate(CUSTOMERS)]
    assert apps.statuses("/events", json.dumps(items)) == ["recorded"] * len(items)
    unescaped = json.dumps(items, ensure_ascii=False)
    assert "株" in unescaped
    assert apps.statuses("/events", unescaped) == ["duplicate"] * len(items)
    assert [event.customer_id for event in stored(journal)] == list(CUSTOMERS)


def test_a_session_may_be_posted_as_a_fact_too(apps: Posting, journal: Journal) -> None:
    body = fact("s1", kind="stream_terminated", audio_seconds=9000.5, model="universal-streaming")
    assert apps.results("/events", body) == [
        {"status": "recorded", "event_id": "assemblyai:session:s1"}
    ]
    event = the_one(journal)
    assert isinstance(event, StreamTerminated)
    assert (event.seconds, event.audio_seconds) == (Decimal(61), Decimal("9000.5"))


# -- faults of ours ------------------------------------------------------------------------------


def test_when_the_journal_cannot_be_written_503_and_the_retry_loses_nothing(
    apps: Posting, journal: Journal, tmp_path: Path
) -> None:
    body = [fact("a"), fact("b")]
    moved = away(tmp_path / "m.db")
    answer = apps.post("/events", body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert answer.json() == {"error": "not stored; please retry"}
    moved.rename(tmp_path / "m.db")
    assert stored(journal) == []
    assert apps.statuses("/events", body) == ["recorded", "recorded"]
    assert apps.statuses("/events", body) == ["duplicate", "duplicate"]
    assert [event.provider_id for event in stored(journal)] == ["a", "b"]


def test_what_is_only_invalid_needs_no_journal(apps: Posting, tmp_path: Path) -> None:
    moved = away(tmp_path / "m.db")
    assert apps.statuses("/events", [{}]) == ["invalid"]
    moved.rename(tmp_path / "m.db")


def test_late_facts_keep_their_own_time(apps: Posting, journal: Journal, clock: FakeClock) -> None:
    apps.statuses("/events", fact(occurred_at="2026-11-01T14:00:00+02:00"))
    event = the_one(journal)
    assert event.occurred_at.isoformat() == "2026-11-01T12:00:00+00:00"
    assert event.recorded_at - event.occurred_at == timedelta(days=21)
    assert event.recorded_at == clock.now()
