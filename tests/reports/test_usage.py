"""Sums of usage are exact, in every zone, whatever the rollup has reached."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meter.events import Event
from meter.journal import Journal, open_journal
from meter.reports.calendar import ZoneCalendar, moment_in
from meter.reports.usage import Question, usage, usage_by_customer
from reports.books import Books, kept, within
from support.clocks import FakeClock
from support.facts import abandoned, completed, failed, terminated

# Clocks that change at every odd moment: by half an hour, at midnight, off UTC by 45 minutes,
# and where a whole day was left out.
CHANGES = {
    "UTC": "2026-03-01T00:00:00",
    "Pacific/Auckland": "2026-04-04T14:00:00",
    "America/New_York": "2026-11-01T06:00:00",
    "Australia/Lord_Howe": "2026-10-03T15:30:00",
    "Asia/Kathmandu": "2026-02-28T18:15:00",
    "Pacific/Chatham": "2026-09-26T14:00:00",
    "America/Havana": "2026-11-01T05:00:00",
    "Africa/Cairo": "2026-10-29T21:00:00",
    "America/Sao_Paulo": "2018-11-04T03:00:00",
    "Pacific/Apia": "2011-12-30T10:00:00",
    # The rollup cannot tell: at 00:01 the clocks went back into the month before.
    "America/St_Johns": "2009-11-01T02:31:00",
    # Nor here: off UTC by 44 minutes and 30 seconds.
    "Africa/Monrovia": "1971-05-01T00:44:30",
}
BYS = [
    ("customer",),
    ("month", "customer"),
    ("day",),
    ("kind", "model"),
    ("month", "day"),
    ("dimension.team", "month"),
]


def seconds_of(books: Books) -> Fraction:
    return sum((seconds for _, seconds, _ in books.values()), Fraction(0))


def asked(journal: Journal, by: Sequence[str], zone: str, **more: Any) -> Books:
    rows = usage(journal, Question(by=tuple(by), zone=ZoneInfo(zone), **more))
    assert len({row.group for row in rows}) == len(rows)
    for row in rows:
        assert sum(row.rated.values()) == row.nanos
    return {row.group: (row.events, Fraction(row.nanos, 10**9), row.unbilled) for row in rows}


def answers_of_the_rollup(journal: Journal, zone: str) -> bool:
    return journal.rollup.amounts(ZoneCalendar(ZoneInfo(zone), "month"), lambda s: s) is not None


def draw_event(draw: st.DrawFn, number: int, change: datetime) -> Event:
    # Near the change, near the months around it, or anywhere.
    hours = draw(st.sampled_from([3, 3, 30, 24 * 40]))
    seconds = draw(st.integers(-hours * 3600, hours * 3600))
    at = change + timedelta(seconds=seconds, microseconds=draw(st.sampled_from([0, 0, 999_999])))
    make = draw(st.sampled_from([completed, completed, terminated, failed, abandoned]))
    given: dict[str, Any] = {
        "customer_id": draw(st.sampled_from(["acme", "ünï\x1b", "=x", "a\0b"])),
        "occurred_at": at,
        "dimensions": draw(st.sampled_from([{}, {"team": "a"}, {"team": ""}])),
    }
    if make in (completed, terminated):
        given["seconds"] = draw(st.decimals(0, 10**7, places=9) | st.integers(0, 7200).map(Decimal))
        given["model"] = draw(st.sampled_from([None, "", "best"]))
    if make is completed:
        given["features"] = draw(st.sampled_from([(), ("x",), ("x", "y")]))
    event: Event = make(number, **given)
    return event


@st.composite
def worlds(draw: st.DrawFn) -> tuple[str, list[Event], list[int]]:
    zone = draw(st.sampled_from(sorted(CHANGES)))
    change = datetime.fromisoformat(CHANGES[zone]).replace(tzinfo=UTC)
    events = [draw_event(draw, n, change) for n in range(draw(st.integers(0, 40)))]
    return zone, events, draw(st.lists(st.integers(1, 15), max_size=6))


@settings(max_examples=60, deadline=None)
@given(worlds(), st.data())
def test_every_sum_is_that_of_the_events_wherever_the_rollup_stands(
    world: tuple[str, list[Event], list[int]], data: st.DataObject
) -> None:
    zone, events, steps = world
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(str(Path(folder, "meter.db")), FakeClock())
        try:
            half = len(events) // 2
            if half:
                journal.append(events[:half]).wait()
            for step in steps:
                journal.rollup.catch_up(step)
            if events[half:]:
                journal.append(events[half:]).wait()
            for by in BYS:
                assert asked(journal, by, zone) == kept(events, by, zone), by
            while journal.rollup.catch_up(7):
                pass
            assert journal.rollup.behind() == 0
            for by in BYS:
                assert asked(journal, by, zone) == kept(events, by, zone), by
            base = datetime.fromisoformat(CHANGES[zone]).replace(tzinfo=UTC)
            bounds = st.none() | st.integers(-40, 40).map(
                lambda days: (base + timedelta(days=days)).date()
            )
            moments = st.integers(-10_000, 10_000).map(lambda s: base + timedelta(seconds=s))
            since, until = data.draw(bounds | moments), data.draw(bounds | moments)
            wanted = within(events, zone, since, until)
            for by in (("customer",), ("day",), ("dimension.team",)):
                found = asked(journal, by, zone, since=since, until=until)
                assert found == kept(wanted, by, zone), (by, since, until)
        finally:
            journal.close()


# What a month's clocks show, known from the calendars of those countries: hours.
HOURS = {
    "UTC": {"2026-03": 744, "2026-04": 720, "2026-09": 720, "2026-11": 720},
    # Back on 5 April, forward on 27 September.
    "Pacific/Auckland": {"2026-03": 744, "2026-04": 721, "2026-09": 719, "2026-11": 720},
    # Forward on 8 March, back on 1 November.
    "America/New_York": {"2026-03": 743, "2026-04": 720, "2026-09": 720, "2026-11": 721},
}
DAYS = {
    "Pacific/Auckland": {"2026-04-04": 24, "2026-04-05": 25, "2026-09-27": 23, "2026-09-28": 24},
    "America/New_York": {"2026-03-08": 23, "2026-03-09": 24, "2026-11-01": 25, "2026-11-02": 24},
    "UTC": {"2026-04-05": 24, "2026-09-27": 24, "2026-03-08": 24, "2026-11-01": 24},
}


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A customer that used every second of 2026 and of the days around it."""
    path = tmp_path_factory.mktemp("year") / "meter.db"
    journal = open_journal(str(path), FakeClock())
    start = datetime(2025, 12, 30, tzinfo=UTC)
    events = [
        completed(n, occurred_at=start + timedelta(minutes=30 * n + 14), seconds=Decimal(1800))
        for n in range(368 * 48)
    ]
    journal.append(events).wait()
    while journal.rollup.catch_up(5000):
        pass
    yield journal
    journal.close()


