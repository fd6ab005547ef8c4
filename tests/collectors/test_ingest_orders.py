"""What is posted in another order ends the same (DESIGN §14.4)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from meter.journal import Journal
from support.clocks import FakeClock
from support.posting import Posting

BEGIN: dict[str, Any] = {
    "customer_id": "acme",
    "dimensions": {"project_id": "p1"},
    "received_at": "2026-11-22T12:00:00Z",
    "message": {"type": "Begin", "id": "s1", "expires_at": 1_795_359_600},
}
END: dict[str, Any] = {
    "session_id": "s1",
    "received_at": "2026-11-22T12:01:02Z",
    "message": {
        "type": "Termination",
        "session_duration_seconds": 61.25,
        "audio_duration_seconds": 60,
    },
}
BEAT: dict[str, Any] = {
    "session_id": "s1",
    "message": {"type": "Heartbeat", "total_duration_ms": 5000},
}


@pytest.fixture
def apps(journal: Journal, clock: FakeClock) -> Iterator[Posting]:
    serving = Posting(journal, clock)
    yield serving
    serving.stop()


ORDERS = list(itertools.permutations([BEGIN, END, BEAT, END]))


@pytest.mark.parametrize("order", ORDERS, ids=range(len(ORDERS)))
def test_the_messages_of_a_session_bill_the_same_in_any_order_of_posts(
    apps: Posting, journal: Journal, order: tuple[dict[str, Any], ...]
) -> None:
    for item in order:
        assert apps.post("/sessions", item).status_code == 200
    (event,) = [entry.event for entry in journal.read(0, 10)]
    assert event.billed_seconds == Decimal("61.25")
    assert (event.customer_id, event.dimensions) == ("acme", {"project_id": "p1"})
    assert event.occurred_at.minute == 1
    session = journal.sessions.find("s1")
    assert session is not None
    assert (session.state, session.seconds) == ("closed", Decimal("61.25"))
    assert journal.totals().quarantined == {}


def test_a_waiting_conflict_or_unusable_end_bills_nothing_when_begin_comes(
    apps: Posting, journal: Journal
) -> None:
    unusable = {**END, "message": {**END["message"], "session_duration_seconds": None}}
    assert apps.statuses("/sessions", unusable) == ["quarantined"]
    assert apps.statuses("/sessions", BEGIN) == ["recorded"]
    assert journal.read(0, 10) == []
    other = {**END, "customer_id": "other"}
    assert apps.statuses("/sessions", other) == ["conflict"]
    assert apps.statuses("/sessions", BEGIN) == ["duplicate"]
    assert journal.read(0, 10) == []
