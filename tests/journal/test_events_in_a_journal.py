from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meter.errors import InvalidEvent
from meter.events import Event
from meter.journal import Journal, Recorded
from support.facts import NOON, completed, failed


def test_an_event_is_recorded_once_for_ever(reopen: Callable[[], Journal]) -> None:
    journal = reopen()
    assert journal.append([completed(1)]).wait() == [Recorded.RECORDED]
    assert journal.append([completed(1)]).wait() == [Recorded.DUPLICATE]
    journal.close()
    again = reopen()
    assert again.append([completed(1, occurred_at=NOON + timedelta(days=1))]).wait() == [
        Recorded.DUPLICATE
    ]
    assert [entry.event for entry in again.read(0, 10)] == [completed(1)]
    assert again.journal_id == journal.journal_id


def test_a_conflict_is_quarantined_and_the_first_one_stands(journal: Journal) -> None:
    journal.append([completed(1)]).wait()
    answers = journal.append(
        [completed(1, customer_id="other"), completed(1, seconds=Decimal(61)), completed(2)]
    ).wait()
    assert answers == [Recorded.CONFLICT, Recorded.CONFLICT, Recorded.RECORDED]
    assert journal.find(completed(1).event_id) == completed(1)
    assert journal.totals().quarantined == {"transcripts": 2}
    journal.append([completed(1, customer_id="other")]).wait()
    assert journal.totals().quarantined == {"transcripts": 2}


def test_a_batch_of_nothing_is_answered(journal: Journal) -> None:
    assert journal.append([]).wait(10) == []


def test_within_one_batch_the_first_of_two_stands(journal: Journal) -> None:
    answers = journal.append(
        [completed(1), completed(1), completed(1, customer_id="other"), completed(2)]
    ).wait()
    assert answers == [
        Recorded.RECORDED,
        Recorded.DUPLICATE,
        Recorded.CONFLICT,
        Recorded.RECORDED,
    ]
    assert journal.totals().events == {"async_completed": 2}


def test_a_failure_and_a_later_success_of_one_job_are_no_conflict(journal: Journal) -> None:
    assert journal.append([failed(1), completed(1)]).wait() == [Recorded.RECORDED] * 2
    assert journal.totals().events == {"async_completed": 1, "async_failed": 1}


def test_offsets_rise_and_are_never_reused(journal: Journal) -> None:
    journal.append([completed(n) for n in range(5)]).wait()
    journal.append([completed(n) for n in range(8)]).wait()
    offsets = [entry.offset for entry in journal.read(0, 100)]
    assert offsets == sorted(set(offsets))
    assert len(offsets) == 8
    assert journal.head() == offsets[-1]
    assert [entry.offset for entry in journal.read(offsets[3], 2)] == offsets[4:6]


def test_a_bad_event_harms_nobody_else_in_its_group(journal: Journal) -> None:
    surrogate = completed("bad", customer_id="\ud800")
    good = journal.append([completed(1)])
    with pytest.raises(InvalidEvent, match="UTF-8"):
        journal.append([surrogate])
    assert good.wait() == [Recorded.RECORDED]


def test_hostile_text_comes_back_as_it_went_in(journal: Journal) -> None:
    texts = [
        "'; DROP TABLE events; --",
        "\x00",
        "🙂" * 500,
        "a\nb\r\n",
        "=1+1",
        " padded ",
        "ＡＣＭＥ",
    ]
    events: list[Event] = [
        completed(f"t{n}", customer_id=text, dimensions={text: text})
        for n, text in enumerate(texts)
    ]
    journal.append(events).wait()
    assert [entry.event for entry in journal.read(0, 100)] == events


async def _many(journal: Journal, producers: int, each: int) -> Counter[Recorded]:
    answers: Counter[Recorded] = Counter()

    async def produce(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(each):
            answers.update(await journal.append([completed(chance.randrange(200))]))

    await asyncio.gather(*(produce(n) for n in range(producers)))
    return answers


def test_many_concurrent_producers_record_each_fact_once(journal: Journal) -> None:
    answers = asyncio.run(_many(journal, 32, 40))
    stored = [entry.event.provider_id for entry in journal.read(0, 10_000)]
    assert len(stored) == len(set(stored)) == answers[Recorded.RECORDED]
    assert answers.total() == 32 * 40
    assert answers[Recorded.CONFLICT] == 0


def test_two_processes_worth_of_writers_share_one_file(reopen: Callable[[], Journal]) -> None:
    journals = [reopen(), reopen()]
    answers: list[list[Recorded]] = []

    def write(journal: Journal) -> None:
        for n in range(100):
            answer = journal.append([completed(n)]).wait()
            answers.append(answer)

    threads = [threading.Thread(target=write, args=(journal,)) for journal in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flat = Counter(answer for some in answers for answer in some)
    assert flat == {Recorded.RECORDED: 100, Recorded.DUPLICATE: 100}
    assert journals[0].totals().events == {"async_completed": 100}


def test_a_listener_hears_of_new_events_and_not_of_duplicates(journal: Journal) -> None:
    heard = threading.Event()
    journal.on_append(heard.set)
    journal.append([completed(1)]).wait()
    assert heard.wait(5)
    heard.clear()
    journal.append([completed(1)]).wait()
    journal.probe().wait()
    assert not heard.is_set()


@settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(batches=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), max_size=12))
def test_the_same_input_in_any_order_and_any_number_of_times_ends_the_same(
    reopen: Callable[[], Journal], batches: list[list[int]]
) -> None:
    journal = reopen()
    known = {entry.event.provider_id for entry in journal.read(0, 1000)}
    for batch in batches:
        journal.append([completed(n, seconds=Decimal(n)) for n in batch]).wait()
    expected = known | {str(n) for batch in batches for n in batch}
    stored = [entry.event for entry in journal.read(0, 1000)]
    assert {event.provider_id for event in stored} == expected
    assert len(stored) == len(expected)
    assert sum(journal.totals().events.values()) == len(expected)
    assert all(event.billed_seconds == Decimal(event.provider_id) for event in stored)
    journal.close()
