"""The parts that a page is made of: questions asked once, tries, lengths, texts, and days."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter.journal.rollup import NANOS
from meter.server.desk.chart import HEIGHT, chart_of
from meter.server.desk.periods import period_of
from meter.server.desk.reader import MOST_KEPT, MOST_WAITING, Busy, Reader
from meter.server.desk.tries import AT_ONCE, MOST, Tries, network_of
from meter.server.desk.words import MOST_SHOWN, hours, lasting, seconds, shown
from support.clocks import FakeClock

# -- questions --------------------------------------------------------------------------------


def test_a_question_is_asked_once_however_many_ask_it_and_its_answer_stands_a_moment() -> None:
    asked: list[int] = []

    async def scene() -> None:
        clock = FakeClock()
        reader = Reader(clock)
        go = threading.Event()

        def question() -> int:
            go.wait(20)
            asked.append(1)
            return len(asked)

        asking = [asyncio.create_task(reader.ask("key", question)) for _ in range(50)]
        await asyncio.sleep(0)
        go.set()
        assert set(await asyncio.gather(*asking)) == {1}
        assert await reader.ask("key", question) == 1
        clock.advance(seconds=1.1)
        assert await reader.ask("key", question) == 2
        reader.forget()
        assert await reader.ask("key", question) == 3
        reader.close()

    asyncio.run(scene())


def test_an_answer_that_took_long_stands_the_longer() -> None:
    async def scene() -> None:
        clock = FakeClock()
        reader = Reader(clock)
        asked: list[int] = []

        def slow() -> int:
            clock.advance(seconds=2)
            asked.append(1)
            return len(asked)

        assert await reader.ask("key", slow) == 1
        clock.advance(seconds=19)
        assert await reader.ask("key", slow) == 1
        clock.advance(seconds=2)
        assert await reader.ask("key", slow) == 2
        reader.close()

    asyncio.run(scene())


def test_beyond_a_few_questions_at_once_somebody_is_told_to_ask_again() -> None:
    async def scene() -> None:
        reader = Reader(FakeClock())
        go = threading.Event()
        asking = [
            asyncio.create_task(reader.ask(n, lambda: go.wait(20))) for n in range(MOST_WAITING)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await reader.ask("one more", lambda: True)
        go.set()
        assert all(await asyncio.gather(*asking))
        assert await reader.ask("one more", lambda: True)
        reader.close()

    asyncio.run(scene())


def test_an_error_is_told_to_everybody_who_asks_and_is_not_kept() -> None:
    async def scene() -> None:
        reader = Reader(FakeClock())
        asked: list[int] = []

        def question() -> int:
            asked.append(1)
            if len(asked) == 1:
                raise LookupError
            return 7

        answers = await asyncio.gather(
            *(reader.ask("key", question) for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [LookupError] * 3
        assert await reader.ask("key", question) == 7
        reader.close()

    asyncio.run(scene())


def test_few_answers_are_kept() -> None:
    async def scene() -> None:
        reader = Reader(FakeClock())
        for number in range(MOST_KEPT * 3):
            await reader.ask(number, int)
        assert len(reader._kept) == MOST_KEPT  # what it holds on to is the promise
        assert not reader._asked
        reader.close()

    asyncio.run(scene())


# -- tries -----------------------------------------------------------------------------------------


def test_a_few_tries_come_at_once_then_one_every_few_seconds() -> None:
    clock = FakeClock()
    tries = Tries(clock)
    assert [tries.wait("a") for _ in range(AT_ONCE)] == [0] * AT_ONCE
    assert [tries.wait("a") for _ in range(100)] == [5] * 100, "asking in vain costs nothing more"
    clock.advance(seconds=5)
    assert [tries.wait("a") for _ in range(3)] == [0, 5, 5]
    tries.forget("a")
    assert tries.wait("a") == 0


def test_the_tries_of_few_are_remembered_and_those_who_try_last_are() -> None:
    tries = Tries(FakeClock())
    for number in range(MOST * 2):
        tries.wait(str(number))
    assert len(tries._until) == MOST  # what it holds on to is the promise
    assert str(MOST * 2 - 1) in tries._until


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8:1:2::3", "2001:db8:1:ffff::9", True),
        ("2001:db8:1::", "2001:db8:2::", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("unix", "", True),
    ],
)
def test_a_network_is_an_address_or_a_site(one: str, other: str, *, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


# -- lengths, texts and days ------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**16), min_size=1, max_size=31), st.lists(st.integers(0, 10**16)))
def test_no_bar_leaves_the_drawing_and_what_is_not_nothing_is_seen(
    jobs: list[int], streams: list[int]
) -> None:
    days = [date(2026, 11, 1) + timedelta(days=number) for number in range(len(jobs))]
    names = [day.isoformat() for day in days]
    low = dict(zip(names, jobs, strict=True))
    high = dict(zip(names, streams, strict=False))
    chart = chart_of(days, low, high, days[-1])
    for bar in chart.bars:
        assert bar.low + bar.high <= HEIGHT + 4
        assert bool(bar.low) is bool(low[bar.day])
        assert bool(bar.high) is bool(high.get(bar.day))
        assert bar.total == Decimal(low[bar.day] + high.get(bar.day, 0)).scaleb(-9)


@pytest.mark.parametrize(
    ("most", "top", "half"),
    [
        (0, "1 min", "0.5 min"),
        (1, "1 s", "0.5 s"),
        (45, "50 s", "25 s"),
        (3600, "1 h", "0.5 h"),
        (3601, "2 h", "1 h"),
        (21 * 3600, "30 h", "15 h"),
        (4_000_000 * 3600, "4,000,000 h", "2,000,000 h"),
    ],
)
def test_a_scale_ends_at_a_round_figure(most: int, top: str, half: str) -> None:
    day = date(2026, 11, 1)
    chart = chart_of([day], {day.isoformat(): most * NANOS}, {}, day)
    assert (chart.top, chart.half) == (top, half)


@given(st.text(max_size=300))
def test_every_text_is_shown_in_a_line_that_can_be_seen(text: str) -> None:
    line = shown(text)
    assert line.isprintable()
    if len(text) > MOST_SHOWN:
        assert line.endswith(f"… ({len(text)} characters)")
    elif text.isprintable():
        assert line == text


def test_amounts_and_times_are_written_for_people() -> None:
    assert seconds(Decimal("1234567.5")) == "1,234,567.5"
    assert seconds(Decimal("0.000000001")) == "0.000000001"
    assert hours(Decimal(4_500_018)) == "1,250.00"
    spans = {0: "0 s", 59: "59 s", 60: "1 min", 3600: "1 h", 3660: "1 h 1 min", 90000: "1 d 1 h"}
    assert {s: lasting(timedelta(seconds=s)) for s in spans} == spans
    assert lasting(timedelta(seconds=-5)) == "0 s"


def test_a_period_is_thirty_days_or_a_month() -> None:
    today = datetime(2026, 3, 1, tzinfo=UTC).date()
    recent = period_of("", today)
    assert (recent.since, recent.until) == (date(2026, 1, 31), date(2026, 3, 2))
    assert (recent.previous, recent.next, len([*recent.days()])) == ("2026-03", "", 30)
    february = period_of("2026-02", today)
    assert (february.previous, february.next) == ("2026-01", "2026-03")
    assert len([*february.days()]) == 28
    march = period_of("2026-03", today)
    assert (march.next, len([*march.days()])) == ("", 1)
    assert period_of("2026-1", today) == period_of("x", today) == recent
