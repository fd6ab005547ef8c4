"""Sums that go on with each event are the sums that are made anew, whatever is recorded between."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from meter.clock import SystemClock
from meter.events import Event
from meter.journal import open_journal
from meter.reports.running_sums import MOST_KEPT, RunningSums
from meter.reports.usage import Question, usage
from support.facts import abandoned, completed, failed, terminated

AUCKLAND = ZoneInfo("Pacific/Auckland")
QUESTIONS = (
    Question(by=("customer",), zone=ZoneInfo("UTC")),
    Question(by=("day", "kind"), zone=ZoneInfo("UTC"), since=date(2026, 11, 2)),
    Question(by=("customer", "month", "model"), zone=AUCKLAND, until=date(2026, 11, 3)),
    Question(by=("kind",), zone=AUCKLAND, customers=frozenset({"a"})),
)
KINDS = (completed, terminated, failed, abandoned)
facts = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from("abc"),
        st.integers(0, 5 * 86_400),
        st.decimals(0, 10_000, places=9),
    ),
    max_size=6,
)


def event(number: int, kind: object, customer: str, after: int, seconds: Decimal) -> Event:
    at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=after)
    billed = {"seconds": seconds} if kind in {completed, terminated} else {}
    made: Event = kind(number, customer_id=customer, occurred_at=at, **billed)  # type: ignore[operator]  # because it is one of four functions
    return made


@settings(max_examples=25)
@given(st.lists(facts, min_size=1, max_size=4))
def test_they_are_what_is_added_up_anew(
    batches: list[list[tuple[object, str, int, Decimal]]],
) -> None:
    number = 0
    with TemporaryDirectory() as folder:
        journal = open_journal(str(Path(folder, "m.db")), SystemClock())
        try:
            sums = RunningSums(journal)
            for batch in batches:
                events = [event(number + n, *given) for n, given in enumerate(batch)]
                number += len(events)
                if events:
                    journal.append(events).wait()
                for question in QUESTIONS:
                    assert sums.usage(question) == usage(journal, question)
                    assert sums.usage(question) == usage(journal, question)
        finally:
            journal.close()


def test_what_somebody_does_with_an_answer_changes_no_other(tmp_path: Path) -> None:
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    try:
        journal.append([completed(1)]).wait()
        sums = RunningSums(journal)
        question = QUESTIONS[0]
        for use in sums.usage(question):
            use.nanos = 0
            use.rated.clear()
        assert sums.usage(question) == usage(journal, question)
    finally:
        journal.close()


def test_few_questions_are_remembered(tmp_path: Path) -> None:
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    try:
        sums = RunningSums(journal)
        for number in range(MOST_KEPT * 2):
            only = frozenset({str(number)})
            sums.usage(Question(by=("kind",), zone=AUCKLAND, customers=only))
        assert len(sums._kept) == MOST_KEPT  # what it holds on to is the promise
    finally:
        journal.close()
