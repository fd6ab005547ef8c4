"""The reference in docs/plugins.md: the docstrings of what a plugin's author uses, and no copy."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from textwrap import dedent
from typing import Any

from meter import collectors, errors, hookspecs, sinks
from meter.sinks import Guarantee, Sink

RECORDS = (
    "Batch",
    "Report",
    "Later",
    "Total",
    "Written",
    "Elsewhere",
    "Comparison",
    "Discrepancy",
    "Standing",
    "Deliveries",
    "Position",
    "SinkContext",
    "SinkState",
    "StateWrite",
)


def all_guarantees() -> str:
    """Return a table of the guarantees, and what each means."""
    documented = _attributes(Guarantee)
    lines = ["| `guarantee` | printed as | |", "|---|---|---|"]
    lines += [
        f"| `Guarantee.{each.name}` | {each.value} | {_line(documented[each.name])} |"
        for each in Guarantee
    ]
    return "\n".join(lines) + "\n"


def all_cases(name: str) -> str:
    """Return a table of the cases of a conformance class."""
    kit = getattr(import_module("meter.testing"), name)
    lines = ["| case | |", "|---|---|"]
    lines += [
        f"| `{case}` | {_line(inspect.getdoc(getattr(kit, case)) or '')} |"
        for case in dir(kit)
        if case.startswith("test_")
    ]
    return "\n".join(lines) + "\n"


def all_hooks() -> str:
    """Return each hook with its signature and its docstring."""
    hooks = {name: each for name, each in vars(hookspecs).items() if name.startswith("meter_")}
    return "\n".join(f"### `{name}`\n\n{_described(hook)}" for name, hook in hooks.items())


def sink_reference() -> str:
    """Return the attributes and methods of Sink, and the records that it is given and makes."""
    parts = [_class(Sink)]
    parts += [_class(getattr(sinks, name)) for name in RECORDS]
    return "\n".join(parts)


def collector_reference() -> str:
    """Return the attributes and methods of Collector, and its context."""
    return "\n".join(_class(getattr(collectors, n)) for n in ("Collector", "CollectorContext"))


def all_errors() -> str:
    """Return the tree of errors, as their module draws it."""
    return f"{inspect.getdoc(errors)}\n"


def api_versions() -> str:
    """Return what may change when, and what happens to a plugin that misbehaves."""
    text = inspect.getdoc(hookspecs) or ""
    return re.sub(r"^# ", "### ", text[text.index("# The version") :], flags=re.MULTILINE) + "\n"


def _class(cls: type[Any]) -> str:
    lines = [f"### `{cls.__name__}`\n", f"{_prose(inspect.getdoc(cls) or '')}\n"]
    lines += [
        f"- `{name}`: {_line(text)}"
        for name, text in _attributes(cls).items()
        if issubclass(cls, Sink)
    ]
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member)
        if inspect.isfunction(function) and (not name.startswith("_")):
            lines.append(f"\n#### `{cls.__name__}.{name}`\n\n{_described(function)}")
    return "\n".join(lines) + "\n"


def _described(function: Any) -> str:
    """Return a function's signature, as it stands in the source, and its docstring."""
    node = ast.parse(dedent(inspect.getsource(function))).body[0]
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        raise TypeError(f"{function} is no function")
    returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    head = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    signature = f"{head} {node.name}({ast.unparse(node.args)}){returns}"
    return f"```python\n{signature}\n```\n\n{_prose(inspect.getdoc(function) or '')}\n"


def _prose(text: str) -> str:
    """Return a docstring as Markdown: what hooks say of themselves, and sections, become lists."""
    lines: list[str] = []
    section = False
    for line in text.splitlines():
        if title := re.fullmatch(r"(Args|Returns|Raises|Attributes):", line):
            section = True
            lines.append(f"{title[1]}:\n")
        elif said := re.fullmatch(r"(When|Returns|If it [^:]+): (.*)", line):
            lines.append(f"- **{said[1]}**: {said[2]}")
        elif section and re.match(r"    \S", line):
            lines.append(f"- {line.strip()}")
        else:
            lines.append(f"  {line.strip()}" if section and line.strip() else line)
    return "\n".join(lines)


def _attributes(cls: type[Any]) -> dict[str, str]:
    """Return the attributes of a class that have words below them in its source."""
    (node,) = ast.parse(dedent(inspect.getsource(cls))).body
    if not isinstance(node, ast.ClassDef):
        raise TypeError(f"{cls} is no class")
    found: dict[str, str] = {}
    for one, after in zip(node.body, node.body[1:], strict=False):
        target = one.targets[0] if isinstance(one, ast.Assign) else getattr(one, "target", None)
        if isinstance(target, ast.Name) and isinstance(after, ast.Expr):
            words = after.value
            if isinstance(words, ast.Constant) and isinstance(words.value, str):
                found[target.id] = inspect.cleandoc(words.value)
    return found


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
