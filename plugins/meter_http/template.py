"""JSON from a template: texts with placeholders in them, in mappings and lists. No code runs.

A text that is one placeholder keeps the placeholder's JSON type. What an event lacks leaves its
key out, or its place in a list; within a longer text it is empty. `{{` and `}}` are braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter_http.placeholders import MISSING, BadPlaceholder, Slot, read_slot

if TYPE_CHECKING:
    from meter_http.placeholders import Facts

__all__ = ["Envelope", "Template"]

_PIECE: Final = re.compile(r"(?P<braces>\{\{|\}\})|\{(?P<inside>[^{}]*)\}")
_EVENTS: Final = "{events}"
_EVENT: Final = "{event}"
_MARK: Final = "\x00meter\x00"
"""Stands for the events while the envelope is encoded; no YAML file can hold it plainly."""


class Template:
    """One event's JSON."""

    def __init__(self, source: Any) -> None:
        """Read a template as it stands in the file: mappings, lists, texts and nulls.

        Raises:
            BadPlaceholder: the text names the place within the template.
        """
        self._root = _read(source, "")

    @property
    def names(self) -> frozenset[str]:
        """The placeholders that it uses, by name."""
        return frozenset(slot.name for slot in _slots(self._root))

    def fill(self, facts: Facts) -> bytes:
        """Return the JSON of one event.

        Raises:
            NeverBilled: it asks for the billed quantity of an event that has none.
        """
        return msgspec.json.encode(_filled(self._root, facts))


class Envelope:
    """What stands around the events of one request.

    Attributes:
        single: it has room for one event only.
    """

    def __init__(self, source: Any) -> None:
        """Read the template of a whole body, with `{events}` or `{event}` in one place.

        Raises:
            BadPlaceholder: neither stands there, or more than one, or another placeholder.
        """
        marks: list[str] = []
        encoded = msgspec.json.encode(_around(source, "", marks))
        if len(marks) != 1:
            raise BadPlaceholder("one place for the events: `events` in braces for the list")
        self.single = marks == [_EVENT]
        self._before, self._after = encoded.split(msgspec.json.encode(_MARK))

    def around(self, items: list[bytes]) -> bytes:
        """Return the body of a request with these events."""
        inner = items[0] if self.single else b"[%s]" % b",".join(items)
        return self._before + inner + self._after

    def size(self, sizes: int, count: int) -> int:
        """Return how many bytes `around` returns for so many events of so many bytes in all."""
        fixed = len(self._before) + len(self._after)
        return fixed + sizes + (0 if self.single else count + 1)


@dataclass(frozen=True, slots=True)
class _Text:
    """A text with placeholders in it."""

    parts: tuple[str | Slot, ...]


def _read(source: Any, place: str) -> Any:
    if isinstance(source, dict):
        return {
            key: _read(inner, f"{place}.{key}" if place else key) for key, inner in source.items()
        }
    if isinstance(source, list):
        return [_read(inner, f"{place}[{index}]") for index, inner in enumerate(source)]
    if not isinstance(source, str):
        return source
    parts = tuple(_parts(source, place))
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        if isinstance(part, Slot) and not part.may_stand_in_text:
            raise BadPlaceholder(f"{_at(place)}{part.name} must stand alone: it is no text")
    return _Text(parts) if parts else ""


def _parts(source: str, place: str) -> Iterator[str | Slot]:
    """Split a text into plain pieces and placeholders."""
    plain, end = "", 0
    for found in _PIECE.finditer(source):
        plain += _plain(source[end : found.start()], place)
        end = found.end()
        if found["braces"]:
            plain += found["braces"][0]
            continue
        if plain:
            yield plain
            plain = ""
        try:
            yield read_slot(found["inside"])
        except BadPlaceholder as error:
            raise BadPlaceholder(f"{_at(place)}{error}") from None
    plain += _plain(source[end:], place)
    if plain:
        yield plain


def _plain(text: str, place: str) -> str:
    if "{" in text or "}" in text:
        raise BadPlaceholder(f"{_at(place)}a brace without its other half; double it to keep it")
    return text


def _at(place: str) -> str:
    return f"at {place}: " if place else ""


def _slots(node: Any) -> Iterator[Slot]:
    if isinstance(node, Slot):
        yield node
    elif isinstance(node, _Text):
        yield from (part for part in node.parts if isinstance(part, Slot))
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _slots(inner)


def _filled(node: Any, facts: Facts) -> Any:
    if isinstance(node, Slot):
        return node.value(facts)
    if isinstance(node, _Text):
        return "".join(p if isinstance(p, str) else p.text(facts) for p in node.parts)
    if isinstance(node, dict):
        filled = {key: _filled(inner, facts) for key, inner in node.items()}
        return {key: value for key, value in filled.items() if value is not MISSING}
    if isinstance(node, list):
        items = (_filled(inner, facts) for inner in node)
        return [value for value in items if value is not MISSING]
    return node


def _around(source: Any, place: str, marks: list[str]) -> Any:
    if isinstance(source, dict):
        return {key: _around(inner, f"{place}.{key}", marks) for key, inner in source.items()}
    if isinstance(source, list):
        return [_around(inner, place, marks) for inner in source]
    if source in (_EVENTS, _EVENT):
        marks.append(source)
        return _MARK
    node = _read(source, place.removeprefix("."))
    if isinstance(node, Slot) and node.name == "json":
        return msgspec.Raw(node.form.encode())
    if isinstance(node, str) or node is None:
        return node
    raise BadPlaceholder(f"{_at(place.removeprefix('.'))}what an event has stands in `event:`")
