"""What is wrong with a pipelines file: each fault with its place, all of them in one error."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ConfigFaults", "Fault", "NodePath", "PluginFaults", "did_you_mean", "nearest", "shown"]

NodePath = tuple[str | int, ...]
"""Where a value stands in the file: keys and list indices from the top."""

_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_<>-]+")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where.

    Attributes:
        file: as the user named it.
        line: from 1; 0 when the fault is about the file as a whole.
        column: from 1, in characters; 0 when the fault is about the file as a whole.
        path: such as `pipelines.usage.to[1]`; empty for the file as a whole.
        message: what is wrong and what was expected; never the value that stands there.
        plugin: true when a plugin is to blame (broken, or two with one type), not the file.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    plugin: bool = False

    def __str__(self) -> str:
        """Write the fault as editors and terminals link it: `file:line:column: path: message`."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigFaults(ConfigurationError):
    """Every fault of a pipelines file, by position; its text has one line for each.

    Attributes:
        faults: never empty, sorted by line and column.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(
            sorted(dict.fromkeys(faults), key=lambda f: (f.line, f.column, f.path, f.message))
        )
        super().__init__("\n".join(str(fault) for fault in self.faults))

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> ConfigFaults:
        """Return the error for some faults: `PluginFaults` if plugins alone are to blame."""
        found = list(faults)
        return PluginFaults(found) if all(f.plugin for f in found) else ConfigFaults(found)


class PluginFaults(ConfigFaults):
    """The file is in order, but a plugin that it needs is broken or ambiguous."""

    exit_code = 3


def shown(path: NodePath) -> str:
    """Write a path as people read it: `pipelines.usage.to[1]`; odd keys are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _PLAIN_KEY.fullmatch(step) else json.dumps(step)
            text += f".{key}" if text else key
    return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that someone who wrote `name` most likely meant."""
    by_fold = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1)
    return by_fold[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest one, and all of them."""
    names = sorted(known)
    if not names:
        return ""
    close = nearest(name, names)
    suggestion = f"; did you mean {close!r}?" if close else ";"
    listing = f"known: {', '.join(names)}"
    return f"{suggestion} ({listing})" if close else f"{suggestion} {listing}"
