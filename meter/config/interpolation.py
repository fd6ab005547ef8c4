"""Put environment variables into a file that is parsed already.

`${NAME}` is the variable's value. `${NAME:-default}` is the default when the variable is unset
or empty. `$${` is a literal `${`. Everything else stays as it is.

It happens after the parse and in values only, so what a variable holds can never become YAML,
a key, or another variable (reference/lessons.md, Configuration).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meter.config.document import Document, Value, leaves
from meter.config.faults import NodePath, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["Interpolated", "interpolate", "interpolate_text", "names_in", "required_names"]

_OPENING: Final = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)(?P<end>\}?)")
_BODY: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)
_UNSET: Final = "in the environment of this process"


@dataclass(frozen=True, slots=True)
class Interpolated:
    """What became of one text.

    Attributes:
        text: with every reference replaced; those with a fault are left as they were.
        put_in: the values that were put in, defaults too.
        faults: what is wrong, in words that hold no value.
    """

    text: str
    put_in: frozenset[str] = field(default=frozenset(), repr=False)
    faults: tuple[str, ...] = ()


def interpolate(document: Document, environ: Mapping[str, str]) -> None:
    """Replace every reference in the document's values; faults go to the document."""
    used = {name for _, text in leaves(document.root) for name, _ in _references(text)}
    document.root = _replace(document, document.root, (), environ, used)


def interpolate_text(
    text: str, environ: Mapping[str, str], *, used: Collection[str] = ()
) -> Interpolated:
    """Replace every reference in one text. Never raises.

    Args:
        text: as it stands in the file.
        environ: the variables.
        used: names that the file refers to; those are not suggested for a missing one.
    """
    put_in: set[str] = set()
    faults: list[str] = []

    def value(opening: re.Match[str]) -> str:
        if opening[0] == "$${":
            return "${"
        found, fault = _look_up(opening, environ, used)
        if fault:
            faults.append(fault)
            return opening[0]
        put_in.add(found)
        return found

    replaced = _OPENING.sub(value, text)
    return Interpolated(replaced, frozenset(put_in), tuple(dict.fromkeys(faults)))


def required_names(document: Document) -> frozenset[str]:
    """Return the variables that a parsed, not yet interpolated document needs: no default."""
    texts = (text for _, text in leaves(document.root))
    return frozenset(name for text in texts for name, default in _references(text) if not default)


def names_in(text: str) -> list[str]:
    """Return the variables that a text refers to, in order."""
    return [name for name, _ in _references(text)]


def _replace(
    document: Document,
    value: Value,
    path: NodePath,
    environ: Mapping[str, str],
    used: Collection[str],
) -> Value:
    if isinstance(value, dict):
        return {
            name: _replace(document, inner, (*path, name), environ, used)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [
            _replace(document, item, (*path, index), environ, used)
            for index, item in enumerate(value)
        ]
    if value is None or "${" not in value:
        return value
    result = interpolate_text(value, environ, used=used)
    for fault in result.faults:
        document.fault(path, fault + _beside(document, fault))
    if result.put_in:
        document.secrets[path] = result.put_in
    return result.text


def _beside(document: Document, fault: str) -> str:
    """Tell of a `.env` beside the file, which nobody reads unless it is asked to."""
    if _UNSET not in fault or not Path(document.file).with_name(".env").is_file():
        return ""
    return "; fill in .env, and read it: set -a; . ./.env; set +a"


def _look_up(
    opening: re.Match[str], environ: Mapping[str, str], used: Collection[str]
) -> tuple[str, str]:
    """Return the value of one reference and no fault, or the other way round."""
    if not opening["end"]:
        return "", "'${' without its '}'; write $${ for a literal ${"
    if "${" in opening["body"]:
        return "", "a ${…} cannot stand inside of another one"
    body = _BODY.fullmatch(opening["body"])
    if body is None:
        # What stands there is not shown: it may be a secret that happens to hold ${.
        return "", "expected ${NAME} or ${NAME:-default}; write $${ for a literal ${"
    name, default = body["name"], body["default"]
    found = environ.get(name)
    if found:
        return found, ""
    if default is not None:
        return default[2:], ""
    state = "is not set" if found is None else "is empty"
    fault = f"the environment variable {name} {state} {_UNSET}"
    others = [other for other, text in environ.items() if text and other not in used]
    if similar := nearest(name, others):
        fault += f"; did you mean {similar}, which is set?"
    if found is not None:
        fault += f"; write ${{{name}:-}} if empty is meant"
    return "", fault


def _references(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each well-formed reference of a text: its name, and whether it has a default."""
    for opening in _OPENING.finditer(text):
        body = _BODY.fullmatch(opening["body"] or "")
        if body is not None and opening["end"]:
            yield body["name"], body["default"] is not None
