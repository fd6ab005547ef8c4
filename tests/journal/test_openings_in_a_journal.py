"""A session that was asked of the provider is remembered; a single-use token is used once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from meter.journal import Journal, Opening, Quarantined
from support.facts import NOON, begun

UNTIL = NOON + timedelta(minutes=1)
Opener = Callable[[], Journal]


def opening(**changes: Any) -> Opening:
    given: dict[str, Any] = {
        "collector": "live",
        "customer_id": "acme",
        "dimensions": {"project_id": "p1"},
        "at": NOON,
        **changes,
    }
    return Opening(**given)


def once_only(token: str = "t1", **changes: Any) -> Opening:
    return opening(token_id=token, token_until=UNTIL, **changes)


def add(journal: Journal, asked: Opening) -> int:
    number = journal.sessions.add_opening(asked).wait()
    assert number is not None
    return number


def is_refused(journal: Journal, asked: Opening) -> bool:
    before = journal.sessions.openings(asked.collector)
    refused = journal.sessions.add_opening(asked).wait() is None
    if refused:
        assert journal.sessions.openings(asked.collector) == before
    return refused


def test_a_single_use_token_opens_once_and_survives_a_restart(reopen: Opener) -> None:
    journal = reopen()
    first = add(journal, once_only())
    assert is_refused(journal, once_only())
    second = add(journal, once_only("t2"))
    add(journal, once_only(collector="other"))
    journal.sessions.open(begun("s1", collector="live", opening=first)).wait()
    assert is_refused(journal, once_only()), "its session has begun"
    journal.close()
    again = reopen()
    assert is_refused(again, once_only())
    assert [number for number, _ in again.sessions.openings("live")] == [second]


def test_an_opening_is_remembered_until_its_begin_whatever_becomes_of_that(
    reopen: Opener,
) -> None:
    journal = reopen()
    journal.sessions.open(begun("s1", customer_id="other")).wait()
    numbers = [add(journal, opening(customer_id="Müller")) for _ in range(4)]
    assert len(set(numbers)) == 4, "without a token it may come any number of times"
    journal.close()
    again = reopen()
    assert again.sessions.openings("live") == [
        (number, opening(customer_id="Müller")) for number in numbers
    ]
    for name, number in (("s1", 0), ("s2", 1), ("s2", 2)):  # a conflict, a Begin, a duplicate
        new = begun(name, customer_id="Müller", opening=numbers[number])
        again.sessions.open(new).wait()
    assert [number for number, _ in again.sessions.openings("live")] == numbers[3:]
    assert again.sessions.openings("other") == []


def test_a_dropped_opening_frees_its_token_and_no_other(journal: Journal) -> None:
    number = add(journal, once_only())
    add(journal, once_only("t2"))
    journal.sessions.drop_opening(number).wait()
    journal.sessions.drop_opening(number).wait()
    assert is_refused(journal, once_only("t2"))
    again = add(journal, once_only())
    journal.sessions.drop_opening(number).wait()
    assert is_refused(journal, once_only()), "the first one was dropped, not the second"
    assert again > number


def test_dropping_an_opening_whose_session_has_begun_does_not_free_its_token(
    journal: Journal,
) -> None:
    number = add(journal, once_only())
    journal.sessions.open(begun("s1", opening=number)).wait()
    journal.sessions.drop_opening(number).wait()
    assert is_refused(journal, once_only())


def test_a_token_is_remembered_until_it_expires_and_not_for_longer(
    journal: Journal, tmp_path: Path
) -> None:
    add(journal, once_only())
    assert is_refused(journal, once_only(at=UNTIL))
    add(journal, once_only("t2", at=UNTIL + timedelta(seconds=1)))
    with closing(sqlite3.connect(tmp_path / "meter.db")) as outside:
        assert outside.execute("SELECT token FROM used_tokens").fetchall() == [("live:t2",)]


def test_a_token_that_never_expires_is_never_forgotten(journal: Journal) -> None:
    asked = opening(token_id="t1")
    add(journal, asked)
    assert is_refused(journal, replace(asked, at=NOON + timedelta(days=1)))


def test_an_opening_set_aside_is_shown_in_quarantine_and_its_token_stays_used(
    journal: Journal,
) -> None:
    number = add(journal, once_only())
    add(journal, once_only("t2"))
    item = Quarantined("live", f"opening:{number}", "its Begin was never seen", "{}")
    for _ in range(2):
        journal.sessions.set_opening_aside(number, item).wait()
    assert journal.totals().quarantined == {"live": 1}
    assert len(journal.sessions.openings("live")) == 1
    assert is_refused(journal, once_only())