@pytest.mark.parametrize("zone", sorted(HOURS))
def test_months_and_days_have_the_hours_that_their_clocks_show(year: Journal, zone: str) -> None:
    assert answers_of_the_rollup(year, zone)
    months = asked(year, ("month",), zone)
    days = asked(year, ("day",), zone)
    for month, hours in HOURS[zone].items():
        assert months[month,][1] == hours * 3600
        first = date.fromisoformat(f"{month}-01")
        beyond = (first + timedelta(days=31)).replace(day=1)
        alone = asked(year, ("customer",), zone, since=first, until=beyond)
        assert seconds_of(alone) == hours * 3600
    for day, hours in DAYS[zone].items():
        assert days[day,][1] == hours * 3600
    assert seconds_of(months) == seconds_of(days) == 368 * 86_400


@pytest.mark.parametrize("zone", ["America/St_Johns", "Africa/Monrovia"])
def test_a_zone_that_cuts_a_quarter_of_an_hour_is_answered_from_the_events(
    journal: Journal, zone: str
) -> None:
    change = datetime.fromisoformat(CHANGES[zone]).replace(tzinfo=UTC)
    events = [completed(n, occurred_at=change + timedelta(seconds=20 * n)) for n in range(-99, 99)]
    journal.append(events).wait()
    assert not answers_of_the_rollup(journal, zone)
    while journal.rollup.catch_up(50):
        pass
    assert not answers_of_the_rollup(journal, zone)
    assert asked(journal, ("month",), zone) == kept(events, ("month",), zone)
    assert len(asked(journal, ("month",), zone)) == 2


