"""Variables go into values only, once, and can never become YAML."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.config import Config, ConfigFaults
from meter.config.interpolation import interpolate_text

Load = Callable[..., Config]

FILE = """\
collectors: {live: {type: streaming}}
sinks: {rows: {type: ledger, path: usage.db, table: VALUE}}
pipelines: {usage: {from: live, to: rows}}
"""


def table(load: Load, written: str, environ: dict[str, str] | None = None) -> str:
    text = load(FILE.replace("VALUE", written), environ).sinks["rows"].options.table
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("${A}", "one"),
        ("x-${A}-${B_2}", "x-one-two"),
        ("${A}${A}", "oneone"),
        ("${NOT:-default}", "default"),
        ("${NOT:-}", ""),
        ("${EMPTY:-default}", "default"),
        ("${A:-default}", "one"),
        ("${NOT:-a:-b}", "a:-b"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ {A} $(A) $", "$A $ {A} $(A) $"),
        ("${A}}", "one}"),
        ("${NESTED}", "${A} $${A}"),
    ],
)
def test_references_are_replaced(load: Load, written: str, text: str) -> None:
    environ = {"A": "one", "B_2": "two", "EMPTY": "", "NESTED": "${A} $${A}"}

    assert table(load, f"'{written}'", environ) == text


@pytest.mark.parametrize(
    "text", ["a: b", "[1, 2]", "x # y", "*alias", "line\nbreak", "null", "\\n"]
)
def test_what_a_variable_holds_is_never_yaml(load: Load, text: str) -> None:
    assert table(load, '"${A}"', {"A": text}) == text


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("${A", "'${' without its '}'; write $${ for a literal ${"),
        ("${}", "expected ${NAME} or ${NAME:-default}; write $${ for a literal ${"),
        ("${1A}", "expected ${NAME} or ${NAME:-default}; write $${ for a literal ${"),
        ("${A-b}", "expected ${NAME} or ${NAME:-default}; write $${ for a literal ${"),
        ("${A:-${B}}", "a ${…} cannot stand inside of another one"),
        ("${GONE}", "the environment variable GONE is not set in the environment of this process"),
        (
            "${EMPTY}",
            (
                "the environment variable EMPTY is empty in the environment of this process; "
                "write ${EMPTY:-} if empty is meant"
            ),
        ),
        (
            "${METER_SECRETS}",
            (
                "the environment variable METER_SECRETS is not set in the environment of this "
                "process; did you mean METER_SECRET, which is set?"
            ),
        ),
    ],
)
def test_a_reference_that_cannot_be_replaced_is_a_fault(
    load: Load, written: str, message: str
) -> None:
    with pytest.raises(ConfigFaults) as caught:
        table(load, f"'{written}'", {"A": "one", "EMPTY": "", "METER_SECRET": "hidden"})

    assert str(caught.value) == f"pipelines.yaml:2:53: sinks.rows.table: {message}"


def test_a_name_that_the_file_uses_already_is_not_suggested(load: Load) -> None:
    text = FILE.replace("VALUE", "'${METER_SECRET} ${METER_SECRETS}'")
    with pytest.raises(ConfigFaults) as caught:
        load(text, {"METER_SECRET": "hidden"})

    assert "did you mean" not in str(caught.value)


def test_keys_are_not_interpolated(load: Load) -> None:
    with pytest.raises(ConfigFaults, match=r'sinks."\$\{A\}": a name is a letter'):
        load(FILE.replace("VALUE", "x").replace("rows:", "${A}:").replace("{${A}", '{"${A}"'))


def test_a_name_from_the_environment_is_not_shown(load: Load) -> None:
    text = (
        FILE.replace("VALUE", "x").replace("ledger", '"${X}"').replace("from: live", 'from: "${X}"')
    )
    with pytest.raises(ConfigFaults) as caught:
        load(text, {"X": "ledgr-secret"})

    assert "secret" not in str(caught.value)
    assert "sinks.rows.type: no such sink type; expected one of billing, ledger" in str(
        caught.value
    )
    assert "pipelines.usage.from: no such collector; known: live" in str(caught.value)


@given(st.text(alphabet=st.sampled_from("${}:-AB_1 \\") | st.characters()))
def test_any_text_is_replaced_or_a_fault_and_never_an_error(text: str) -> None:
    result = interpolate_text(text, {"A": "${B}", "B": ""})

    if "${" not in text:
        assert (result.text, result.faults, result.put_in) == (text, (), frozenset())
    hidden = interpolate_text(text, {"A": "hidden", "B": "hidden"})
    assert "hidden" not in "".join(hidden.faults)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_value_is_put_in_exactly(value: str) -> None:
    expected = f"<{value or 'd'}>"

    assert interpolate_text("<${A:-d}>", {"A": value}).text == expected
