"""What PyYAML's syntax errors mean, in words that say what to change.

Its two parsers word one problem differently, and quote what they found, which may be a
secret; so nothing quoted is passed on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from meter.config.document import Place

if TYPE_CHECKING:
    import yaml

__all__ = ["describe_yaml_error"]

# The first that occurs in the problem is used.
_MEANINGS: Final = (
    ("cannot start any token", "a text cannot begin with this character; quote it"),
    (
        "mapping values are not allowed",
        "a ':' where none can stand; check the indentation, and quote a text that holds ': '",
    ),
    ("could not find expected ':'", "a key without its ': ', or a text that lacks a quote"),
    (
        "expected ',' or '}'",
        "expected ',' or '}}' in the mapping that opens{opened}; quote a text that holds braces",
    ),
    (
        "expected ',' or ']'",
        "expected ',' or ']' in the list that opens{opened}; quote a text that holds brackets",
    ),
    ("unexpected end of stream", "the file ends inside of the quoted text that opens{opened}"),
    ("unexpected document separator", "a quoted text is still open here; it opens{opened}"),
    (
        "undefined alias",
        "an alias whose anchor is not defined before it; quote a text that begins with '*'",
    ),
    ("alphabetic or numeric", "an anchor or alias has no name; quote a text that begins so"),
    ("escape", "an unknown escape; write \\\\ for a backslash, or use single quotes"),
    ("tag", "a tag that YAML does not know; quote a text that begins with '!'"),
    ("sequence entries are not allowed", "a '- ' where none can stand; put it on its own line"),
    (
        "but found another document",
        "a second document begins here; a pipelines file is one document",
    ),
    ("expected '-' indicator", "expected another '- ' item; check the indentation"),
    ("did not find expected key", "expected a key; check the indentation and the quotes"),
    ("expected <block end>", "expected a key or an item; check the indentation and the quotes"),
    ("expected '<document start>'", "expected a key; check the indentation and the quotes"),
    ("expected <document start>", "expected a key; check the indentation and the quotes"),
)
_QUOTED: Final = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:''|[^'])*'|(?<!\S)#[^\n]*")
_TAB: Final = re.compile(r" *\t")
_TAB_WORDS: Final = "a tab in the indentation; YAML is indented with spaces"
_BRACE_WORDS: Final = (
    'quote a ${…} inside of {…} or […]: write {a: "${B}"}, since in {a: ${B}} the first } ends '
    "the mapping"
)


def describe_yaml_error(error: yaml.MarkedYAMLError, text: str) -> tuple[Place, str]:
    """Return where a syntax error stands, and what to do about it."""
    mark: Any = error.problem_mark or error.context_mark
    line = _line(text, mark.line)
    if tab := _TAB.match(line):
        return Place(mark.line + 1, tab.end()), _TAB_WORDS
    if "flow" in (error.context or "") and error.context_mark is not None:
        braces = _unquoted_braces(text, error.context_mark.index, mark)
        if braces:
            return braces, _BRACE_WORDS
    problem = f"{error.context or ''} {error.problem or ''}"
    opened = ""
    if error.context_mark is not None:
        opened = f" at {error.context_mark.line + 1}:{error.context_mark.column + 1}"
    place = Place(mark.line + 1, mark.column + 1)
    for part, meaning in _MEANINGS:
        if part in problem:
            return place, f"not YAML: {meaning.format(opened=opened)}"
    if "duplicate anchor" in problem:
        return place, f"not YAML: the anchor is defined twice, first{opened}"
    bare = re.sub(r"'(?!<)[^']{2,}'", "…", error.problem or "it cannot be read from here on")
    return place, f"not YAML: {bare}"


def _unquoted_braces(text: str, start: int, mark: Any) -> Place | None:
    """Find an unquoted `${` between the opening of a flow collection and the problem's line."""
    end = text.find("\n", mark.index)
    region = text[start : end if end >= 0 else len(text)]
    bare = _QUOTED.sub(lambda quoted: re.sub(r"[^\n]", " ", quoted[0]), region)
    found = bare.find("${")
    if found < 0:
        return None
    before = text[: start + found]
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if number < len(lines) else ""
