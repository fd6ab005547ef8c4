"""A journal with something of everything in it, and one thing a sink for each place."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from meter.journal import Journal, NewAct, NewReceipt, Quarantined, Watched, open_journal
from support.clocks import FakeClock
from support.facts import NOON, abandoned, begun, completed, failed, terminated
from support.settling import Sinks

EVENTS = [
    *(
        completed(
            n,
            customer_id=f"customer-{n % 3}",
            occurred_at=NOON + timedelta(hours=7 * n),
            seconds=Decimal(n) + Decimal("0.000000001"),
            model=f"model-{n % 2}",
            features=("speaker_labels",) if n % 2 else (),
            dimensions={"project_id": "ü\n"},
        )
        for n in range(1, 13)
    ),
    failed("f", customer_id="customer-1"),
]


def fill(journal: Journal, clock: FakeClock) -> None:
    """Put something of everything into an empty journal."""
    journal.append(EVENTS[:6]).wait()
    journal.append([*EVENTS[:3], completed(1, customer_id="another")]).wait()
    journal.append(EVENTS[6:]).wait()
    _receipts(journal, clock)
    _sessions(journal)
    journal.watch("transcripts", [Watched("late", "unfinished", NOON)], ()).wait()
    journal.set_cursor("transcripts", '{"began":"2026-11-22T12:00:00+00:00","ours":[]}').wait()
    _sinks(journal, clock)
    journal.rollup.catch_up(1000)
    journal.append([completed("beyond the sums", customer_id="customer-1")]).wait()


def _receipts(journal: Journal, clock: FakeClock) -> None:
    for number in range(4):
        query = f"customer_id=customer-{number}"
        fields = f'{{"transcript_id":"r{number}","status":"completed"}}'
        journal.add_receipt(NewReceipt("transcripts", clock.now(), query, fields)).wait()
        clock.advance(seconds=1)
    due = journal.due_receipts("transcripts", clock.now(), skip=(), limit=10)
    event = completed("r0", customer_id="customer-0")
    journal.settle_receipt(due[0].id, "", event=event).wait()
    failure = failed("r1", customer_id="customer-1")
    journal.append([failure]).wait()
    about = failure.event_id.removesuffix(":failed")
    journal.settle_receipt(due[1].id, "duplicate", about=about).wait()
    item = Quarantined("transcripts", "transcript:r2:", "no customer_id", '{"a":"ü"}', "r2")
    journal.settle_receipt(due[2].id, "quarantined", quarantined=item).wait()
    journal.retry_receipt(due[3].id, "AssemblyAI answered 500", clock.now()).wait()
    line = Quarantined("transcripts", "line:1", "line 1: not JSON", '{"line":1}')
    journal.quarantine([line]).wait()
    (entry,) = journal.aside.entries(why="line 1", limit=1)
    journal.aside.discard(entry.id, clock.now(), NewAct("ann@host", "a test")).wait()


def _sessions(journal: Journal) -> None:
    for name in ("closed", "abandoned", "open", "aside"):
        journal.sessions.open(begun(name, dimensions={"order_id": "é"}, model="m")).wait()
    journal.append([terminated("closed", seconds=Decimal("61.5"))]).wait()
    journal.sessions.abandon(abandoned("abandoned")).wait()
    journal.sessions.lengthen([("open", Decimal("12.25"))]).wait()
    item = Quarantined("apps", "session:aside", "no figure", '{"said":{}}', "aside")
    journal.sessions.set_aside("aside", item).wait()


def _sinks(journal: Journal, clock: FakeClock) -> None:
    sinks = Sinks(journal, clock)
    offsets = [entry.offset for entry in journal.read(0, 1000)]
    for name in ("out", "other"):
        sinks.register(name)
    sinks.register("later", skip=True)
    a, b, c, d, e, f, *rest = offsets
    sinks.settle(
        checkpoint=f,
        delivered=[a],
        filtered=[b],
        held={c: "no customer"},
        retrying={d: sinks.later(hours=1)},
        later={e: sinks.later(hours=1)},
        rejected={f: "refused"},
    )
    sinks.settle(checkpoint=rest[-2], delivered=rest[:3], filtered=rest[3:-1])
    sinks.settle(purpose="retry", delivered=[d])
    sinks.recall(1)
    sinks.settle("other", checkpoint=c, filtered=[a, b, c])
    dead = [row.offset for row in journal.exceptions.rows(sinks=["out"], states=["dead"])]
    journal.exceptions.discard("out", dead, clock.now(), NewAct("ann@host", "too old")).wait()


def make(path: Path) -> None:
    """Make such a journal."""
    clock = FakeClock()
    journal = open_journal(str(path), clock)
    fill(journal, clock)
    journal.close()
