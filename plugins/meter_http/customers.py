"""Customers' names at the destination, from a file that is read again when it changes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Final

import yaml

from meter.errors import RetryableSinkError

__all__ = ["Customers"]

_LOADER: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Resolves no plain scalar: `007`, `NO` and `1:30` stay what was written."""
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_COLUMNS: Final = 2
_SHOWN: Final = 60


class Customers:
    """Knows each customer's name at the destination. Nothing is read before `refresh`.

    A file with faults is never used in part: what was known before stays in use.
    """

    def __init__(self, path: Path) -> None:
        self.trouble: str | None = None
        self._path = path
        self._names: dict[str, str] | None = None
        self._seen: tuple[int, ...] | None = None

    def refresh(self) -> bool:
        """Read the file if it changed; tell whether there is something new to go by.

        Raises:
            RetryableSinkError: it cannot be used, and nothing was read before.
        """
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if seen == self._seen:
                return False
            self._seen = seen
            names, fault = _read(self._path)
        except OSError as error:
            names, fault = {}, f"{error.strerror or 'cannot be read'}"
        self.trouble = f"{self._path.name}: {fault}" if fault else None
        if self.trouble is None:
            self._names = names
            return True
        if self._names is None:
            self._seen = None
            raise RetryableSinkError(self.trouble)
        return False

    def find(self, customer_id: str) -> str | None:
        """Return the customer's name at the destination; None when the file has no such line."""
        return (self._names or {}).get(customer_id)

    def unknown(self, customer_id: str) -> str:
        """Say that a customer has no line, and what to do."""
        quoted = repr(customer_id[:_SHOWN]) + ("…" if len(customer_id) > _SHOWN else "")
        return (
            f"customer {quoted} has no line in {self._path.name}; add one, meter reads the file "
            "again by itself"
        )

    def __len__(self) -> int:
        """How many customers have a name."""
        return len(self._names or {})


def _read(path: Path) -> tuple[dict[str, str], str]:
    """Return the names, and what is wrong with the file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        pairs = _csv_pairs(text) if path.suffix.lower() == ".csv" else _yaml_pairs(text)
        return _names(pairs), ""
    except UnicodeDecodeError:
        return {}, "not UTF-8; save it as UTF-8"
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        return {}, f"line {mark.line + 1 if mark else 1}: not YAML: {error.problem}"
    except (yaml.YAMLError, csv.Error) as error:
        return {}, f"cannot be read: {type(error).__name__}"
    except _BadLineError as error:
        return {}, str(error)


def _names(pairs: list[tuple[int, str, str]]) -> dict[str, str]:
    names: dict[str, str] = {}
    for line, customer_id, name in pairs:
        if not customer_id or not name:
            raise _BadLineError(f"line {line}: expected a customer_id and a name for it")
        if customer_id in names:
            raise _BadLineError(f"line {line}: this customer stands here already; keep one")
        names[customer_id] = name
    return names


class _BadLineError(Exception):
    """The file has another shape; the text says where."""


def _csv_pairs(text: str) -> list[tuple[int, str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    pairs = []
    for row in reader:
        if not row or (reader.line_num == 1 and row[0] == "customer_id"):
            continue
        if len(row) != _COLUMNS:
            raise _BadLineError(f"line {reader.line_num}: expected two columns, found {len(row)}")
        pairs.append((reader.line_num, row[0], row[1]))
    return pairs


def _yaml_pairs(text: str) -> list[tuple[int, str, str]]:
    root = yaml.compose(text, Loader=_LOADER)
    if not isinstance(root, yaml.MappingNode):
        raise _BadLineError("line 1: expected lines such as `acme: sub_123`")
    pairs = []
    for key, value in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise _BadLineError(f"line {line}: expected a customer_id and one name for it")
        empty = not value.style and value.value in _NULLS
        pairs.append((line, str(key.value), "" if empty else str(value.value)))
    return pairs
