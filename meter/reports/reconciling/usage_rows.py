"""The rows of a usage file: a JSON array, an object with a list in it, or a line of JSON each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import msgspec

from meter.errors import ConfigurationError
from meter.events import BILLED_KINDS, exact_number
from meter.reports.reconciling.usage_mapping import IGNORE, UsageMapping, fields_of, value_at

__all__ = ["UsageRow", "rows_of"]

_SHOWN: Final = 30
_DAY: Final = len("2026-11-22")
_MILLIS: Final = 10**11
"""Unix times from here on are milliseconds: as seconds they would lie beyond the year 5000."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BY_ID: Final = {"transcript_id": BILLED_KINDS[0], "session_id": BILLED_KINDS[1]}
_FIELDS: Final = ("id", "seconds", "time", "customer", "kind")
_decode: Final = msgspec.json.Decoder(float_hook=exact_number).decode


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One row; what the file does not say is None.

    Attributes:
        number: of the row in the file, from 1.
        seconds: exact; None where the row has no figure.
        at: when it was, UTC; the beginning of the day where only that is said.
        whole_day: only the day is said.
        fault: what cannot be read, in words.
    """

    number: int
    id: str | None
    kind: str | None
    customer_id: str | None
    seconds: Decimal | None
    at: datetime | None
    whole_day: bool
    fault: str


def rows_of(path: Path, mapping: UsageMapping) -> Iterator[UsageRow]:
    """Yield the rows of a file; those whose kind is to be ignored are left out.

    Raises:
        ConfigurationError: it is no JSON, or no row has a field that is needed; the text names the
            fields that are there. Raised at the end as well: some fields may be missing in a row.
    """
    first: Any = None
    there: set[str] = set()
    for number, row in enumerate(_records(path, mapping), 1):
        if not isinstance(row, dict):
            raise ConfigurationError(f"{path}: row {number} is no JSON object")
        first = row if first is None else first
        found = {name: value_at(row, getattr(mapping, name)) for name in _FIELDS}
        there |= {name for name, value in found.items() if value is not None}
        kind = _kind(path, number, mapping, found)
        if kind != IGNORE:
            yield _row(number, kind, mapping, {n: v and v[1] for n, v in found.items()})
    if first is None:
        return
    needed = {"seconds"} | (mapping.given & {n for n in _FIELDS if getattr(mapping, n)})
    if "id" not in there:
        needed |= {"time"}  # sums by day
    for name in _FIELDS:
        if name in needed and name not in there:
            shown = ", ".join(fields_of(first)[:_SHOWN])
            wanted = " or ".join(getattr(mapping, name))
            raise ConfigurationError(
                f"{path}: no row has {wanted} ({name}); there are {shown}. Say which one it is in "
                f"a file for --mapping: `{name}: FIELD`"
            )


def _row(number: int, kind: str | None, mapping: UsageMapping, found: dict[str, Any]) -> UsageRow:
    faults = []
    seconds = found["seconds"]
    try:
        seconds = None if seconds is None else _number(seconds) * mapping.factor
    except InvalidOperation:
        faults.append(f"seconds: {str(found['seconds'])[:40]!r} is no number")
        seconds = None
    at, whole_day = None, False
    try:
        if found["time"] is not None:
            at, whole_day = _time(found["time"])
    except (ValueError, OverflowError, TypeError):
        faults.append(f"time: {str(found['time'])[:40]!r} is no time")
    identity, customer = (
        None if found[name] is None else str(found[name]) for name in ("id", "customer")
    )
    return UsageRow(
        number, identity or None, kind, customer, seconds, at, whole_day, "; ".join(faults)
    )


def _kind(path: Path, number: int, mapping: UsageMapping, found: dict[str, Any]) -> str | None:
    """Return the kind of event that a row is of; None where it does not say.

    Raises:
        ConfigurationError: it says it in a word that nobody has explained.
    """
    said, identity = found["kind"], found["id"]
    if said is not None and said[1] is not None:
        word = str(said[1])
        kind = mapping.kinds.get(word) or mapping.kinds.get(word.lower())
        if kind is None:
            raise ConfigurationError(
                f"{path}: row {number}: {said[0]} is {word[:40]!r}; say what that is in a file for "
                f"--mapping: `kinds: {{{word[:40]}: stream_terminated}}`, async_completed, or "
                "ignore; or `kind: []` if that is no kind of usage"
            )
        return kind
    return None if identity is None else _BY_ID.get(identity[0])


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise InvalidOperation
    number = Decimal(value)
    if not number.is_finite():
        raise InvalidOperation
    return number


def _time(value: Any) -> tuple[datetime, bool]:
    """Read a time, and tell whether it is only a day."""
    if isinstance(value, str):
        at = datetime.fromisoformat(value)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        return at, len(value) <= _DAY
    number = _number(value)
    micros = number * (1_000 if number >= _MILLIS else 1_000_000)
    return _EPOCH + timedelta(microseconds=int(micros)), False


# -- the file ---------------------------------------------------------------------------------


def _records(path: Path, mapping: UsageMapping) -> Iterator[Any]:
    try:
        with path.open("rb") as file:
            first, second = file.readline(), file.readline()
            while second and not second.strip():
                second = file.readline()
            if second and _is_record(first):
                yield from _lines(path)
                return
        document = _decode(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from None
    yield from _list(path, document, mapping)


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(_decode(line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ConfigurationError(f"{path}: line {number} is no JSON: {error}") from None


def _list(path: Path, document: Any, mapping: UsageMapping) -> list[Any]:
    """Return the list of rows in a document.

    Raises:
        ConfigurationError: there is none, or several.
    """
    if isinstance(document, list) and "list" not in mapping.given:
        return document
    found = value_at(document, mapping.list)
    if found is not None and isinstance(found[1], list):
        return found[1]
    lists = _lists(document)
    if "list" not in mapping.given and len(lists) == 1:
        return next(iter(lists.values()))
    known = ", ".join(lists) or "no list at all"
    wanted = f"no list at {' or '.join(mapping.list)}" if "list" in mapping.given else "which list?"
    raise ConfigurationError(
        f"{path}: {wanted}; there is {known}. Say where the rows are in a file for --mapping: "
        "`list: sessions`"
    )


def _lists(document: Any, before: str = "") -> dict[str, list[Any]]:
    """Return every list of objects in a document, by its path."""
    if not isinstance(document, dict):
        return {}
    found: dict[str, list[Any]] = {}
    for name, value in document.items():
        place = f"{before}.{name}" if before else str(name)
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            found[place] = value
        found |= _lists(value, place)
    return found
