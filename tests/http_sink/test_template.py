"""The body template: what it writes, and what is no template."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_sink.conftest import Opener, batch_of
from http_sink.double import Destination
from meter.events import Event, exact_seconds
from meter_http.placeholders import NAMES, Facts
from meter_http.quantities import digits
from meter_http.template import Envelope, Template
from support.facts import NOON, completed, terminated


def filled(template: Any, event: Event, **changes: Any) -> Any:
    given_ = {"event_type": "t", "customer": "sub_1", "source": "meter", "journal_id": "j"}
    facts = Facts(event, **{**given_, **changes})
    return json.loads(Template(template).fill(facts), parse_float=Decimal)


EVENT = completed(
    "t1", seconds=Decimal("90.5"), model="universal", dimensions={"team": "a", "a:b-c": "odd"}
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{event_id}", "assemblyai:transcript:t1"),
        ("{kind}", "async_completed"),
        ("{event_type}", "t"),
        ("{customer_id}", "acme"),
        ("{customer}", "sub_1"),
        ("{provider}/{provider_id}", "assemblyai/t1"),
        ("{seconds}", "90.5"),
        ("{minutes}", "1.508333333"),
        ("{hours}", "0.025138889"),
        ("{seconds} s", "90.5 s"),
        ("{occurred_at}", "2026-11-22T12:00:00.000000Z"),
        ("{occurred_at:unix}", int(NOON.timestamp())),
        ("{occurred_at:unix_ms}", int(NOON.timestamp()) * 1000),
        ("at {occurred_at:unix}", f"at {int(NOON.timestamp())}"),
        ("{dimension.team}", "a"),
        ("{dimension.a:b-c}", "odd"),
        ("{dimension.none:-nobody}", "nobody"),
        ("{language:-}", ""),
        ("[{dimension.none}]", "[]"),
        ("{dimensions}", {"a:b-c": "odd", "team": "a"}),
        ("{json:true}", True),
        ("{json:null}", None),
        ("{json:1.10}", Decimal("1.10")),
        ('{json:"{"', None),
        ("{{literal}} }}", "{literal} }"),
        ("plain", "plain"),
        ("", ""),
        (None, None),
    ],
)
def test_each_placeholder_stands_for_its_fact(text: Any, value: Any) -> None:
    if text == '{json:"{"':
        with pytest.raises(ValueError, match=r"a brace without its other half"):
            Template({"v": text})
        return
    assert filled({"v": text}, EVENT) == {"v": value}


def test_what_is_missing_leaves_its_key_out_and_its_place_in_a_list() -> None:
    template = {"a": "{dimension.none}", "b": {"c": "{language}"}, "d": ["{features}", "x"]}
    assert filled(template, EVENT) == {"b": {}, "d": ["x"]}


def test_quantities_are_numbers_of_the_same_digits_when_asked_for() -> None:
    template = {"s": "{seconds}", "a": "{audio_seconds}", "t": "{seconds} s"}
    event = terminated(1, seconds=Decimal("0.000000001"), audio_seconds=Decimal("1E+3"))
    sent = Template(template).fill(Facts(event, "t", "c", "m", "j", as_numbers=True))
    assert sent == b'{"s":0.000000001,"a":1000,"t":"0.000000001 s"}'


def test_every_name_can_be_written() -> None:
    event = terminated(
        1, audio_seconds=Decimal(1), started_at=NOON, model="m", dimensions={"a": "b"}
    )
    written = filled({name: f"{{{name}}}" for name in NAMES}, event)
    assert set(NAMES) - written.keys() == {"language", "channels", "features"}


def test_nothing_in_an_event_is_ever_taken_for_a_placeholder() -> None:
    event = completed("1", customer_id="{seconds}", dimensions={"team": "{{event_id}}"})
    template = {"a": "{customer_id}", "b": "x{dimension.team}"}
    assert filled(template, event) == {"a": "{seconds}", "b": "x{{event_id}}"}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"a": {"b": "{custmer_id}"}}, "at a.b: custmer_id is no placeholder; did you mean cust"),
        ({"a": ["x", "{dimensions.team}"]}, "at a[1]: dimensions.team is no placeholder; did you"),
        ({"a": "{}"}, "at a: nothing is no placeholder; there are event_id, kind"),
        ({"a": "{dimension.}"}, "at a: dimension. needs a name, as in dimension.team"),
        ({"a": "{seconds:int}"}, "at a: seconds has no format int; there is seconds alone"),
        ({"a": "{occurred_at:iso}"}, "at a: occurred_at has no format iso; there is occurred_at:u"),
        ({"a": "{event_id"}, "at a: a brace without its other half; double it to keep it"),
        ({"a": "{{event_id}"}, "at a: a brace without its other half; double it to keep it"),
        ({"a": "x {features}"}, "at a: features must stand alone: it is no text"),
        ({"a": "{json:[1]}"}, "at a: json: needs a number, true, false, null or a quoted text"),
        ({"a": "{json:tru}"}, "at a: json: needs a number, true, false, null or a quoted text"),
        ({"a": "{event_id.__class__}"}, "at a: event_id.__class__ is no placeholder; did you mean"),
    ],
)
def test_what_is_no_placeholder_is_named_with_its_place(template: Any, words: str) -> None:
    with pytest.raises(ValueError, match=r"^at ") as raised:
        Template(template)
    assert str(raised.value).startswith(words)


@pytest.mark.parametrize(
    ("template", "body"),
    [
        ("{events}", b"[1,2]"),
        ({"events": "{events}"}, b'{"events":[1,2]}'),
        (
            {"v": "{json:2}", "in": {"list": "{events}"}, "x": None},
            b'{"v":2,"in":{"list":[1,2]},"x":null}',
        ),
    ],
)
def test_an_envelope_stands_around_the_events(template: Any, body: bytes) -> None:
    envelope = Envelope(template)
    assert not envelope.single
    assert envelope.around([b"1", b"2"]) == body
    assert envelope.size(2, 2) == len(body)


def test_an_envelope_for_one_event_sends_them_one_by_one(
    sink: Opener, destination: Destination
) -> None:
    body = {"event": {"id": "{event_id}"}, "batch": {"event": "{event}"}}
    sink(body=body).deliver(batch_of([completed(1), completed(2)]))
    assert [a.json for a in destination.asked] == [
        {"event": {"id": "assemblyai:transcript:1"}},
        {"event": {"id": "assemblyai:transcript:2"}},
    ]
    assert destination.asked[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "template", ["events", {}, {"a": "{events}", "b": "{events}"}, {"a": "{event_id}"}, ["x"]]
)
def test_an_envelope_has_one_place_for_events(template: Any) -> None:
    with pytest.raises(ValueError, match=r"one place for the events|what an event has stands in"):
        Envelope(template)


@given(st.integers(0, 10**16), st.sampled_from(["seconds", "minutes", "hours"]))
def test_units_are_exact_to_half_a_billionth(nanoseconds: int, unit: str) -> None:
    seconds = exact_seconds(Decimal(nanoseconds).scaleb(-9))
    text = digits(seconds, unit)
    size = {"seconds": 1, "minutes": 60, "hours": 3600}[unit]
    written = int(Decimal(text).scaleb(9) * size)
    assert abs(written - nanoseconds) * 2 <= (0 if unit == "seconds" else size)
    assert "E" not in text
    assert text == "0" or not text.startswith(".")
    assert "." not in text or not text.endswith("0")


@pytest.mark.parametrize(
    ("nanoseconds", "hours"),
    [(1_800, "0"), (5_400, "0.000000002"), (9_000, "0.000000002"), (1_801, "0.000000001")],
)
def test_halves_are_rounded_to_even(nanoseconds: int, hours: str) -> None:
    assert digits(Decimal(nanoseconds).scaleb(-9), "hours") == hours
