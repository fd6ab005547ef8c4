"""The buckets of a span, added and taken away, leave each of its quarters of an hour once."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from meter.journal.rollup import QUARTER_SECONDS, Piece
from meter.journal.rollup_ranges import DAY_SECONDS, QUARTERS_A_DAY, month_of, ranges_of, spans

EPOCH = date(1970, 1, 1)


class Mornings:
    """Wants nothing but the first hours of each day."""

    def pieces(self, start: int, end: int) -> list[Piece]:
        return [Piece(start, end - DAY_SECONDS // 2, None)]


def days_of(month: int) -> range:
    first = date(1970 + month // 12, month % 12 + 1, 1)
    beyond = (first + timedelta(days=31)).replace(day=1)
    return range((first - EPOCH).days, (beyond - EPOCH).days)


@given(st.integers(-40_000, 40_000), st.integers(1, 12_000))
def test_every_quarter_of_a_span_counts_once_and_no_other(start: int, length: int) -> None:
    counted: Counter[int] = Counter()
    for table, first, beyond, sign in ranges_of(
        Piece(start * QUARTER_SECONDS, (start + length) * QUARTER_SECONDS, None)
    ):
        for bucket in range(first, beyond):
            days = {"usage_days": range(bucket, bucket + 1), "usage_quarters": range(0)}
            for day in days[table] if table in days else days_of(bucket):
                for quarter in range(day * QUARTERS_A_DAY, (day + 1) * QUARTERS_A_DAY):
                    counted[quarter] += sign
            if table == "usage_quarters":
                counted[bucket] += sign
    assert {q: n for q, n in counted.items() if n} == dict.fromkeys(range(start, start + length), 1)


def test_days_are_joined_only_where_nothing_unwanted_lies_between() -> None:
    noon = DAY_SECONDS // 2
    assert spans(Mornings(), [3, 4]) == [
        Piece(3 * DAY_SECONDS, 3 * DAY_SECONDS + noon, None),
        Piece(4 * DAY_SECONDS, 4 * DAY_SECONDS + noon, None),
    ]


def test_months_are_counted_from_january_1970() -> None:
    assert [month_of(day) for day in (-1, 0, 30, 31, 365)] == [-1, 0, 0, 1, 12]
