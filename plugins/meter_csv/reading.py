"""Reading the files back, beside whoever appends to them."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from meter.errors import FatalSinkError, RetryableSinkError
from meter.sinks import Written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

__all__ = ["rows"]

LONGEST_CELL: Final = 10_000_000
"""Characters; Python's own limit is below what a customer's name may have."""


def rows(path: Path, header: Sequence[str], formula: tuple[str, ...]) -> Iterator[Written]:
    """Yield the rows of one file; one that is not there has none.

    A last line without its end is being written, or was torn by a crash: it is left out, and the
    sink cuts it off.

    Args:
        path: the file.
        header: the names that its first line should have.
        formula: what a text begins with that got a quote before it.

    Raises:
        RetryableSinkError: it cannot be read.
        FatalSinkError: its first line is not the header: nothing can be told of it.
    """
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        with path.open(newline="", encoding="utf-8", errors="backslashreplace") as file:
            reader = csv.reader(_whole(file))
            first = next(reader, None)
            if first is None:
                return
            if tuple(first) != tuple(header):
                raise FatalSinkError(
                    f"{path}: its first line is not {','.join(header)}; put the file back as it "
                    "was, or move it away"
                )
            for cells in reader:
                yield _written(cells, len(header), formula, f"{path.name}:{reader.line_num}")
    except FileNotFoundError:
        return
    except csv.Error as error:
        raise FatalSinkError(f"{path}: {error}; it is no CSV file any more") from error
    except OSError as error:
        raise RetryableSinkError(f"{path}: {error.strerror}") from error
    finally:
        csv.field_size_limit(before)


def _whole(file: TextIO) -> Iterator[str]:
    """Yield lines, but for a last one that has no end."""
    before = ""
    for line in file:
        if before:
            yield before
        before = line
    if before.endswith("\n"):
        yield before


def _written(cells: list[str], columns: int, formula: tuple[str, ...], place: str) -> Written:
    if len(cells) != columns:
        first = _plain(cells[0], formula)[0] if cells else ""
        return Written(first, place=place, fault=f"{len(cells)} cells, expected {columns}")
    event_id, kind, customer, seconds, *_, occurred_at = cells[:7]
    faults = []
    exact = moment = None
    if seconds:
        try:
            exact = Decimal(seconds)
            if not exact.is_finite():
                raise InvalidOperation
        except InvalidOperation:
            exact = None
            faults.append(f"seconds is {seconds!r}, no number")
    try:
        moment = datetime.fromisoformat(occurred_at)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    except ValueError:
        faults.append(f"occurred_at is {occurred_at!r}, no time")
    plain, quoted = _plain(customer, formula)
    return Written(
        _plain(event_id, formula)[0],
        customer_id=plain,
        quoted_customer_id=quoted,
        seconds=exact,
        kind=kind,
        occurred_at=moment,
        place=place,
        fault="; ".join(faults),
    )


def _plain(cell: str, formula: tuple[str, ...]) -> tuple[str, str | None]:
    """Return what a cell stands for; and what else, since the quote may be the text's own."""
    if cell.startswith("'") and cell[1:].startswith(formula):
        return cell[1:], cell
    return cell, None
