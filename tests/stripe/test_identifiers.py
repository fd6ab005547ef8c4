"""Identifiers: the same for the same content, for ever, and another one for any other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter_stripe.intents import identifier_for

SCOPE = ("journal-1", "test", "seconds", "cus_1", "usage")
EVENTS = ("assemblyai:transcript:a", "assemblyai:session:b")


def identifier(**changes: Any) -> str:
    content = {"scope": SCOPE, "events": EVENTS, "value": 60, "generation": 1, **changes}
    return identifier_for(content.pop("scope"), **content)


def test_it_is_the_same_in_every_release() -> None:
    # Another one would bill again what a ledger was lost for within Stripe's day.
    assert identifier() == "meter-e9a8928812529b0cddc6e8cedfd9df22"


def test_stripe_takes_it() -> None:
    assert len(identifier()) <= 100
    assert identifier().isascii()


@pytest.mark.parametrize(
    "changes",
    [
        *({"scope": (*SCOPE[:n], "other", *SCOPE[n + 1 :])} for n in range(len(SCOPE))),
        {"events": EVENTS[:1]},
        {"events": EVENTS[::-1]},
        {"events": (*EVENTS, "c")},
        {"events": ("".join(EVENTS),)},
        {"events": ()},
        {"value": 61},
        {"value": -60},
        {"generation": 2},
        {"value": 6, "generation": 1, "events": ("0", *EVENTS)},
    ],
)
def test_any_other_content_has_another_one(changes: dict[str, Any]) -> None:
    assert identifier(**changes) != identifier()


def test_no_text_can_pass_for_two_others() -> None:
    joined = identifier(scope=("journal-1test", *SCOPE[2:]))
    shifted = identifier(scope=("journal-1", "testseconds", *SCOPE[3:]))
    assert len({joined, shifted, identifier()}) == 3


CONTENT = st.tuples(
    st.tuples(*[st.text(max_size=4)] * 5),
    st.lists(st.text(max_size=4), max_size=4).map(tuple),
    st.integers(-3, 10**15),
    st.integers(1, 4),
)


@given(one=CONTENT, other=CONTENT)
def test_it_tells_any_two_contents_apart(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    made = [
        identifier_for(scope, events=events, value=value, generation=generation)
        for scope, events, value, generation in (one, other)
    ]
    assert (made[0] == made[1]) == (one == other)
