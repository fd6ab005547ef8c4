"""Reads PromQL well enough to know which metrics and labels an expression names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_STRING = r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'"
_TOKEN = re.compile(rf"{_STRING}|\[[^\]]*\]|[A-Za-z_:][\w:]*|\d[\w.]*|[{{}}()]|=~|!~|!=|==|=|\S")
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@dataclass
class Selector:
    """One metric that is named, with what its labels must be: (label, operator, value)."""

    metric: str
    matchers: list[tuple[str, str, str]] = field(default_factory=list)


def selectors(expression: str) -> tuple[list[Selector], set[str]]:
    """Return the metrics that an expression names, and the labels that it groups by."""
    tokens = [match.group(0) for match in _TOKEN.finditer(expression) if match.group(0)[0] != "["]
    found: list[Selector] = []
    grouped: set[str] = set()
    at = 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        if token in _GROUPING and following == "(":
            end = tokens.index(")", at)
            grouped |= {name for name in tokens[at + 2 : end] if name != ","}
            at = end
        elif token == "{":
            end = tokens.index("}", at)
            inside = [part for part in tokens[at + 1 : end] if part != ","]
            for label, operator, value in zip(*[iter(inside)] * 3, strict=True):
                found[-1].matchers.append((label, operator, value[1:-1]))
            at = end
        elif (
            re.match(r"[A-Za-z_:]", token)
            and token not in _WORDS | _GROUPING
            and following not in {"(", "by", "without"}
        ):
            found.append(Selector(token))
        at += 1
    return found, grouped
