"""Plain tables: aligned for a terminal, and steady enough to paste."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["one_line", "table"]


def table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()
) -> str:
    """Return an aligned table; the columns numbered in `right` are flush right."""
    cells = [list(header), *([one_line(value) for value in row] for row in rows)]
    widths = [max(_width(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(
            _padding(cell, width) + cell if i in right else cell + _padding(cell, width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


def _width(text: str) -> int:
    """Return the columns a text takes on a terminal: East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padding(cell: str, width: int) -> str:
    return " " * (width - _width(cell))


def one_line(value: object) -> str:
    """Write a value on one line, with nothing that could move the cursor."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
