"""`where:` in a pipeline: which events it takes. Read here, evaluated in delivery.

A mapping from a field to a condition; every field must hold, and within one condition every
key. A condition is a text (equals), a list (one of), or a mapping of `equals`, `not`, `in`,
`not_in` and `exists`. A field that an event does not have fails `in` and `equals`, passes
`not_in` and `not`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meter.config.faults import NodePath, did_you_mean
from meter.events import KINDS

if TYPE_CHECKING:
    from meter.config.document import Document, Value

__all__ = ["FIELDS", "OPERATORS", "Condition", "read_conditions"]

FIELDS: Final = (
    "customer_id", "provider_id", "collector", "kind", "model", "language", "provider",
)  # fmt: skip
"""What a condition can ask about, besides `dimensions.<name>`."""
DIMENSIONS: Final = "dimensions."
OPERATORS: Final = ("equals", "not", "in", "not_in", "exists")


@dataclass(frozen=True, slots=True)
class Condition:
    """What one field of an event must be. Every part that is given must hold.

    Attributes:
        one_of: the field is there and is one of these; None for any.
        none_of: the field is none of these; a field that is not there passes.
        exists: the field must be there (true) or must not be (false); None for either.
    """

    one_of: frozenset[str] | None = None
    none_of: frozenset[str] = frozenset()
    exists: bool | None = None


def read_conditions(document: Document, path: NodePath, value: Value) -> dict[str, Condition]:
    """Read what stands under `where:`; faults go to the document."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        document.fault(path, "expected a mapping of fields to conditions")
        return {}
    conditions: dict[str, Condition] = {}
    for name, given in value.items():
        inner = (*path, name)
        if name not in FIELDS and not (name.startswith(DIMENSIONS) and name != DIMENSIONS):
            known = did_you_mean(name, (*FIELDS, f"{DIMENSIONS}<name>"))
            document.fault(inner, f"no such field of an event{known}", key=True)
            continue
        before = len(document.faults)
        condition = _Reader(document, name).read(inner, given)
        if len(document.faults) == before:
            conditions[name] = condition
    return conditions


class _Reader:
    """Reads the condition of one field."""

    def __init__(self, document: Document, field: str) -> None:
        self.document = document
        self.field = field

    def read(self, path: NodePath, value: Value) -> Condition:
        if not isinstance(value, dict):
            return Condition(one_of=frozenset(self._texts(path, value)))
        if not value:
            self.document.fault(path, f"expected one of {', '.join(OPERATORS)}")
        allowed: list[set[str]] = []
        refused: set[str] = set()
        exists: bool | None = None
        for operator, given in value.items():
            inner = (*path, operator)
            if operator in ("in", "equals"):
                allowed.append(self._texts(inner, given, many=operator == "in"))
            elif operator in ("not_in", "not"):
                refused |= self._texts(inner, given, many=operator == "not_in")
            elif operator == "exists":
                exists = self._truth(inner, given)
            else:
                known = did_you_mean(operator, OPERATORS)
                self.document.fault(inner, f"unknown condition{known}", key=True)
        one_of = frozenset(set.intersection(*allowed)) if allowed else None
        return Condition(one_of, frozenset(refused), exists)

    def _texts(self, path: NodePath, value: Value, *, many: bool = True) -> set[str]:
        if isinstance(value, list) and many:
            if not value:
                self.document.fault(path, "expected at least one text; an empty list fits nothing")
            texts: set[str] = set()
            for index, item in enumerate(value):
                texts |= self._texts((*path, index), item, many=False)
            return texts
        if not isinstance(value, str):
            expected = "a text or a list of texts" if many else "a text"
            hint = "; for a field that is not there write {exists: false}" if value is None else ""
            self.document.fault(path, f"expected {expected}{hint}")
            return set()
        self._check_kind(path, value)
        return {value}

    def _check_kind(self, path: NodePath, value: str) -> None:
        if self.field != "kind" or value in KINDS or path in self.document.spoiled:
            return
        if self.document.from_environment(path):
            self.document.fault(path, f"no such kind of event; known: {', '.join(KINDS)}")
        else:
            known = did_you_mean(value, KINDS)
            self.document.fault(path, f"no kind of event {value!r}{known}")

    def _truth(self, path: NodePath, value: Value) -> bool | None:
        if value in ("true", "false"):
            return value == "true"
        if path not in self.document.spoiled:
            self.document.fault(path, "expected true or false")
        return None