def test_sums_beyond_64_bits_of_nanoseconds_are_exact(journal: Journal) -> None:
    most = Decimal("9999999.999999999")
    events = [completed(n, seconds=most) for n in range(2000)]
    journal.append(events).wait()
    while journal.rollup.catch_up(999):
        pass
    (found,) = usage(journal, Question(by=("customer",), zone=ZoneInfo("UTC")))
    assert found.nanos == 2000 * int(most.scaleb(9)) > 2**63
    assert found.seconds == 2000 * most


def test_the_first_and_the_last_day_of_the_calendar_count(journal: Journal) -> None:
    ends = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
    journal.append([completed(n, occurred_at=at) for n, at in enumerate(ends)]).wait()
    for _ in range(2):
        for zone in ("UTC", "America/New_York", "Pacific/Auckland"):
            for by in (("customer",), ("month",), ("day",), ("dimension.x", "day")):
                assert sum(n for n, _, _ in asked(journal, by, zone).values()) == 2
        journal.rollup.catch_up(9)


def test_rows_come_most_used_first_and_by_time_where_time_leads(journal: Journal) -> None:
    later = datetime(2026, 12, 1, tzinfo=UTC)
    journal.append(
        [
            completed(1, customer_id="small", seconds=Decimal(50)),
            completed(2, customer_id="big", seconds=Decimal(40)),
            completed(3, customer_id="big", seconds=Decimal(41), occurred_at=later),
            failed(4, customer_id="none"),
        ]
    ).wait()

    def groups(*by: str) -> list[tuple[str | None, ...]]:
        return [row.group for row in usage(journal, Question(by=by, zone=ZoneInfo("UTC")))]

    assert groups("customer") == [("big",), ("small",), ("none",)]
    assert groups("customer", "month")[:2] == [("big", "2026-11"), ("big", "2026-12")]
    assert groups("month", "customer") == [
        ("2026-11", "small"),
        ("2026-11", "big"),
        ("2026-11", "none"),
        ("2026-12", "big"),
    ]


def test_filters_leave_only_what_they_name(journal: Journal) -> None:
    journal.append(
        [
            completed(1, model="a"),
            completed(2, model="b", customer_id="x"),
            terminated(3),
            failed(4),
        ]
    ).wait()
    only = {
        "customers": ("x", (1, 0)),
        "kinds": ("stream_terminated", (1, 0)),
        "models": ("a", (1, 0)),
    }
    for step in range(2):
        for by in (("kind",), ("dimension.x",)):
            for name, (value, counts) in only.items():
                found = asked(journal, by, "UTC", **{name: frozenset([value])})
                assert [(n, rest) for n, _, rest in found.values()] == [counts], (step, by, name)
        journal.rollup.catch_up(9)


def test_the_sandbox_report_has_the_same_sums(journal: Journal) -> None:
    journal.append(
        [
            completed(1),
            terminated(2, seconds=Decimal("0.5")),
            failed(3),
            completed(4, customer_id="b"),
        ]
    ).wait()
    first, second = usage_by_customer(journal)
    assert (first.customer_id, first.jobs, first.sessions) == ("acme", 1, 1)
    assert (first.seconds, first.unbilled) == (Decimal("60.5"), 1)
    assert (second.customer_id, second.seconds) == ("b", Decimal(60))


def test_a_local_time_that_clocks_showed_twice_or_never_is_refused() -> None:
    zone = ZoneInfo("America/New_York")
    with pytest.raises(ValueError, match="happened twice in America/New_York"):
        moment_in(zone, "2026-11-01T01:30")
    with pytest.raises(ValueError, match="never happened in America/New_York"):
        moment_in(zone, "2026-03-08T02:30")
    assert moment_in(zone, "2026-11-01T01:30-05:00") == datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
    assert moment_in(zone, "2026-11-01T03:30") == datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
