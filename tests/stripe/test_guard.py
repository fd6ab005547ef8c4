"""Usage that Stripe has already is noticed before the first usage of a run leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from support.billing import SECONDS, Billing

EVENTS = "/v1/billing/meter_events"


@pytest.fixture
def billing(tmp_path: Path) -> Iterator[Billing]:
    made = Billing(tmp_path)
    yield made
    made.journal.close()


def test_a_journal_restored_from_an_older_copy_bills_nothing_twice(
    billing: Billing, tmp_path: Path
) -> None:
    billing.use(seconds=10, ago=timedelta(minutes=40))
    billing.run()
    billing.journal.close()
    copy = tmp_path / "copy.db"
    shutil.copy(billing.path, copy)
    billing.reopen()
    billing.use(seconds=20, ago=timedelta(minutes=20))
    billing.use("cus_b", seconds=5, ago=timedelta(minutes=20))
    billing.pass_(minutes=5)
    billing.journal.close()
    for name in ("meter.db", "meter.db-wal", "meter.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(copy, billing.path)
    billing.reopen()
    billing._number = 1
    billing.use(seconds=20, ago=timedelta(minutes=25))  # collected anew, with another grouping
    billing.use(seconds=3, ago=timedelta(minutes=2))
    billing.pass_(minutes=3)
    assert billing.parked is not None
    assert "restored from an older copy" in billing.parked
    assert billing.total() == 30


def test_a_meter_that_another_program_feeds_is_noticed_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    billing = Billing(tmp_path)
    billing.run()
    stamp = int(billing.clock.now().timestamp()) // 60 * 60
    foreign = {
        "event_name": SECONDS,
        "timestamp": str(stamp),
        "payload": {"stripe_customer_id": "cus_a", "value": "7"},
    }
    billing.books.add(EVENTS, foreign)
    billing.use(seconds=60)
    billing.run()
    assert billing.parked is not None
    assert billing.total() == 7
    billing.options["guard"] = False
    billing.restart()
    billing.pass_(minutes=2)
    assert billing.total() == 67
