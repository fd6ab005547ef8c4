from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from meter.testing import Row, async_completed, some_events
from meter.testing.rows import differences, missing

EVENTS = some_events(3)
ROWS = [
    Row(e.event_id, e.customer_id, e.billed_seconds, e.occurred_at, dimensions=e.dimensions)
    for e in EVENTS
]


def test_a_destination_that_holds_everything_once_differs_in_nothing() -> None:
    assert differences(ROWS, EVENTS) == []
    assert differences([], []) == []
    assert differences([Row(event.event_id) for event in EVENTS], EVENTS) == []


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (ROWS[1:], "is missing"),
        ([], "the destination is empty"),
        ([*ROWS, ROWS[0]], "is there 2 times"),
        ([*ROWS, Row("assemblyai:transcript:x")], "no such event was ever recorded"),
        ([replace(ROWS[0], seconds=Decimal("0.1")), *ROWS[1:]], "seconds is 0.1"),
        ([replace(ROWS[0], customer_id="else"), *ROWS[1:]], "customer_id is 'else'"),
        ([replace(ROWS[0], occurred_at=datetime(2020, 1, 1, tzinfo=UTC)), *ROWS[1:]], "occurred"),
        ([replace(ROWS[0], dimensions={"a": "b"}), *ROWS[1:]], "dimensions"),
        ([*ROWS[1:], Row(None, "acme", Decimal(1))], "some rows with event_id"),
    ],
)
def test_each_difference_is_told(rows: list[Row], told: str) -> None:
    assert any(told in line for line in differences(rows, EVENTS))


def test_what_was_refused_must_not_be_there() -> None:
    assert "never delivered" in differences(ROWS, EVENTS[1:], EVENTS[:1])[0]


def test_repetitions_are_allowed_as_often_as_the_sink_was_given_the_event() -> None:
    twice = [*ROWS, ROWS[0]]
    assert differences(twice, EVENTS, given={EVENTS[0].event_id: 2}) == []
    assert differences(twice, EVENTS, given={EVENTS[0].event_id: 1})
    assert differences(twice, EVENTS, given={})


def test_of_a_destination_that_keeps_sums_the_sums_are_compared() -> None:
    sums = [Row(None, e.customer_id, e.billed_seconds) for e in EVENTS]
    assert differences(sums, EVENTS) == []
    assert missing(sums, EVENTS) == []
    less = [replace(sums[0], seconds=(sums[0].seconds or Decimal(0)) - Decimal("1E-9")), *sums[1:]]
    assert differences(less, EVENTS)
    assert missing(less, EVENTS)
    assert differences([*sums, sums[0]], EVENTS)


def test_sums_in_whole_units_are_rounded_down_once_and_no_more() -> None:
    minute = Decimal(60)
    sums = [
        Row(None, e.customer_id, (e.billed_seconds or Decimal(0)) // minute * minute)
        for e in EVENTS
    ]
    assert differences(sums, EVENTS, unit=minute) == []
    assert missing(sums, EVENTS, minute) == []
    assert differences(sums, EVENTS)
    for change in (minute, -minute, Decimal(1)):
        other = [replace(sums[0], seconds=(sums[0].seconds or Decimal(0)) + change), *sums[1:]]
        assert differences(other, EVENTS, unit=minute)
    assert missing(sums[1:], EVENTS, minute)
    assert missing([], EVENTS, minute)
    assert differences([], EVENTS, unit=minute)
    little = [async_completed(seconds=Decimal(59))]
    assert differences([], little, unit=minute) == []
    assert missing([], little, minute) == []


def test_what_cannot_be_compared_exactly_is_no_row() -> None:
    with pytest.raises(TypeError, match="expected a Decimal"):
        Row("x", seconds=0.1)  # type: ignore[arg-type]  # because this is the mistake
    with pytest.raises(TypeError, match="with a zone"):
        Row("x", occurred_at=datetime(2026, 1, 1))  # noqa: DTZ001  because this is the mistake
    with pytest.raises(ValueError, match="expected an event_id"):
        Row(customer_id="acme")
