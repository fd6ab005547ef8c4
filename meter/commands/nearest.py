"""The nearest name to one that is unknown."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from meter.errors import ConfigurationError

__all__ = ["named"]


def named(name: str, known: Iterable[str], noun: str, path: Path) -> str:
    """Return a name that a file has.

    Args:
        name: as given.
        known: those that the file has.
        noun: what they name.
        path: the file.

    Raises:
        ConfigurationError: it has none of that name; the text says the nearest, and all.
    """
    names = sorted(known)
    if name in names:
        return name
    close = get_close_matches(name, names, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigurationError(
        f"{path}: no {noun} {name!r} there{meant}; known: {', '.join(names) or 'none'}"
    )
