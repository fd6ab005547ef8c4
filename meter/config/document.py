"""A pipelines file in memory: its values as text, the place of each, and what is wrong so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from meter.config.faults import Fault, NodePath, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Document", "Place", "Spot", "Value", "leaves"]

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"
"""A value as it was written: every scalar is text, except null."""


class Place(NamedTuple):
    """A position in the file, in lines and characters, both from 1."""

    line: int
    column: int


class Spot(NamedTuple):
    """Where an entry stands. For an item of a list, `key` is where the item begins."""

    key: Place
    value: Place


@dataclass(slots=True)
class Document:
    """One file while it is being read; faults collect here until all are known.

    Attributes:
        file: as the user named it.
        root: the whole file; `{}` until it is parsed.
        spots: the place of everything, by path.
        faults: what is wrong so far.
        spoiled: paths that have a fault already, so that a consequence is not reported too.
        secrets: by path, the texts that interpolation put in; they are never printed.
    """

    file: str
    root: Value = field(default_factory=dict)
    spots: dict[NodePath, Spot] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    spoiled: set[NodePath] = field(default_factory=set)
    secrets: dict[NodePath, frozenset[str]] = field(default_factory=dict, repr=False)

    def place(self, path: NodePath, *, key: bool = False) -> Place:
        """Return where a path stands, or the nearest thing around it that is written down."""
        for length in range(len(path), -1, -1):
            spot = self.spots.get(path[:length])
            if spot is not None:
                return spot.key if key or length < len(path) else spot.value
        return Place(1, 1)

    def fault(
        self,
        path: NodePath,
        message: str,
        *,
        key: bool = False,
        at: Place | None = None,
        plugin: bool = False,
    ) -> None:
        """Add a fault at a value, at its key (`key=True`), or at a place of its own."""
        while path and isinstance(path[-1], int) and path not in self.spots:
            path = path[:-1]  # one name that stands for a list of one
        place = at or self.place(path, key=key)
        self.faults.append(Fault(self.file, *place, shown(path), message, plugin))
        self.spoiled.add(path)

    def where(self, path: NodePath, *, key: bool = False) -> str:
        """Return `file:line:column: path` for a message that is not a fault."""
        line, column = self.place(path, key=key)
        return f"{self.file}:{line}:{column}: {shown(path)}"

    def has_fault_within(self, path: NodePath) -> bool:
        """Tell whether something at this path or below it has a fault already."""
        return any(spoiled[: len(path)] == path for spoiled in self.spoiled)

    def from_environment(self, path: NodePath) -> bool:
        """Tell whether interpolation put something into the value at this path."""
        return path in self.secrets

    def unprintable(self, value: Value) -> set[str]:
        """Return every text of a value, and all that interpolation put in anywhere."""
        return {text for _, text in leaves(value)}.union(*self.secrets.values())


def leaves(value: Value, path: NodePath = ()) -> Iterator[tuple[NodePath, str]]:
    """Yield every text in a value with its path; not the keys."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
