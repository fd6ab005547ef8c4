"""Rows for people, spreadsheets and programs, all from the same figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.tables import one_line

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["as_csv", "as_document", "counted", "figure", "number", "time_of"]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def number(value: Decimal | int) -> str:
    """Write an exact figure as people do: no exponent, no zeros at the end."""
    text = format(Decimal(value), "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def figure(value: Decimal | int) -> str:
    """Write an exact figure for people: as `number`, in groups of three digits."""
    whole, point, rest = number(value).partition(".")
    return f"{int(whole):,}{point}{rest}" if whole.strip("-0") else number(value)


def counted(count: int, noun: str) -> str:
    """Write `1 event`, `2 events`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def time_of(moment: datetime) -> str:
    """Write a UTC time to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def as_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV, a line at a time; a spreadsheet takes no text in it for a formula."""
    for row in chain((header,), rows):
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerow([_cell(value) for value in row])
        click.echo(out.getvalue(), nl=False)


def as_document(document: Any) -> None:
    """Print JSON. Exact figures are texts there: a program that reads floats would spoil them."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: object) -> object:
    return number(value) if isinstance(value, Decimal) else str(value)


def _cell(value: object) -> str:
    if isinstance(value, Decimal | int):
        return number(value)
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
