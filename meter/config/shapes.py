"""Which type of an options model each value of the file is meant for.

pydantic says what is wrong with a value, but not what its neighbours are called, nor the whole
of what was expected. The annotations do, so they are walked beside the values.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from meter.config.document import Value
    from meter.config.faults import NodePath

__all__ = ["Shape", "key_of", "keys_of", "shapes_of"]

_WORDS: Final[tuple[tuple[type, str], ...]] = (
    # In this order, since bool is an int and datetime a date.
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (Decimal, "a number"),
    (SecretStr, "text"),
    (str, "text"),
    (timedelta, "a duration such as 30s, 15m, 1h30m or 2d"),
    (datetime, "a time such as 2026-01-31T08:00:00Z"),
    (date, "a date such as 2026-01-31"),
    (Path, "a path"),
    (BaseModel, "a mapping"),
    (Mapping, "a mapping"),
    (Collection, "a list"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """One type that a value may have.

    Attributes:
        annotation: the bare type, such as `int` or a model class.
        metadata: what `Annotated` and `Field` add to it: bounds and validators.
    """

    annotation: Any
    metadata: tuple[Any, ...] = ()

    def words(self) -> str:
        """Return what is expected, in words: `a whole number from 0 to 65535`."""
        if get_origin(self.annotation) is Literal:
            return f"one of {_listed(get_args(self.annotation))}"
        kind = get_origin(self.annotation) or self.annotation
        if not isinstance(kind, type):
            return "a value"
        if issubclass(kind, Enum):
            return f"one of {_listed(member.value for member in kind)}"
        for known, words in _WORDS:
            if issubclass(kind, known):
                return words + self._bounds(kind)
        return "a value"

    def is_number(self) -> bool:
        """Tell whether this is a number, for which `words` gives the range."""
        kind = self.annotation
        return isinstance(kind, type) and issubclass(kind, (int, float, Decimal))

    def _bounds(self, kind: type) -> str:
        if not self.is_number() or kind is bool:
            return ""
        bound: dict[str, Any] = {}
        for item in self.metadata:
            for name in ("ge", "gt", "le", "lt"):
                if (limit := getattr(item, name, None)) is not None:
                    bound[name] = limit
        if "ge" in bound and "le" in bound:
            return f" from {bound['ge']} to {bound['le']}"
        words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
        parts = [f"{words[name]} {limit}" for name, limit in bound.items()]
        return f", {' and '.join(parts)}" if parts else ""


def shapes_of(model: type[BaseModel], value: Value) -> dict[NodePath, list[Shape]]:
    """Return, by path within `value`, every type that may be meant there.

    Several, where the model has a union; none, below a type that is not walked.
    """
    found: dict[NodePath, list[Shape]] = {}
    for path, shape in _walk(model, (), value, ()):
        found.setdefault(path, []).append(shape)
    return found


def key_of(name: str, field: FieldInfo) -> str:
    """Return the key under which a field stands in the file."""
    alias = field.validation_alias or field.alias
    return alias if isinstance(alias, str) else name


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by the keys that stand in the file."""
    return {key_of(name, field): field for name, field in model.model_fields.items()}


def _walk(
    annotation: Any, metadata: tuple[Any, ...], value: Value, path: NodePath
) -> Iterator[tuple[NodePath, Shape]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _walk(arguments[0], (*metadata, *arguments[1:]), value, path)
        return
    if origin in (Union, types.UnionType):
        for argument in arguments:
            if argument is not type(None):
                yield from _walk(argument, metadata, value, path)
        return
    yield path, Shape(annotation, metadata)
    for step, inner, given in _inside(annotation, value):
        yield from _walk(*given, inner, (*path, step))


def _inside(
    annotation: Any, value: Value
) -> Iterator[tuple[str | int, Value, tuple[Any, tuple[Any, ...]]]]:
    """Yield what a value holds: its key or index, itself, and its annotation and metadata."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(value, dict):
        if _is_a(annotation, BaseModel):
            for key, field in keys_of(annotation).items():
                if key in value:
                    yield key, value[key], (field.annotation, tuple(field.metadata))
        elif _is_a(origin, Mapping) and len(arguments) == 2:  # noqa: PLR2004  because a mapping has a key and a value type
            for key, inner in value.items():
                yield key, inner, (arguments[1], ())
    elif isinstance(value, list) and _is_a(origin, Collection) and arguments:
        for index, item in enumerate(value):
            yield index, item, (arguments[0], ())


def _is_a(annotation: Any, kind: type) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, kind)


def _listed(values: Any) -> str:
    return ", ".join(repr(value) for value in values)
