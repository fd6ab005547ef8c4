"""Make an options model from what stands in the file, or say everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from meter.config.faults import NodePath, did_you_mean, nearest
from meter.config.shapes import Shape, keys_of, shapes_of
from meter.config.wording import closest, expectation, found_instead, masked, message_of

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from meter.config.document import Document, Value
    from meter.sinks import Home

__all__ = ["validated"]

M = TypeVar("M", bound=BaseModel)

_KEY: Final = "[key]"


def validated(
    document: Document,
    model: type[M],
    given: Mapping[str, Any],
    path: NodePath,
    home: Home,
    *,
    own_keys: Sequence[str] = (),
    blame: str = "",
) -> M | None:
    """Return an instance of the model; None when there are faults, which go to the document.

    Args:
        document: the file.
        model: the options model.
        given: keys and values, without those that meter reads itself.
        path: where they stand in the file.
        home: where relative paths start.
        own_keys: the keys that meter reads itself, to be suggested as well.
        blame: the plugin that the model comes from, for when the model itself breaks; empty for
            meter's own.
    """
    value: Any = dict(given)
    shapes = shapes_of(model, value)
    _check_booleans(document, shapes, value, path)
    errors: list[ErrorDetails] = []
    try:
        instance = model.model_validate(value, context={"home": home})
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    except Exception as error:
        if not blame:
            raise
        # Only the type: the text may quote what it was given.
        broken = f"{blame}: its options raised {type(error).__name__}"
        document.fault(path, f"{broken}; update or uninstall the plugin", key=True, plugin=True)
        return None
    if errors:
        _Report(document, shapes, value, path, tuple(own_keys)).add(errors)
        return None
    return None if document.has_fault_within(path) else instance


def _check_booleans(
    document: Document, shapes: dict[NodePath, list[Shape]], value: Value, path: NodePath
) -> None:
    """Refuse `on`, `yes` and `1`, which pydantic takes for true; the file has one way to say it."""
    for inside, candidates in shapes.items():
        if any(shape.annotation is not bool for shape in candidates):
            continue
        text = _at(value, inside)
        whole = (*path, *inside)
        if (
            isinstance(text, str)
            and text.casefold() not in ("true", "false")
            and whole not in document.spoiled
        ):
            document.fault(whole, "expected true or false")


def _steps(value: Any) -> Container[str | int]:
    """Return what leads further into a value: its keys or indices."""
    if isinstance(value, list):
        return range(len(value))
    return value if isinstance(value, dict) else ()


def _at(value: Value, path: NodePath) -> Any:
    here: Any = value
    for step in path:
        here = here[step]
    return here


@dataclass(slots=True)
class _Located:
    """A pydantic error, and where in the file it is."""

    error: ErrorDetails
    inside: NodePath
    union: NodePath | None = None
    branch: str = ""


@dataclass(slots=True)
class _Report:
    """Turns the errors of one entry into faults."""

    document: Document
    shapes: dict[NodePath, list[Shape]]
    value: Value
    path: NodePath
    own_keys: tuple[str, ...]
    meant: set[NodePath] = field(default_factory=set)

    def add(self, errors: list[ErrorDetails]) -> None:
        located = [self._locate(error) for error in errors]
        unions = {item.union: None for item in located if item.union is not None}
        chosen = [item for item in located if item.union is None]
        for union in unions:
            chosen += self._branch(union, [item for item in located if item.union == union])
        # Unknown keys first: a key that is only misspelt is not reported as missing too.
        for item in chosen:
            if item.error["type"] == "extra_forbidden":
                self._unknown_key(item)
        for item in chosen:
            if item.error["type"] == "missing":
                self._missing_key(item)
            elif item.error["type"] != "extra_forbidden":
                self._wrong_value(item)

    def _locate(self, error: ErrorDetails) -> _Located:
        """Follow an error's `loc` through the values; what does not fit names a union's branch."""
        here: Any = self.value
        inside: list[str | int] = []
        union: NodePath | None = None
        branch = ""
        for index, step in enumerate(error["loc"]):
            if step in _steps(here):
                inside.append(step)
                here = here[step]
            elif error["type"] == "missing" and index == len(error["loc"]) - 1:
                inside.append(step)
            elif union is None and step != _KEY:
                union, branch = tuple(inside), str(step)
        return _Located(error, tuple(inside), union, branch)

    def _branch(self, union: NodePath, items: list[_Located]) -> list[_Located]:
        """Choose what to say when no branch of a union fits: the one that came closest."""
        branches: dict[str, list[_Located]] = {}
        for item in items:
            branches.setdefault(item.branch, []).append(item)
        deeper = [tried for tried in branches.values() if any(i.inside != union for i in tried)]
        if deeper:
            return min(deeper, key=len)
        if len(branches) > 1 and not self._skipped(union):
            texts = [self._expected(item) or message_of(item.error) for item in items]
            message = f"expected {', or '.join(dict.fromkeys(texts))}"
            self._fault(union, message + found_instead(_at(self.value, union)))
            return []
        return items

    def _unknown_key(self, item: _Located) -> None:
        parent, name = item.inside[:-1], str(item.inside[-1])
        known: set[str] = set() if parent else set(self.own_keys)
        for shape in self.shapes.get(parent, []):
            if isinstance(shape.annotation, type) and issubclass(shape.annotation, BaseModel):
                known |= keys_of(shape.annotation).keys()
        if close := nearest(name, known):
            self.meant.add((*parent, close))
        whole = (*self.path, *item.inside)
        if whole not in self.document.spoiled:
            self.document.fault(whole, f"unknown key{did_you_mean(name, known)}", key=True)

    def _missing_key(self, item: _Located) -> None:
        if item.inside in self.meant:
            return
        expected = "a value"
        parent, name = item.inside[:-1], item.inside[-1]
        for shape in self.shapes.get(parent, []):
            if isinstance(shape.annotation, type) and issubclass(shape.annotation, BaseModel):
                info = keys_of(shape.annotation).get(str(name))
                if info is not None:
                    expected = Shape(info.annotation, tuple(info.metadata)).words()
                    if info.description:
                        expected += f" ({info.description.rstrip('.')})"
        self.document.fault((*self.path, *item.inside), f"missing; expected {expected}", key=True)

    def _wrong_value(self, item: _Located) -> None:
        if self._skipped(item.inside):
            return
        found = _at(self.value, item.inside)
        is_key = item.error["loc"][-1:] == (_KEY,)
        expected = self._expected(item)
        if expected is None:
            self._fault(item.inside, message_of(item.error), key=is_key)
            return
        message = f"{'the key: ' if is_key else ''}expected {expected}"
        if item.error["type"].endswith("_type") and not is_key:
            message += found_instead(found)
        message += closest(item.error, found)
        if item.error["type"] in ("value_error", "assertion_error"):
            self._fault(item.inside, message, key=is_key)
        else:
            self.document.fault((*self.path, *item.inside), message, key=is_key)

    def _expected(self, item: _Located) -> str | None:
        return expectation(item.error, self.shapes.get(item.inside, []))

    def _skipped(self, inside: NodePath) -> bool:
        return self.document.has_fault_within((*self.path, *inside))

    def _fault(self, inside: NodePath, message: str, *, key: bool = False) -> None:
        """Add a fault whose words are a validator's own, so nothing is known of them."""
        whole = (*self.path, *inside)
        texts = self.document.unprintable(_at(self.value, inside))
        for path, candidates in self.shapes.items():
            if any(shape.annotation is SecretStr for shape in candidates):
                texts |= self.document.unprintable(_at(self.value, path))
        self.document.fault(whole, masked(message, texts), key=key)
