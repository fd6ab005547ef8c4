"""File names from a template: `exports/usage-{month}.csv`, confined to the template's folder."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from meter.events import Event

__all__ = ["Template"]

FIELDS: Final = ("month", "date", "customer_id", "kind")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_LONGEST: Final = 150
"""Characters of one value in a file name; most file systems end at 255 bytes for the whole."""


class Template:
    """A path with `{month}`, `{date}`, `{customer_id}` or `{kind}` in it; times are UTC."""

    def __init__(self, path: Path) -> None:
        """Split the fixed folder from the part that varies.

        Raises:
            ValueError: an unknown or unclosed placeholder; the text names the known ones.
        """
        parts = path.parts
        fixed = next((i for i, part in enumerate(parts) if "{" in part), len(parts) - 1)
        self.folder = Path(*parts[:fixed])
        self._pattern = "/".join(parts[fixed:])
        names = _PLACE.findall(self._pattern)
        if set("{}") & set(_PLACE.sub("", self._pattern)):
            raise ValueError("a path whose braces are closed, such as usage-{month}.csv")
        unknown = [name for name in names if name not in FIELDS]
        if unknown:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise ValueError(f"a path with no other placeholders than {known}")
        if ".." in parts[fixed:]:
            raise ValueError("a path that does not climb out of its folder after a placeholder")
        self._names = frozenset(names)

    def key(self, event: Event) -> tuple[str, ...]:
        """Return what decides the file of an event; equal keys share a file."""
        occurred = event.occurred_at
        return (
            f"{occurred:%Y-%m-%d}" if "date" in self._names else "",
            f"{occurred:%Y-%m}" if "month" in self._names else "",
            event.customer_id if "customer_id" in self._names else "",
            event.kind if "kind" in self._names else "",
        )

    def name(self, key: tuple[str, ...]) -> str:
        """Return the file's name below the folder; different keys never share one."""
        values = dict(zip(("date", "month", "customer_id", "kind"), key, strict=True))
        return _PLACE.sub(lambda found: _escaped(values[found[1]]), self._pattern)


def _escaped(value: str) -> str:
    """Write a value so that it is one file name's part, and no other value's."""
    text = quote(value, safe="").replace(".", "%2E")
    if len(text) > _LONGEST:
        text = f"{text[:100]}%~{hashlib.sha256(value.encode()).hexdigest()[:40]}"
    return text
