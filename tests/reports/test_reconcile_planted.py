"""Every planted difference is found, and nothing else.

With as many events as it should be able to: `METER_RECONCILE_EVENTS=100000 pytest
tests/reports/test_reconcile_planted.py`.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meter.events import Event, format_time
from meter.journal import NewAct, Quarantined
from meter.reports.reconciling.records import GIVEN_UP
from meter.sandbox.jobs import Job
from reports.reconcile_site import PARQUET, Site, site

EVENTS = int(os.environ.get("METER_RECONCILE_EVENTS", "3000"))
T, S = "assemblyai:transcript:", "assemblyai:session:"
Told = tuple[str, str, str, str]
"""Side, difference, field, and the event's id; of Stripe's, the customer."""


class Planter:
    """Takes events apart, none twice, and knows what has to be found of each."""

    def __init__(self, made: Site) -> None:
        self.made = made
        self.left = {
            kind: [e for e in made.made if e.kind == kind]
            for kind in ("async_completed", "stream_terminated", "async_failed")
        }
        self.expected: set[Told] = set()

    def one(self, kind: str = "async_completed", customer: str | None = None) -> Event:
        """Return an event from the midst that nothing was done to yet."""
        some = self.left[kind]
        fitting = [e for e in some if customer is None or e.customer_id == customer]
        event = fitting[len(fitting) // 2]
        some.remove(event)
        return event

    def expect(self, side: str, what: str, field: str = "", event_id: str = "") -> None:
        self.expected.add((side, what, field, event_id))


# -- AssemblyAI's list --------------------------------------------------------------------------


def plant_at_the_provider(made: Site, planter: Planter) -> None:
    side, at = "transcripts", made.clock.now() - timedelta(hours=35)
    planter.expect(side, "missing_here", "", T + made.job(at, "acme", 77).transcript_id)
    lost = made.job(at, "acme", 0, status="error")
    planter.expect(side, "missing_here", "", f"{T}{lost.transcript_id}:failed")
    deleted = made.job(at, "acme", 78)
    deleted.deleted = True
    planter.expect(side, "missing_here", "", T + deleted.transcript_id)
    unknown = planter.one()
    job = made.store._jobs.pop(unknown.provider_id)
    mine = made.store._by_key[job.key]
    mine.remove(job)
    for number, each in enumerate(mine):
        each.number = number
    planter.expect(side, "missing_there", "", unknown.event_id)
    failed_there = planter.one()
    made.store._jobs[failed_there.provider_id].status = "error"
    planter.expect(side, "differs", "status", failed_there.event_id)
    billed_there = planter.one("async_failed")
    job = made.store._jobs[billed_there.provider_id]
    job.status = "completed"
    planter.expect(side, "differs", "status", billed_there.event_id)
    # What only looks like a difference:
    made.job(at, "acme", 79, hook="https://other.example/elsewhere?customer_id=")  # another's
    made.job(at, "acme", 80, status=None)  # not done
    made.job(made.clock.now() - timedelta(minutes=1), "acme", 81)  # its webhook is on its way
    aside(made, made.job(at, "acme", 82), "waits")
    aside(made, made.job(at, "acme", 83), "given up")
    (entry, *_) = made.journal.aside.entries(limit=9)
    made.journal.aside.discard(entry.id, made.clock.now(), NewAct("dana@desk", "a test")).wait()


def aside(made: Site, job: Job, key: str) -> None:
    """Put a job in quarantine."""
    item = Quarantined("transcripts", key, "no customer", "{}", provider_id=job.transcript_id)
    made.journal.quarantine([item]).wait()


# -- what AssemblyAI's own tool prints ----------------------------------------------------------


def plant_in_the_usage(made: Site, planter: Planter, path: Path) -> None:
    side = path.name
    document = json.loads(path.read_text())
    rows = document["sessions"]
    by_id = {row.get("session_id") or row["transcript_id"]: row for row in rows}
    gone = planter.one("stream_terminated")
    rows.remove(by_id[gone.provider_id])
    planter.expect(side, "missing_there", "", gone.event_id)
    new = dict(by_id[planter.one("stream_terminated").provider_id], session_id="s-unheard-of")
    rows.append(new)
    planter.expect(side, "missing_here", "", f"{S}s-unheard-of")
    longer = planter.one("stream_terminated")
    by_id[longer.provider_id]["session_duration_sec"] += 0.001
    planter.expect(side, "differs", "seconds", longer.event_id)
    shorter = planter.one()
    by_id[shorter.provider_id]["session_duration_sec"] -= 1
    planter.expect(side, "differs", "seconds", shorter.event_id)
    other = planter.one()
    by_id[other.provider_id]["metadata"]["customer_id"] = f"{other.customer_id} "
    planter.expect(side, "differs", "customer", other.event_id)
    doubled = planter.one()
    rows.append(dict(by_id[doubled.provider_id]))
    planter.expect(side, "twice", "", doubled.event_id)
    unread = planter.one("stream_terminated")
    by_id[unread.provider_id]["session_duration_sec"] = "a minute"
    planter.expect(side, "unreadable", "", unread.event_id)
    at = made.clock.now() - timedelta(hours=35)
    left = made.abandoned("s-abandoned", at, "acme")
    made.record([left])
    row = {"session_id": "s-abandoned", "created_at": at.isoformat(), "session_duration_sec": 9}
    rows.append(row)
    planter.expect(side, "differs", "status", left.event_id)
    path.write_text(json.dumps(document))


# -- the sinks ----------------------------------------------------------------------------------


def plant_in_sqlite(made: Site, planter: Planter) -> None:
    side = "ledger"
    with closing(sqlite3.connect(made.folder / "usage.db", isolation_level=None)) as db:

        def change(event: Event, words: str) -> None:
            done = db.execute(f"UPDATE usage SET {words} WHERE event_id = ?", (event.event_id,))
            assert done.rowcount == 1

        gone = planter.one()
        db.execute("DELETE FROM usage WHERE event_id = ?", (gone.event_id,))
        planter.expect(side, "missing_there", "", gone.event_id)
        db.execute(
            "INSERT INTO usage SELECT event_id || '-x', kind, customer_id, seconds, microseconds,"
            " provider_id, collector, occurred_at, recorded_at, model, audio_seconds, dimensions"
            " FROM usage WHERE event_id = ?",
            (planter.left["async_completed"][0].event_id,),
        )
        extra = f"{planter.left['async_completed'][0].event_id}-x"
        planter.expect(side, "missing_here", "", extra)
        longer = planter.one("stream_terminated")
        change(longer, "seconds = '7.25', microseconds = 7250000")
        planter.expect(side, "differs", "seconds", longer.event_id)
        other = planter.one()
        change(other, "customer_id = 'Acme'")
        planter.expect(side, "differs", "customer", other.event_id)
        later = planter.one()
        change(later, "occurred_at = 'yesterday'")
        planter.expect(side, "unreadable", "", later.event_id)
        other_kind = planter.one()
        change(other_kind, "kind = 'stream_terminated'")
        planter.expect(side, "differs", "kind", other_kind.event_id)
        unread = planter.one()
        change(unread, "microseconds = microseconds + 1")
        planter.expect(side, "unreadable", "", unread.event_id)
        filtered = planter.one("async_failed")
        db.execute(
            "INSERT INTO usage (event_id, kind, customer_id, occurred_at) VALUES (?, ?, ?, ?)",
            (
                *(filtered.event_id, filtered.kind, filtered.customer_id),
                format_time(filtered.occurred_at),
            ),
        )
        planter.expect(side, "not_delivered", "", filtered.event_id)
        # A row that is offered again was there once, and need not be:
        again = planter.one()
        db.execute("DELETE FROM usage WHERE event_id = ?", (again.event_id,))
        reasons = {again.event_id: "a test asks for it"}
        made.journal.exceptions.recall(side, reasons, made.clock.now()).wait()


def plant_in_csv(made: Site, planter: Planter) -> None:
    side = "export"
    changes: dict[str, Callable[[list[str]], Iterable[list[str]]]] = {}

    def cell(number: int, value: str) -> Callable[[list[str]], list[list[str]]]:
        return lambda row: [[*row[:number], value, *row[number + 1 :]]]

    def same(row: list[str]) -> list[list[str]]:
        return [row]

    def plant(
        what: str, field: str, change: Callable[[list[str]], Any], customer: str | None = None
    ) -> None:
        event = planter.one(customer=customer)
        changes[event.event_id] = change
        planter.expect(side, what, field, event.event_id)

    plant("missing_there", "", lambda _: [])
    plant("twice", "", lambda row: [row, row])
    plant("differs", "seconds", cell(3, "1.000000001"))
    plant("differs", "customer", cell(2, "'=SUM(A2)"), "=SUM(A1)")  # guarded, and another
    plant("differs", "customer", cell(2, "'=quotes"), "'=quoted")
    plant("unreadable", "", cell(3, "sixty"))
    plant("unreadable", "", lambda row: [row[:5]])
    plant("differs", "time", cell(6, "2026-11-21T00:00:00.000001Z"))
    for path in (made.folder / "exports").glob("*.csv"):
        with path.open(newline="") as file:
            rows = [new for row in csv.reader(file) for new in changes.pop(row[0], same)(row)]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    assert not changes


def plant_in_parquet(made: Site, planter: Planter) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]  # because it has no types
    from pyarrow import parquet

    longer, gone = planter.one(), planter.one("stream_terminated")
    for path in (made.folder / "lake").glob("month=*/*.parquet"):
        table = parquet.read_table(path, partitioning=None)
        rows = [row for row in table.to_pylist() if row["event_id"] != gone.event_id]
        for row in rows:
            if row["event_id"] == longer.event_id:
                row["seconds"] += 1
        parquet.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    planter.expect("lake", "differs", "seconds", longer.event_id)
    planter.expect("lake", "missing_there", "", gone.event_id)


def plant_at_stripe(made: Site, planter: Planter) -> None:
    sent = [e for e in made.stripe.truth().events if e.customer == "acme"]
    lost = next(e for e in sent if e.event_name == "transcription")
    made.stripe.books.add(
        "/v1/billing/meter_event_adjustments",
        {
            "event_name": lost.event_name,
            "type": "cancel",
            "cancel": {"identifier": lost.identifier},
        },
    )
    planter.expect("billing", "differs", f"transcription {lost.timestamp.date()} UTC", "acme")
    at = made.clock.now() - timedelta(hours=33, minutes=7)
    made.stripe.books.add(
        "/v1/billing/meter_events",
        {
            "event_name": "streaming",
            "identifier": "somebody-elses",
            "payload": {"stripe_customer_id": "globex", "value": "5"},
            "timestamp": int(at.timestamp()),
        },
    )
    planter.expect("billing", "differs", f"streaming {at.date()} UTC", "globex")


@pytest.mark.timeout(600)
def test_every_planted_difference_is_found_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with site(tmp_path) as made:
        made.fill(EVENTS)
        made.deliver()
        usage = made.usage(made.made)
        made.clock.advance(hours=2)
        clean = made.reconcile(usage)
        assert clean.told == set()
        assert {s.state for s in clean.sides.values()} == {"compared"}
        planter = Planter(made)
        plant_at_the_provider(made, planter)
        plant_in_the_usage(made, planter, usage)
        plant_in_sqlite(made, planter)
        plant_in_csv(made, planter)
        if PARQUET:
            plant_in_parquet(made, planter)
        plant_at_stripe(made, planter)
        made.record([made.session("s-pending", made.clock.now(), "acme", Decimal(5))])
        found = made.reconcile(usage)
    billing = {
        (d.side, d.what, d.field, d.customer_id) for d in found.differences if d.side == "billing"
    }
    assert {t for t in found.told if t[0] != "billing"} | billing == planter.expected
    assert len(planter.expected) > 20
    assert found.sides["ledger"].in_flight == {"pending": 2, "retrying": 1}
    assert found.sides["export"].in_flight == {"pending": 2}
    assert found.sides["transcripts"].in_flight == {
        "unfinished at AssemblyAI": 1,
        "its webhook is under way": 1,
        "in quarantine": 1,
    }
    assert found.sides["transcripts"].left_out == {"jobs of others": 1, GIVEN_UP: 1}
