"""The rollup in SQLite: quarters of an hour, days and months in UTC, by series.

Events are decoded in Python, because SQLite would read their seconds as floats.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.journal import rollup_ranges as ranges
from meter.journal.rollup import (
    NANOS,
    QUARTER_SECONDS,
    Amount,
    Calendar,
    Measured,
    Period,
    Reduce,
    Rollup,
    Series,
)

if TYPE_CHECKING:
    from meter.journal.records import Ticket

__all__ = ["SqliteRollup"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTES: Final = 65_536
"""How many minutes of `occurred_at` are remembered: events come in order of time, mostly."""
_CHUNK: Final = 500

_READ: Final = "SELECT offset, body FROM events WHERE offset > ? ORDER BY offset LIMIT ?"
_ADD: Final = (
    "INSERT INTO {} VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " events = events + excluded.events, seconds = seconds + excluded.seconds,"
    " nanos = nanos + excluded.nanos"
)
# The cross join keeps the order: a seek in the small table for each row of the range.
_SUM: Final = (
    "SELECT class, sum(events), sum(seconds), sum(nanos) FROM {} CROSS JOIN usage_classes"
    " USING (series) WHERE bucket >= ? AND bucket < ? GROUP BY class"
)
# Seeks from one day to the next instead of reading every row of each.
_DAYS: Final = (
    "WITH RECURSIVE found (day) AS (SELECT min(bucket) FROM usage_days UNION ALL"
    " SELECT (SELECT min(bucket) FROM usage_days WHERE bucket > day) FROM found"
    " WHERE day IS NOT NULL) SELECT day FROM found WHERE day IS NOT NULL"
)


class _Fact(msgspec.Struct, gc=False):
    """What the rollup reads of an event; that all of it is in order was checked before."""

    customer_id: str
    kind: str
    occurred_at: str
    model: str | None = None
    features: tuple[str, ...] = ()
    seconds: Decimal | None = None


class _FullFact(_Fact, gc=False):
    """The same, and what only a scan asks for."""

    dimensions: dict[str, str] = {}


_decode: Final = msgspec.json.Decoder(_Fact).decode
_decode_full: Final = msgspec.json.Decoder(_FullFact).decode
_encode: Final = msgspec.json.Encoder().encode
_decode_series: Final = msgspec.json.Decoder(Series).decode

_Sums = dict[tuple[str, int], list[int]]
"""By the series' JSON and a bucket: events, whole seconds, nanoseconds beyond them."""


