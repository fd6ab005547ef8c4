"""Judges an alert's expression on two scrapes: the few forms that meter's rules have."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from server.exposition import Sample, Scrape
from server.promql import selectors

_COMPARED = re.compile(r"^(?P<left>.+?) (?P<op>==|!=|>|<) (?P<right>[\d.]+)$")
_TWO = re.compile(r"^(?P<left>\w+) > (?P<times>\d+) \* (?P<right>\w+)$")
_INCREASE = re.compile(r"^increase\((?P<of>.+)\[\w+\]\)$")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def firing(expression: str, before: Scrape, now: Scrape) -> list[dict[str, str]]:
    """Return the labels of the series for which an expression holds."""
    if " or " in expression:
        return [one for part in expression.split(" or ") for one in firing(part, before, now)]
    if two := _TWO.match(expression):
        others = {str(s.labels): s.value for s in now.named(two["right"])}
        return [
            dict(s.labels)
            for s in now.named(two["left"])
            if s.value > int(two["times"]) * others[str(s.labels)]
        ]
    compared = _COMPARED.match(expression)
    assert compared, f"no form that this knows: {expression}"
    holds, bound = _OPERATORS[compared["op"]], float(compared["right"])
    if increase := _INCREASE.match(compared["left"]):
        earlier = {str(s.labels): s.value for s in _series(increase["of"], before)}
        return [
            dict(s.labels)
            for s in _series(increase["of"], now)
            if holds(s.value - earlier[str(s.labels)], bound)
        ]
    return [dict(s.labels) for s in _series(compared["left"], now) if holds(s.value, bound)]


def _series(selector: str, page: Scrape) -> list[Sample]:
    (one,), _ = selectors(selector)
    assert all(matching == "=" for _, matching, _ in one.matchers)
    found = list(page.named(one.metric, **{label: value for label, _, value in one.matchers}))
    assert found, f"no such series: {selector}"
    return found
