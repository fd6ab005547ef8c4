"""Every scalar stays the text that was written, and every syntax error says what to change."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meter.config.yaml_nodes import LOADER, parse

LOADERS = [LOADER, yaml.BaseLoader]
both = pytest.mark.parametrize("loader", LOADERS, ids=["libyaml", "python"])


def faults(text: str, loader: Any = LOADER) -> list[str]:
    return [str(fault) for fault in parse(text, "f", loader=loader).faults]


@both
@pytest.mark.parametrize(
    "written",
    """on off yes no NO y n True FALSE Null NULL None 1:30 1:30:00 007 0o7 0x1F 1_000 1e3 .inf .nan
    2026-01-01 2026-01-01T00:00:00Z 12345678901234567890 +1 = 1.0 0.10 <x @""".split(),  # noqa: SIM905  a list of forty quotes is harder to read
)
def test_what_yaml_1_1_would_change_stays_as_written(written: str, loader: Any) -> None:
    if written == "@":
        written = "a@b"
    document = parse(f"{written}: {written}\nlist: [{written}]\n", "f", loader=loader)

    assert document.faults == []
    assert document.root == {written: written, "list": [written]}


@both
def test_only_null_tilde_and_nothing_are_null(loader: Any) -> None:
    text = "a: null\nb: ~\nc:\nd: 'null'\ne: \"\"\nf: !!str null\ng: !!int 7\n"

    assert parse(text, "f", loader=loader).root == {
        "a": None, "b": None, "c": None, "d": "null", "e": "", "f": "null", "g": "7",
    }  # fmt: skip


@both
def test_an_alias_is_written_out(loader: Any) -> None:
    document = parse("a: &x {k: [v]}\nb: *x\n", "f", loader=loader)

    assert document.root == {"a": {"k": ["v"]}, "b": {"k": ["v"]}}


@both
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: {b: ${C}}\n", 'f:1:8: quote a ${…} inside of {…} or […]: write {a: "${B}"}'),
        ("a: {\n  b: 'x', # ${no}\n  c: ${D}\n}\n", "f:3:6: quote a ${…} inside of"),
        ("a: [${B}]\n", "f:1:5: quote a ${…} inside of"),
        ("a:\n\tb: 1\n", "f:2:1: a tab in the indentation; YAML is indented with spaces"),
        ("a:\n  \tb: 1\n  c: 2\n", "f:2:3: a tab in the indentation"),
        ("a: b: c\n", "f:1:5: not YAML: a ':' where none can stand; check the indentation"),
        ("a: [1\nb: 2\n", "f:2:2: not YAML: expected ',' or ']' in the list that opens at 1:4"),
        ("a: {b: c\n", "f:2:1: not YAML: expected ',' or '}' in the mapping that opens at 1:4"),
        ("a: 'x\n", "f:2:1: not YAML: the file ends inside of the quoted text that opens at 1:4"),
        ("a: *hidden\n", "f:1:4: not YAML: an alias whose anchor is not defined before it"),
        ("a: &x 1\nb: &x 2\n", "f:2:4: not YAML: the anchor is defined twice, first at 1:4"),
        ("a: @hidden\n", "f:1:4: not YAML: a text cannot begin with this character; quote it"),
        ("a: !hidden x\n", "f:1:4: a: YAML tags are not understood here; quote a text that"),
        ("a: !!python/object:os.system x\n", "f:1:4: a: YAML tags are not understood here"),
        ("a: !!binary aGlkZGVu\n", "f:1:4: a: YAML tags are not understood here"),
        ("a: !h!x y\n", "f:1:4: not YAML: a tag that YAML does not know; quote a text that"),
        ("a: x\n- b\n", "f:2:1: not YAML: expected a key"),
        ("- a\nb: x\n", "f:2:1: not YAML: expected"),
        ("a: - b\n", "f:1:4: not YAML: a '- ' where none can stand; put it on its own line"),
        ("a: 1\n---\nb: 1\n", "f:2:1: not YAML: a second document begins here; a pipelines file"),
        ("a: 1\na: 2\n", "f:2:1: a: the key stands here a second time; first at 1:1"),
        ("? [a]\n: 1\n", "f:1:3: a key must be text"),
        ("~: 1\n", "f:1:1: a key must be text, and this one is empty"),
        ("x: &x {a: 1}\ny:\n  <<: *x\n", "f:3:3: y.<<: merge keys are not supported"),
        ("a: &a [*a]\n", "f:1:4: a[0]: an alias stands inside of what it is an alias of"),
        ("a: " + "[" * 100 + "]" * 100 + "\n", "f:1:1: more than 64 levels of nesting"),
        ("a: " + "[" * 200_000 + "\n", "f:1:1: more than 64 levels of nesting"),
        ("a: x\ufeffy\n", "f:1:5: the character U+FEFF cannot stand in YAML"),
    ],
)  # fmt: skip
def test_what_is_not_yaml_is_told_in_words(text: str, expected: str, loader: Any) -> None:
    (found,) = faults(text, loader)

    assert found.startswith(expected)
    assert "hidden" not in found


def test_an_unknown_escape_says_what_to_write() -> None:
    (found,) = faults('a: "\\q"\n')

    assert found.endswith("an unknown escape; write \\\\ for a backslash, or use single quotes")


def test_aliases_that_multiply_are_stopped() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")

    (found,) = faults("\n".join(lines))
    assert found == "f:1:1: more than 100,000 values once its aliases are written out"


# The line and paragraph separators are line breaks to YAML, so within quotes they are folded.
KEPT = st.characters(
    exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff\u2028\u2029"
)


@given(st.text(KEPT))
def test_any_quoted_text_is_kept_exactly(text: str) -> None:
    document = parse(f"a: {json.dumps(text, ensure_ascii=False)}\n", "f")

    assert document.faults == []
    assert document.root == {"a": text}


@given(st.text(alphabet=st.sampled_from("ab:{}[]&*!-#|>'\"%@`?, \n\t~$\\") | st.characters()))
def test_any_text_is_parsed_or_a_fault_and_never_an_error(text: str) -> None:
    document = parse(text, "f")

    assert document.faults or isinstance(document.root, dict)
