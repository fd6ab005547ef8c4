from __future__ import annotations

import pytest

from meter.config import Condition
from meter.delivery.filters import admits

A, B = frozenset({"a"}), frozenset({"b"})


@pytest.mark.parametrize(
    ("condition", "value", "admitted"),
    [
        (Condition(), None, True),
        (Condition(), "a", True),
        (Condition(one_of=A), "a", True),
        (Condition(one_of=A), "b", False),
        (Condition(one_of=A), None, False),
        (Condition(one_of=frozenset()), "a", False),
        (Condition(none_of=A), "a", False),
        (Condition(none_of=A), "b", True),
        (Condition(none_of=A), None, True),
        (Condition(one_of=A | B, none_of=B), "a", True),
        (Condition(one_of=A | B, none_of=B), "b", False),
        (Condition(exists=True), "", True),
        (Condition(exists=True), None, False),
        (Condition(exists=False), None, True),
        (Condition(exists=False), "a", False),
        (Condition(one_of=A), "A", False),
    ],
)
def test_a_condition_admits_what_it_says(
    condition: Condition, value: str | None, *, admitted: bool
) -> None:
    assert admits(condition, value) is admitted
