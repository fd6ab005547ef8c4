"""Parse a pipelines file into text, lists and mappings, keeping the place of everything.

Only PyYAML's parser and composer are used. Its constructors are not, nor its YAML 1.1 rules
for plain scalars: those would turn `NO` into false, `1:30` into 90 and `007` into 7. Here
every scalar stays the text that was written; the schema decides what it means (DESIGN §9).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from meter.config.document import Document, Place, Spot, Value
from meter.config.yaml_faults import describe_yaml_error

if TYPE_CHECKING:
    from meter.config.faults import NodePath

__all__ = ["LOADER", "parse"]

LOADER: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""The base loader, since it resolves no plain scalar; libyaml's where PyYAML was built with it."""

MAX_NODES: Final = 100_000
"""Values in one file, aliases written out; a few lines of nested aliases make billions."""
MAX_DEPTH: Final = 64
"""Levels of nesting; libyaml's composer overruns the stack at some tens of thousands."""

_NULLS: Final = frozenset({"", "null", "~"})
_TAG: Final = "tag:yaml.org,2002:"
_STANDARD_TAGS: Final = frozenset(
    _TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map")
)
# YAML's own list of what may stand in a stream.
_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


class _TooMuchError(Exception):
    """The file is too large to go on with; the fault says why."""


def parse(text: str, file: str, *, loader: Any = LOADER) -> Document:
    """Parse one YAML document; what is wrong with it is in the document's `faults`.

    Args:
        text: the whole file.
        file: its name, for messages.
        loader: a PyYAML loader class; tests pass the pure Python one.
    """
    document = Document(file)
    if unprintable := _UNPRINTABLE.search(text):
        before = text[: unprintable.start()]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        document.fault(
            (),
            f"the character U+{ord(unprintable[0]):04X} cannot stand in YAML; remove it, or write "
            'it as an escape in double quotes, such as "\\x07"',
            at=place,
        )
        return document
    try:
        _check_depth(text, loader)
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        place, message = describe_yaml_error(error, text)
        document.fault((), message, at=place)
        return document
    except _TooMuchError as error:
        document.fault((), str(error))
        return document
    _build_root(document, node, text)
    return document


def _check_depth(text: str, loader: Any) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _TooMuchError(f"more than {MAX_DEPTH} levels of nesting")


def _build_root(document: Document, node: yaml.Node | None, text: str) -> None:
    if node is None or (isinstance(node, yaml.ScalarNode) and _is_null(node, text)):
        document.fault(
            (), "the file is empty; it needs collectors, sinks and pipelines", at=Place(1, 1)
        )
        return
    start = _place(node.start_mark)
    if not isinstance(node, yaml.MappingNode):
        document.fault((), "expected keys at the top, such as `collectors:`", at=start)
        return
    document.spots[()] = Spot(start, start)
    builder = _Builder(document, text)
    try:
        document.root = builder.build(node, ())
    except _TooMuchError as error:
        document.root = {}
        document.fault((), str(error))


class _Builder:
    """Turns nodes into values, once for each path (so an alias is written out)."""

    def __init__(self, document: Document, text: str) -> None:
        self.document = document
        self.text = text
        self.count = 0
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, path: NodePath) -> Value:
        self.count += 1
        if self.count > MAX_NODES or len(path) > MAX_DEPTH:
            raise _TooMuchError(f"more than {MAX_NODES:,} values once its aliases are written out")
        if node.tag not in _STANDARD_TAGS:
            # The tag itself is not shown: a password may begin with an exclamation mark.
            self.document.fault(
                path, "YAML tags are not understood here; quote a text that begins with '!'"
            )
            return None
        if isinstance(node, yaml.ScalarNode):
            return None if _is_null(node, self.text) else str(node.value)
        if any(node is outer for outer in self.open):
            self.document.fault(path, "an alias stands inside of what it is an alias of")
            return None
        self.open.append(node)
        value: Value
        if isinstance(node, yaml.SequenceNode):
            value = self._list(node, path)
        else:
            value = self._mapping(node, path)
        self.open.pop()
        return value

    def _list(self, node: yaml.SequenceNode, path: NodePath) -> Value:
        items: list[Value] = []
        for index, item in enumerate(node.value):
            place = _place(item.start_mark)
            self.document.spots[*path, index] = Spot(place, place)
            items.append(self.build(item, (*path, index)))
        return items

    def _mapping(self, node: yaml.Node, path: NodePath) -> Value:
        entries: dict[str, Value] = {}
        for key, item in node.value:
            place = _place(key.start_mark)
            name = self._name(key, path, place)
            if name is None:
                continue
            inner = (*path, name)
            if name in entries:
                first = self.document.spots[inner].key
                self.document.fault(
                    inner,
                    f"the key stands here a second time; first at {first.line}:{first.column}",
                    at=place,
                )
                continue
            # An empty value has no place of its own worth pointing at.
            empty = item.start_mark.index == item.end_mark.index
            self.document.spots[inner] = Spot(place, place if empty else _place(item.start_mark))
            entries[name] = None
            entries[name] = self.build(item, inner)
        return entries

    def _name(self, key: yaml.Node, path: NodePath, place: Place) -> str | None:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _STANDARD_TAGS:
            self.document.fault(path, "a key must be text", at=place)
        elif _is_null(key, self.text):
            self.document.fault(path, "a key must be text, and this one is empty", at=place)
        elif key.value == "<<" and not key.style:
            self.document.fault(
                (*path, "<<"),
                "merge keys are not supported; write the keys out, or use an alias for a whole "
                "value: `key: *name`",
                at=place,
            )
        else:
            return str(key.value)
        return None


def _is_null(node: yaml.ScalarNode, text: str) -> bool:
    if node.style or node.value not in _NULLS:
        return False
    return "!" not in text[node.start_mark.index : node.end_mark.index]  # !!str null is text


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)
