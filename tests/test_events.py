from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.errors import InvalidEvent
from meter.events import (
    AsyncCompleted,
    StreamAbandoned,
    StreamTerminated,
    decode_event,
    encode_event,
    event_id_for,
    exact_seconds,
    format_seconds,
)
from support.facts import NOON, completed, failed

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
SECONDS = st.decimals(0, 10**7, allow_nan=False, places=9)


@given(
    provider_id=TEXT,
    customer=TEXT,
    dimensions=st.dictionaries(TEXT, st.text(st.characters(exclude_categories=["Cs"]))),
    seconds=SECONDS,
    occurred=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001  made aware below
)
def test_an_event_survives_its_json_form_exactly(
    provider_id: str,
    customer: str,
    dimensions: dict[str, str],
    seconds: Decimal,
    occurred: datetime,
) -> None:
    event = completed(
        provider_id,
        customer_id=customer,
        dimensions=dimensions,
        seconds=seconds,
        occurred_at=occurred.replace(tzinfo=UTC),
    )
    line = encode_event(event)
    assert b"\n" not in line
    again = decode_event(line)
    assert again == event
    assert isinstance(again, AsyncCompleted)
    assert str(again.seconds) == str(event.seconds)
    assert encode_event(again) == line


def test_the_json_form_is_stable() -> None:
    event = completed(
        "t1",
        seconds=Decimal("12.50"),
        dimensions={"z": "1", "a": "2"},
        features=("speaker_labels",),
    )
    assert encode_event(event).decode() == (
        '{"kind":"async_completed","event_id":"assemblyai:transcript:t1","provider":"assemblyai",'
        '"provider_id":"t1","customer_id":"acme","dimensions":{"a":"2","z":"1"},'
        '"collector":"transcripts","occurred_at":"2026-11-22T12:00:00Z",'
        '"recorded_at":"2026-11-22T12:00:00Z","seconds":12.5,"model":null,"language":null,'
        '"features":["speaker_labels"],"channels":null}'
    )


@given(st.lists(TEXT, min_size=2, max_size=2, unique=True))
def test_two_facts_never_share_an_id(ids: list[str]) -> None:
    first, second = (event_id_for("assemblyai", "transcript", i) for i in ids)
    assert first != second


def test_a_never_billed_kind_has_an_id_of_its_own_so_that_a_late_truth_is_no_conflict() -> None:
    assert completed("t1").event_id == "assemblyai:transcript:t1"
    assert failed("t1").event_id == "assemblyai:transcript:t1:failed"
    session = {"provider_id": "s1", "customer_id": "c", "collector": "x"}
    times = {"occurred_at": NOON, "recorded_at": NOON}
    ended = StreamTerminated(seconds=Decimal(3), **session, **times)  # type: ignore[arg-type]  # plain dicts
    lost = StreamAbandoned(lower_seconds=Decimal(1), **session, **times)  # type: ignore[arg-type]  # plain dicts
    assert ended.event_id == "assemblyai:session:s1"
    assert lost.event_id == "assemblyai:session:s1:abandoned"
    assert ended.billed_seconds == 3
    assert lost.billed_seconds is None
    assert failed("t1").billed_seconds is None


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (0, "0"),
        (12, "12"),
        (Decimal("12.0"), "12"),
        (Decimal("12.50"), "12.5"),
        (Decimal("1E+2"), "100"),
        (Decimal("0.1234567885"), "0.123456788"),
        (Decimal("0.1234567895"), "0.12345679"),
        (Decimal("0E-12"), "0"),
        (10**7, "10000000"),
    ],
)
def test_seconds_are_kept_exactly_up_to_nine_decimals_then_half_even(
    given_: int | Decimal, kept: str
) -> None:
    assert format_seconds(exact_seconds(given_)) == kept


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "12",
        12.5,
        -1,
        Decimal("-0.1"),
        10**7 + 1,
        Decimal("NaN"),
        Decimal("Infinity"),
        [],
    ],
)
def test_what_is_not_a_believable_duration_is_refused(value: object) -> None:
    with pytest.raises(InvalidEvent, match="seconds: expected"):
        exact_seconds(value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"customer_id": ""}, "customer_id"),
        ({"provider_id": ""}, "provider_id"),
        ({"event_id": "assemblyai:transcript:other"}, "leave event_id out"),
        ({"seconds": Decimal(-1)}, "0 or more"),
        ({"occurred_at": datetime(2026, 1, 1)}, "zone"),  # noqa: DTZ001  the fault under test
        ({"provider": "a:b"}, "colon"),
    ],
)
def test_an_event_that_cannot_be_true_is_refused(changes: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {
        "provider_id": "t1",
        "customer_id": "acme",
        "collector": "x",
        "occurred_at": NOON,
        "recorded_at": NOON,
        "seconds": Decimal(1),
        **changes,
    }
    with pytest.raises(InvalidEvent, match=message):
        AsyncCompleted(**fields)  # type: ignore[arg-type]  # wrong on purpose


def test_times_are_brought_to_utc() -> None:
    local = datetime(2026, 11, 1, 0, 30, tzinfo=timezone(timedelta(hours=13)))
    event = completed("t1", occurred_at=local)
    assert event.occurred_at.tzinfo is UTC
    assert event.occurred_at.month == 10
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not JSON"),
        (b"[]", "object"),
        (b"\xff\xfe", "not JSON"),
        (b'{"kind":"nonsense"}', "nonsense"),
        (encode_event(completed("t1")).replace(b'"seconds":60', b'"seconds":null'), "seconds"),
        (encode_event(completed("t1")).replace(b'"seconds":60', b'"seconds":-1'), "0 or more"),
        (encode_event(completed("t1")).replace(b'"seconds"', b'"secs"'), "secs"),
        (encode_event(completed("t1")).replace(b"transcript:t1", b"transcript:t2"), "event_id"),
        (encode_event(completed("t1")).replace(b"12:00:00Z", b"12:00:00"), "timezone"),
    ],
)
def test_a_line_that_is_no_event_says_why(line: bytes, message: str) -> None:
    with pytest.raises(InvalidEvent, match=message):
        decode_event(line)


def test_a_lone_surrogate_is_refused_before_it_reaches_the_disk() -> None:
    with pytest.raises(InvalidEvent, match="UTF-8"):
        encode_event(completed("t1", customer_id="\ud800"))


def test_duplicates_and_conflicts_are_told_apart_by_customer_and_quantity_alone() -> None:
    first = completed("t1")
    assert first.same_substance(completed("t1", occurred_at=NOON + timedelta(hours=1), model="x"))
    assert first.same_substance(completed("t1", seconds=Decimal("60.000")))
    assert not first.same_substance(completed("t1", customer_id="Acme"))
    assert not first.same_substance(completed("t1", seconds=Decimal("60.000000001")))