class SqliteRollup(Rollup):
    """See `Rollup`."""

    def __init__(
        self,
        snapshot: Callable[[], AbstractContextManager[sqlite3.Connection]],
        call: Callable[[Callable[[sqlite3.Connection], bool]], Ticket[bool]],
    ) -> None:
        """Work on the journal's own connections.

        Args:
            snapshot: gives a consistent view for reading.
            call: has the one writer run something in a transaction.
        """
        self._snapshot = snapshot
        self._call = call

    def behind(self) -> int:
        """Return how many offsets lie beyond what is added up."""
        with self._snapshot() as c:
            (count,) = c.execute(
                "SELECT coalesce((SELECT max(offset) FROM events), 0) - offset FROM usage_mark"
            ).fetchone()
        return int(count)

    def catch_up(self, most: int) -> int:
        """Add up to `most` further events in one short transaction; answer how many.

        They are read and decoded first, so that the transaction holds nothing but writes; it
        writes nothing when the mark has moved in the meantime.
        """
        with self._snapshot() as c:
            mark = _mark(c)
            rows = c.execute(_READ, (mark, most)).fetchall()
        if not rows:
            return 0
        quarters = _added_up(body for _, body in rows)
        reached = rows[-1][0]
        written = self._call(lambda c: _write(c, mark, reached, len(rows), quarters)).wait()
        return len(rows) if written else 0

    def read(self, after: int, limit: int) -> list[Measured]:
        """Return up to `limit` events with an offset beyond `after`, in order."""
        with self._snapshot() as c:
            return [_measured(offset, body) for offset, body in c.execute(_READ, (after, limit))]

    def amounts(
        self, calendar: Calendar, reduce: Reduce
    ) -> dict[tuple[Period, Series], Amount] | None:
        """Add up everything up to now, by period and reduced series, from one moment."""
        sums: dict[tuple[Period, Series], list[int]] = {}

        def add(period: Period, series: Series, amount: Iterable[int], sign: int = 1) -> None:
            sofar = sums.setdefault((period, series), [0, 0, 0])
            for place, value in enumerate(amount):
                sofar[place] += sign * value

        try:
            with self._snapshot() as c:
                wanted = ranges.spans(calendar, [day for (day,) in c.execute(_DAYS)])
                tail = _added_up(body for _, body in c.execute(_READ, (_mark(c), -1)))
                classes = _classes(c, reduce)
                for span in wanted:
                    for table, start, end, sign in ranges.ranges_of(span):
                        for number, *amount in c.execute(_SUM.format(table), (start, end)):
                            add(span.period, classes[number], amount, sign)
            pieces = {
                day: ranges.pieces_of(calendar, day)
                for day in {quarter // ranges.QUARTERS_A_DAY for _, quarter in tail}
            }
        except ranges.NotAligned:
            return None
        for (facts, quarter), amount in tail.items():
            series = reduce(_decode_series(facts))
            for start, end, period in pieces[quarter // ranges.QUARTERS_A_DAY]:
                if series is not None and start <= quarter * QUARTER_SECONDS < end:
                    add(period, series, amount)
        return {
            key: Amount(events, seconds * NANOS + nanos)
            for key, (events, seconds, nanos) in sums.items()
            if events
        }


def _mark(connection: sqlite3.Connection) -> int:
    (offset,) = connection.execute("SELECT offset FROM usage_mark").fetchone()
    return int(offset)


def _added_up(bodies: Iterable[str]) -> _Sums:
    """Add up events by series and quarter of an hour."""
    names: dict[tuple[Any, ...], str] = {}
    sums: _Sums = {}
    for body in bodies:
        fact = _decode(body)
        series = (fact.customer_id, fact.kind, fact.model, fact.features)
        name = names.get(series)
        if name is None:
            name = names[series] = _encode(series).decode()
        bucket = _minute(fact.occurred_at[:16]) // QUARTER_SECONDS
        amount = sums.get((name, bucket))
        if amount is None:
            amount = sums[name, bucket] = [0, 0, 0]
        amount[0] += 1
        if fact.seconds is not None:
            whole, nanos = _split(fact.seconds)
            amount[1] += whole
            amount[2] += nanos
    return sums


def _split(seconds: Decimal) -> tuple[int, int]:
    """Return whole seconds, and the nanoseconds beyond them."""
    whole = int(seconds)
    return whole, 0 if whole == seconds else int((seconds - whole).scaleb(9))


def _measured(offset: int, body: str) -> Measured:
    fact = _decode_full(body)
    at = _minute(fact.occurred_at[:16]) + int(fact.occurred_at[17:19])
    series = Series(fact.customer_id, fact.kind, fact.model, fact.features)
    whole, nanos = (0, 0) if fact.seconds is None else _split(fact.seconds)
    return Measured(offset, at, series, whole * NANOS + nanos, fact.dimensions)


@lru_cache(_MINUTES)
def _minute(text: str) -> int:
    """Return the seconds since 1970 of `2026-11-22T12:07`, as events have it: in UTC."""
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH
    return since.days * ranges.DAY_SECONDS + since.seconds


def _classes(connection: sqlite3.Connection, reduce: Reduce) -> list[Series]:
    """Say of each series what it counts as, in a table of this connection's own."""
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS usage_classes (series INTEGER PRIMARY KEY, class INTEGER)"
    )
    connection.execute("DELETE FROM usage_classes")
    numbers: dict[Series, int] = {}
    rows = []
    for number, facts in connection.execute("SELECT id, facts FROM usage_series"):
        series = reduce(_decode_series(facts))
        if series is not None:
            rows.append((number, numbers.setdefault(series, len(numbers))))
    connection.executemany("INSERT INTO usage_classes VALUES (?, ?)", rows)
    return list(numbers)


def _write(
    connection: sqlite3.Connection, mark: int, reached: int, events: int, quarters: _Sums
) -> bool:
    """Add the sums and move the mark, within the caller's transaction; False if it moved before."""
    if _mark(connection) != mark:
        return False
    numbers = _numbers(connection, sorted({name for name, _ in quarters}))
    by_quarter = {(at, numbers[name]): amount for (name, at), amount in quarters.items()}
    by_day = _coarser(by_quarter, lambda quarter: quarter // ranges.QUARTERS_A_DAY)
    by_month = _coarser(by_day, ranges.month_of)
    for table, sums in (
        ("usage_quarters", by_quarter),
        ("usage_days", by_day),
        ("usage_months", by_month),
    ):
        rows = sorted((*key, *amount) for key, amount in sums.items())
        connection.executemany(_ADD.format(table), rows)
    connection.execute("UPDATE usage_mark SET offset = ?", (reached,))
    connection.execute("INSERT INTO event_portions VALUES (?, ?)", (reached, events))
    return True


def _coarser(
    sums: dict[tuple[int, int], list[int]], bucket_of: Callable[[int], int]
) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for (bucket, series), amount in sums.items():
        key = (bucket_of(bucket), series)
        sofar = found.get(key)
        found[key] = (
            amount if sofar is None else [a + b for a, b in zip(sofar, amount, strict=True)]
        )
    return found


def _numbers(connection: sqlite3.Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the number of each series; new ones get theirs."""
    numbers: dict[str, int] = {}
    for start in range(0, len(names), _CHUNK):
        some = names[start : start + _CHUNK]
        marks = ",".join("?" * len(some))
        query = f"SELECT facts, id FROM usage_series WHERE facts IN ({marks})"  # noqa: S608  because only question marks are put in
        numbers.update(connection.execute(query, some))
        missing = [(name,) for name in some if name not in numbers]
        if missing:
            connection.executemany("INSERT INTO usage_series (facts) VALUES (?)", missing)
            numbers.update(connection.execute(query, some))
    return numbers
