"""`where:` is read into conditions, or says what a condition can be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meter.config import Condition, Config, ConfigFaults

Load = Callable[..., Config]

FILE = """\
collectors: {live: {type: streaming}}
sinks: {rows: {type: ledger, path: usage.db}}
pipelines: {usage: {from: live, to: rows, where: WHERE}}
"""


def some(*texts: str) -> frozenset[str]:
    return frozenset(texts)


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("{model: best}", Condition(one_of=some("best"))),
        ("{model: 007}", Condition(one_of=some("007"))),
        ("{model: NO}", Condition(one_of=some("NO"))),
        ("{model: [a, b]}", Condition(one_of=some("a", "b"))),
        ("{model: {equals: a}}", Condition(one_of=some("a"))),
        ("{model: {in: [a, b]}}", Condition(one_of=some("a", "b"))),
        ("{model: {in: a}}", Condition(one_of=some("a"))),
        ("{model: {in: [a, b], equals: b}}", Condition(one_of=some("b"))),
        ("{model: {in: [a], equals: b}}", Condition(one_of=some())),
        ("{model: {not_in: [a, b], not: c}}", Condition(none_of=some("a", "b", "c"))),
        ("{model: {not_in: [a], exists: true}}", Condition(none_of=some("a"), exists=True)),
        ("{model: {exists: false}}", Condition(exists=False)),
        ('{model: "${MODEL}"}', Condition(one_of=some("from the environment"))),
        ('{model: ""}', Condition(one_of=some(""))),
    ],
)
def test_a_condition_is_normalised(load: Load, written: str, condition: Condition) -> None:
    config = load(FILE.replace("WHERE", written), {"MODEL": "from the environment"})

    assert config.pipelines["usage"].where == {"model": condition}


def test_every_field_can_be_asked_about(load: Load) -> None:
    fields = ["customer_id", "provider_id", "collector", "kind", "model", "language", "provider"]
    written = ", ".join(f"{name}: async_completed" for name in [*fields, "dimensions.a.b"])

    where = load(FILE.replace("WHERE", f"{{{written}}}")).pipelines["usage"].where
    assert list(where) == [*fields, "dimensions.a.b"]


def test_where_with_nothing_asks_nothing(load: Load) -> None:
    assert load(FILE.replace("WHERE", "")).pipelines["usage"].where == {}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[a]", "usage.where: expected a mapping of fields to conditions"),
        ("{custmer_id: a}", "where.custmer_id: no such field of an event; did you mean 'customer_"),
        ("{dimensions.: a}", "no such field of an event"),
        ("{zzz: a}", "no such field of an event; known: collector, customer_id"),
        ("{model: }", "where.model: expected a text or a list of texts; for a field that is not"),
        ("{model: []}", "where.model: expected at least one text"),
        ("{model: {}}", "where.model: expected one of equals, not, in, not_in, exists"),
        ("{model: {in: []}}", "where.model.in: expected at least one text"),
        ("{model: [a, [b]]}", "where.model[1]: expected a text"),
        ("{model: {equals: [a]}}", "where.model.equals: expected a text"),
        ("{model: {nin: [a]}}", "where.model.nin: unknown condition; did you mean 'in'?"),
        ("{model: {exists: yes}}", "where.model.exists: expected true or false"),
        ("{kind: async_complete}", "no kind of event 'async_complete'; did you mean 'async_compl"),
        ('{kind: "${MODEL}"}', "where.kind: no such kind of event; known: async_completed"),
        ('{model: {exists: "${GONE}"}}', "where.model.exists: the environment variable GONE is"),
    ],
)
def test_what_is_no_condition_is_a_fault(load: Load, written: str, message: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load(FILE.replace("WHERE", written), {"MODEL": "hidden"})

    assert len(caught.value.faults) == 1
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)
