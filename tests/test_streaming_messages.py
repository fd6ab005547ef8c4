"""What is read from the provider's streaming messages: exactly, and never a wrong figure."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.events import format_seconds
from meter.streaming import (
    LONGEST_SESSION,
    Begin,
    Heartbeat,
    SessionMessage,
    Termination,
    Unusable,
    expiry_of,
    read_message,
    understand,
    upper_bound,
)
from support.facts import NOON

EXPIRES = 1795348800
"""Noon of 22 November 2026, as Unix seconds."""


def begin(**fields: Any) -> SessionMessage | None:
    return read_message(json.dumps({"type": "Begin", "id": "s1", **fields}))


def termination(session: str, audio: str = "null") -> SessionMessage | None:
    """Read a Termination whose numbers are written just so."""
    return read_message(
        f'{{"type":"Termination","audio_duration_seconds":{audio},'
        f'"session_duration_seconds":{session}}}'
    )


# -- Begin ---------------------------------------------------------------------------------------


def test_begin_names_the_session_its_expiry_and_its_model() -> None:
    said = begin(expires_at=EXPIRES, configuration={"model": "universal-streaming", "x": [1]})
    assert said == Begin("s1", NOON, "universal-streaming")
    assert begin() == Begin("s1", None, None)


@pytest.mark.parametrize("given", [EXPIRES, float(EXPIRES), "2026-11-22T13:00:00+01:00"])
def test_an_expiry_may_be_unix_seconds_or_iso_8601(given: Any) -> None:
    assert begin(expires_at=given) == Begin("s1", NOON)


@pytest.mark.parametrize(
    "garbage", ["soon", "", True, [], {}, None, 1e300, 10**30, -(10**30), "0001-01-01T00:00+14:00"]
)
def test_an_unreadable_expiry_is_as_none_and_the_session_counts(garbage: Any) -> None:
    assert begin(expires_at=garbage) == Begin("s1")


@pytest.mark.parametrize("configuration", [None, "universal", [], {}, {"model": 7}, {"model": ""}])
def test_an_odd_configuration_costs_the_model_only(configuration: Any) -> None:
    assert begin(configuration=configuration) == Begin("s1")


@pytest.mark.parametrize("bad", [None, "", 7, True, ["s1"], {"id": "s1"}])
def test_a_begin_without_a_usable_id_is_unusable_and_says_so(bad: Any) -> None:
    said = begin(id=bad)
    assert isinstance(said, Unusable)
    assert (said.type, said.reason) == ("Begin", "id: expected the session's id")


def test_a_session_whose_expiry_is_unknown_ends_by_the_providers_own_limit() -> None:
    assert expiry_of(Begin("s1"), NOON) == NOON + LONGEST_SESSION == NOON + timedelta(hours=3)
    assert expiry_of(Begin("s1", NOON), NOON - timedelta(minutes=5)) == NOON


# -- Heartbeat -----------------------------------------------------------------------------------


def test_a_heartbeat_is_a_lower_bound_in_seconds() -> None:
    raw = '{"type":"Heartbeat","total_audio_received_ms":99999,"total_duration_ms":12345}'
    assert read_message(raw) == Heartbeat(Decimal("12.345"))


@pytest.mark.parametrize("bad", ["null", '"12"', "-1", "true", "[]", "1e400"])
def test_a_heartbeat_without_a_figure_says_nothing(bad: str) -> None:
    assert read_message(f'{{"type":"Heartbeat","total_duration_ms":{bad}}}') is None
    assert read_message('{"type":"Heartbeat"}') is None


def test_heartbeats_count_up_to_the_longest_session() -> None:
    milliseconds = int(LONGEST_SESSION.total_seconds() * 1000)
    raw = f'{{"type":"Heartbeat","total_duration_ms":{milliseconds}}}'
    assert read_message(raw) == Heartbeat(Decimal(10_800))


# -- Termination ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("61", "61"),
        ("0", "0"),
        ("61.0", "61"),
        ("12.345678901", "12.345678901"),
        ("0.1", "0.1"),
        ("1e2", "100"),
        ("10000000", "10000000"),
        ("1.0000000005", "1"),
        ("1.0000000015", "1.000000002"),
        ("1e-300", "0"),
    ],
)
def test_a_duration_is_the_exact_decimal_that_was_written(written: str, seconds: str) -> None:
    said = termination(written)
    assert isinstance(said, Termination)
    assert format_seconds(said.seconds) == seconds


@pytest.mark.parametrize(
    "bad", ["null", '"61"', "true", "false", "-1", "-0.001", "10000000.1", "1e999", "[]", "{}"]
)
def test_an_unusable_duration_is_never_billed_whatever_the_audio_says(bad: str) -> None:
    said = termination(bad, audio="61")
    assert isinstance(said, Unusable)
    assert said.type == "Termination"
    assert said.reason.startswith("session_duration_seconds: expected")
    assert said.fields["audio_duration_seconds"] == 61


def test_a_missing_duration_is_unusable() -> None:
    said = read_message('{"type":"Termination","audio_duration_seconds":61}')
    assert isinstance(said, Unusable)
    assert said.reason == "session_duration_seconds: expected a number, got a value null"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_never_a_duration(number: float) -> None:
    decoded = {"type": "Termination", "session_duration_seconds": number}
    assert isinstance(understand(decoded), Unusable)
    assert read_message(json.dumps(decoded)) is None, "NaN and Infinity are no JSON"


@pytest.mark.parametrize(
    "raw",
    [
        '{"type":"Termination","session_duration_seconds":1e9999999999999999999}',
        '{"type":"Heartbeat","total_duration_ms":1e9999999999999999999}',
        '{"type":"Begin","id":"s1","expires_at":1e9999999999999999999}',
    ],
)
def test_a_number_beyond_all_measure_is_answered_and_raises_nothing(raw: str) -> None:
    assert isinstance(read_message(raw), Unusable | Begin | None)


@pytest.mark.parametrize("bad", ["null", '"61"', "true", "-1", "1e999", "[]"])
def test_an_unusable_audio_duration_never_costs_the_billed_figure(bad: str) -> None:
    assert termination("61.5", audio=bad) == Termination(Decimal("61.5"), None)


@pytest.mark.parametrize(("session", "audio"), [("60", "3600"), ("3600", "60"), ("0", "9")])
def test_seconds_are_the_sessions_and_never_the_audios(session: str, audio: str) -> None:
    assert termination(session, audio) == Termination(Decimal(session), Decimal(audio))


durations = st.decimals(0, 10**7, places=9, allow_nan=False, allow_infinity=False)


@given(session=durations, audio=durations | st.none())
def test_session_and_audio_seconds_are_never_exchanged(
    session: Decimal, audio: Decimal | None
) -> None:
    written = "null" if audio is None else f"{audio:f}"
    said = termination(f"{session:f}", written)
    assert isinstance(said, Termination)
    assert said.seconds == session
    assert said.audio_seconds == audio


def test_what_is_kept_of_an_unusable_message_is_short_and_only_what_metering_reads() -> None:
    said = read_message(
        json.dumps(
            {
                "type": "Termination",
                "session_duration_seconds": "x" * 10_000,
                "audio_duration_seconds": {"deep": "what was said"},
                "configuration": {"prompt": "what was said"},
                "transcript": "what was said",
            }
        )
    )
    assert isinstance(said, Unusable)
    assert dict(said.fields) == {
        "type": "Termination",
        "session_duration_seconds": "x" * 200,
        "audio_duration_seconds": "dict",
    }


# -- everything else -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        '{"type":"Turn","transcript":"hello","words":[{"text":"hello"}],"end_of_turn":true}',
        '{"type":"Error","error_code":3005,"error":"x"}',
        '{"type":"begin","id":"s1"}',
        '{"id":"s1"}',
        '{"type":null}',
        '{"type":["Begin"],"id":"s1"}',
        "{}",
        "",
        "{",
        "not json",
        "null",
        "7",
        '"Begin"',
        "[]",
        '[{"type":"Begin","id":"s1"}]',
        '{"type":"Begin","id":"s1"} trailing',
        '{"type":"Begin","id":"\\ud800"}',
        '{"type":"Begin","x":' + "[" * 5000,
    ],
)
def test_what_says_nothing_about_usage_is_none(raw: str) -> None:
    assert read_message(raw) is None
    assert read_message(raw.encode()) is None


@given(raw=st.binary(max_size=200))
def test_audio_is_none_and_raises_nothing(raw: bytes) -> None:
    assert read_message(raw) is None
    assert read_message(memoryview(raw)) is None


def test_text_that_utf8_cannot_hold_is_none() -> None:
    assert read_message('{"type":"Begin","id":"\ud800"}') is None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = (
    st.integers(-(10**20), 10**20)
    | st.floats(0, 2e7).filter(lambda number: number == 0 or number > 1e-300)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(["Begin", "Heartbeat", "Termination"]) | values},
    optional={
        "id": texts | values,
        "expires_at": st.integers(EXPIRES - 10**6, EXPIRES + 10**6) | numbers | values,
        "configuration": st.fixed_dictionaries({"model": texts | values}) | values,
        "total_duration_ms": numbers | values,
        "session_duration_seconds": numbers | values,
        "audio_duration_seconds": numbers | values,
        "transcript": values,
    },
)


@given(message=messages)
def test_a_decoded_message_means_what_its_text_means(message: dict[str, Any]) -> None:
    assert understand(message) == read_message(json.dumps(message))


@given(digits=st.integers(0, 10**13), places=st.integers(0, 9))
def test_a_fraction_that_went_through_a_float_is_what_was_written(digits: int, places: int) -> None:
    written = Decimal(digits).scaleb(-places)
    if written > 10**7:
        written /= 10**6
    decoded = json.loads(
        f'{{"type":"Termination","session_duration_seconds":{written:f},'
        f'"audio_duration_seconds":null}}'
    )
    said = understand(decoded)
    assert isinstance(said, Termination)
    assert said.seconds == round(written, 9)


# -- bounds --------------------------------------------------------------------------------------


@given(
    began=st.integers(0, 10**12),
    limit=st.integers(0, 10_800),
    lasted=st.integers(0, 10_800 * 10**6),
    underway=st.integers(0, 10**6),
    beat=st.integers(0, 10**6),
)
def test_the_upper_bound_contains_the_truth(
    began: int, limit: int, lasted: int, underway: int, beat: int
) -> None:
    """`expires_at` is cut to seconds, Begin is late by up to 1 s; all but the limit in µs."""
    micro = timedelta(microseconds=1)
    start = datetime(2026, 11, 22, tzinfo=UTC) + began * micro
    expires_at = (start + timedelta(seconds=limit)).replace(microsecond=0)
    truth = min(lasted, limit * 10**6)
    lower = Decimal(min(beat, truth)) / 10**6
    upper = upper_bound(start + underway * micro, expires_at, lower)
    assert Decimal(truth) / 10**6 <= upper
    assert lower <= upper


def test_the_upper_bound_never_lies_below_what_a_heartbeat_said() -> None:
    assert upper_bound(NOON, NOON - timedelta(hours=1), Decimal("5.5")) == Decimal("5.5")
    assert upper_bound(NOON, NOON - timedelta(hours=1), Decimal(0)) == 1
