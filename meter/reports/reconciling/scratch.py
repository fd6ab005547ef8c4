"""A database that lasts as long as a comparison: it sorts and joins what memory could not hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast

from meter.reports.reconciling.records import Difference, Side, What

__all__ = ["Known", "Pile", "Scratch", "merged"]

T = TypeVar("T")
L = TypeVar("L", bound=tuple[Any, ...])
R = TypeVar("R", bound=tuple[Any, ...])

_CACHE_KIB: Final = 32 * 1024
_AT_ONCE: Final = 2_000
_DIFFERENCE: Final = (
    "part TEXT, side TEXT, what TEXT, event_id TEXT, customer_id TEXT, kind TEXT, occurred_at TEXT,"
    " field TEXT, journal TEXT, there TEXT, seconds TEXT, place TEXT"
)


class Scratch:
    """Piles of rows in a temporary file, and the differences found. A context manager."""

    def __init__(self) -> None:
        """Make the file; nothing of it survives."""
        self._folder = TemporaryDirectory(prefix="meter-reconcile-")
        self._connection = connection = sqlite3.connect(
            Path(self._folder.name, "scratch.db"), isolation_level=None
        )
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"CREATE TABLE differences ({_DIFFERENCE})")
        connection.execute("BEGIN")
        self._piles = 0

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove everything."""
        self._connection.close()
        self._folder.cleanup()

    def pile(self, make: Callable[[Iterable[Any]], T], width: int) -> Pile[T]:
        """Return a new, empty pile.

        Args:
            make: makes a row of its columns.
            width: how many columns there are.
        """
        self._piles += 1
        return Pile(self._connection, f"pile_{self._piles}", make, width)

    def known(self) -> Known:
        """Return a new, empty set of texts."""
        self._piles += 1
        return Known(self._connection, f"known_{self._piles}")

    def note(self, side: Side, found: Difference) -> None:
        """Keep a difference, and count it."""
        side.differences[found.what] += 1
        self._connection.execute(
            "INSERT INTO differences VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(side.part, found.side, found.what, found.event_id, found.customer_id, found.kind),
                None if found.occurred_at is None else found.occurred_at.isoformat(),
                *(found.field, found.journal, found.there),
                None if found.seconds is None else str(found.seconds),
                found.place,
            ),
        )

    def differences(self, side: Side | None = None, limit: int = -1) -> Iterator[Difference]:
        """Yield the differences in the order that they were found, of one side or all."""
        where, values = ("", ()) if side is None else ("WHERE part = ? AND side = ?", _key(side))
        rows = self._connection.execute(
            f"SELECT * FROM differences {where} ORDER BY rowid LIMIT ?",  # noqa: S608  because only words of ours are put in
            (*values, limit),
        )
        for _, name, what, event_id, customer, kind, at, *texts, seconds, place in rows:
            yield Difference(
                name,
                cast("What", what),
                event_id,
                customer,
                kind,
                None if at is None else datetime.fromisoformat(at),
                texts[0],
                texts[1],
                texts[2],
                None if seconds is None else Decimal(seconds),
                place,
            )


class Pile(Generic[T]):
    """Rows in no order, until they are asked for in one."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        name: str,
        make: Callable[[Iterable[Any]], T],
        width: int,
    ) -> None:
        """Make the table; `Scratch.pile` is the way to get one."""
        self._connection = connection
        self._name = name
        self._make = make
        connection.execute(f"CREATE TABLE {name} ({', '.join(f'c{n}' for n in range(width))})")
        self._insert = f"INSERT INTO {name} VALUES ({', '.join('?' * width)})"  # noqa: S608  because the name is ours
        self._waiting: list[Sequence[Any]] = []

    def add(self, row: Sequence[Any]) -> None:
        """Add a row: texts, whole numbers or None."""
        self._waiting.append(row)
        if len(self._waiting) >= _AT_ONCE:
            self._flush()

    def sorted(self, column: int) -> Iterator[T]:
        """Yield the rows in order of a column, which none of them lacks."""
        self._flush()
        rows = self._connection.execute(f"SELECT * FROM {self._name} ORDER BY c{column}")  # noqa: S608  because the name is ours
        return map(self._make, rows)

    def __iter__(self) -> Iterator[T]:
        """Iterate over the rows as they were added."""
        self._flush()
        return map(self._make, self._connection.execute(f"SELECT * FROM {self._name}"))  # noqa: S608  because the name is ours

    def _flush(self) -> None:
        some, self._waiting = self._waiting, []
        self._connection.executemany(self._insert, some)


class Known:
    """A set of texts that may be larger than memory."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        """Make the table; `Scratch.known` is the way to get one."""
        connection.execute(f"CREATE TABLE {name} (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._connection = connection
        self._name = name
        self._add = f"INSERT OR IGNORE INTO {name} VALUES (?)"  # noqa: S608  because the name is ours
        self._has = f"SELECT 1 FROM {name} WHERE id = ?"  # noqa: S608  because the name is ours
        self._count = 0

    def add(self, text: str) -> None:
        """Add a text; one that is there already stays."""
        self._count += self._connection.execute(self._add, (text,)).rowcount

    def __contains__(self, text: str) -> bool:
        """Tell whether a text is there."""
        return self._connection.execute(self._has, (text,)).fetchone() is not None

    def __len__(self) -> int:
        """Count the texts."""
        return self._count

    def __iter__(self) -> Iterator[str]:
        """Iterate over the texts, in order."""
        rows = self._connection.execute(f"SELECT id FROM {self._name} ORDER BY id")  # noqa: S608  because the name is ours
        return (text for (text,) in rows)


def merged(
    left: Iterator[L],
    left_key: Callable[[L], str],
    right: Iterator[R],
    right_key: Callable[[R], str],
) -> Iterator[tuple[str, list[L], list[R]]]:
    """Join two sides that are in order of their keys: each key once, with what has it."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        keys = ([] if one is None else [left_key(one)]) + (
            [] if other is None else [right_key(other)]
        )
        key = min(keys)
        lefts: list[L] = []
        while one is not None and left_key(one) == key:
            lefts.append(one)
            one = next(left, None)
        rights: list[R] = []
        while other is not None and right_key(other) == key:
            rights.append(other)
            other = next(right, None)
        yield key, lefts, rights


def _key(side: Side) -> tuple[str, str]:
    """Return what tells a side from others: a collector and a sink may have one name."""
    return side.part, side.name
