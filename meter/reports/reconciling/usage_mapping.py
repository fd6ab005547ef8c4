"""Which field of a usage file says what: good guesses, and a small YAML file that corrects them.

No sample of what AssemblyAI's own command-line tool prints could be checked (reference:
assemblyai.md §9), so every guess can be corrected:

```yaml
list: sessions                     # where the rows are, if not at the top
id: session_id
seconds: session_duration_sec
unit: seconds                      # or milliseconds, minutes, hours
time: created_at
customer: metadata.customer_id     # a.b is b within a; /a.b/c is c within "a.b"
kind: product
kinds: {streaming: stream_terminated, async: async_completed, llm: ignore}
tolerance: 0                       # seconds that a figure may differ
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from meter.config.faults import did_you_mean
from meter.config.yaml_nodes import parse
from meter.errors import ConfigurationError
from meter.events import BILLED_KINDS

__all__ = ["IGNORE", "UsageMapping", "fields_of", "read_mapping", "value_at"]

IGNORE: Final = "ignore"
UNITS: Final = {
    "seconds": Decimal(1),
    "milliseconds": Decimal("0.001"),
    "minutes": Decimal(60),
    "hours": Decimal(3600),
}
_DEPTH: Final = 4
_PATHS: Final = ("list", "id", "seconds", "time", "customer", "kind")
_KINDS: Final = {
    **dict.fromkeys(("async", "pre-recorded", "pre_recorded", "transcript", "transcription"), 0),
    **dict.fromkeys(("streaming", "stream", "realtime", "real-time", "session"), 1),
}


@dataclass(frozen=True, slots=True)
class UsageMapping:
    """Which field says what: of several paths the first that a row has.

    Attributes:
        list: where the rows are; nothing at all: at the top, or the only list there is.
        id: of the transcript or session.
        seconds: the billed quantity, in `unit`.
        time: when it was; a day stands for all of it, UTC.
        customer: whose it is; it is compared only where a row has it.
        kind: a word that `kinds` makes a kind of event of, or `ignore`.
        tolerance: seconds that a figure may differ from the journal's.
        given: which of these somebody wrote down, so that they must be there.
    """

    list: tuple[str, ...] = ("sessions", "usage", "transcripts", "data", "items", "results")
    id: tuple[str, ...] = ("session_id", "transcript_id", "id")
    seconds: tuple[str, ...] = (
        "session_duration_sec",
        "session_duration_seconds",
        "audio_duration",
        "audio_duration_sec",
        "duration_sec",
        "duration_seconds",
        "seconds",
    )
    unit: str = "seconds"
    time: tuple[str, ...] = (
        "completed",
        "ended_at",
        "created_at",
        "created",
        "started_at",
        "start_time",
        "timestamp",
        "date",
        "day",
    )
    customer: tuple[str, ...] = ("customer_id", "metadata.customer_id")
    kind: tuple[str, ...] = ("kind", "product", "type")
    kinds: Mapping[str, str] = field(
        default_factory=lambda: (
            {word: BILLED_KINDS[n] for word, n in _KINDS.items()}
            | {kind: kind for kind in BILLED_KINDS}
        )
    )
    tolerance: Decimal = Decimal(0)
    given: frozenset[str] = frozenset()

    @property
    def factor(self) -> Decimal:
        """How many seconds a unit is."""
        return UNITS[self.unit]


def read_mapping(path: Path) -> UsageMapping:
    """Read a mapping file.

    Raises:
        ConfigurationError: it cannot be read, or says what nobody understands.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not text.strip():
        return UsageMapping()
    document = parse(text, str(path))
    if document.faults:
        raise ConfigurationError("\n".join(str(fault) for fault in document.faults))
    if not isinstance(document.root, dict):
        raise ConfigurationError(f"{path}: expected keys such as `seconds: session_duration_sec`")
    changes: dict[str, Any] = {"given": frozenset(document.root) - {"kinds", "unit", "tolerance"}}
    for name, value in document.root.items():
        where = f"{path}:{document.place((name,)).line}: {name}"
        changes[name] = _value(where, name, value)
    if "kinds" in changes:
        changes["kinds"] = {**UsageMapping().kinds, **changes["kinds"]}
    return replace(UsageMapping(), **changes)


def _value(where: str, name: str, value: Any) -> Any:
    if name in _PATHS:
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, list) or not all(isinstance(p, str) and p for p in paths):
            raise ConfigurationError(f"{where}: expected a path, such as metadata.id, or several")
        return tuple(paths)
    if name == "unit":
        if value not in UNITS:
            raise ConfigurationError(f"{where}: expected one of {', '.join(UNITS)}")
        return value
    if name == "tolerance":
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal(-1)
        if not (number.is_finite() and number >= 0):
            raise ConfigurationError(f"{where}: expected seconds, 0 or more")
        return number
    if name == "kinds":
        words = (*BILLED_KINDS, IGNORE)
        if not isinstance(value, dict) or not all(each in words for each in value.values()):
            raise ConfigurationError(
                f"{where}: expected words, each with one of {', '.join(words)}"
            )
        return value
    known = did_you_mean(name, (*_PATHS, "unit", "kinds", "tolerance"))
    raise ConfigurationError(f"{where}: unknown key{known}")


def value_at(row: Any, paths: Iterable[str]) -> tuple[str, Any] | None:
    """Return the first path that a row has and what stands there; None when it has none.

    Null gives way to the next path.
    """
    empty: tuple[str, Any] | None = None
    for path in paths:
        found = row
        for name in _names(path):
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                break
        else:
            if found is not None:
                return path, found
            empty = empty or (path, None)
    return empty


def fields_of(row: Any, before: str = "", depth: int = _DEPTH) -> list[str]:
    """Return the paths of what a row has, for a message."""
    if not isinstance(row, dict) or not depth:
        return [before] if before else []
    found = []
    for name, value in row.items():
        place = f"{before}.{name}" if before else str(name)
        found += (
            fields_of(value, place, depth - 1) if isinstance(value, dict) and value else [place]
        )
    return found


@lru_cache
def _names(path: str) -> list[str]:
    """Split a path: `a.b`, or a JSON Pointer (RFC 6901) such as `/a.b/c`."""
    if path.startswith("/"):
        return [n.replace("~1", "/").replace("~0", "~") for n in path[1:].split("/")]
    return path.split(".")
