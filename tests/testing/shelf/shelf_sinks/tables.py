"""Sinks that keep rows and checkpoint in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import Field

from meter.errors import RetryableSinkError
from meter.events import Event, format_seconds, format_time
from meter.sinks import Batch, FilePath, Guarantee, Options, Position, Report, Sink, Written

HOSTILE = "test_hostile_text_arrives_as_it_is_or_is_refused"
ROWS = (
    "CREATE TABLE IF NOT EXISTS usage (event_id TEXT PRIMARY KEY, customer_id TEXT, seconds TEXT,"
    " occurred_at TEXT, model TEXT, dimensions TEXT)"
)
PLACE = "CREATE TABLE IF NOT EXISTS place (journal_id TEXT PRIMARY KEY, checkpoint INTEGER)"
SUMS = "CREATE TABLE IF NOT EXISTS sums (customer TEXT PRIMARY KEY, units INTEGER, rest TEXT)"


class TableOptions(Options):
    path: FilePath = Field(description="The database.")


class RightTable(Sink):
    """Rows and checkpoint are one transaction."""

    type = "right-table"
    guarantee = Guarantee.ATOMIC
    guarantee_note = "rows and checkpoint are one transaction"
    Options = TableOptions
    db: sqlite3.Connection

    def open(self) -> Position:
        try:
            self.db = sqlite3.connect(self.options.path, isolation_level=None)
            self.db.execute(ROWS)
            self.db.execute(PLACE)
        except sqlite3.OperationalError as error:
            raise RetryableSinkError(f"{self.options.path}: {error}") from error
        found = self.db.execute("SELECT checkpoint FROM place").fetchone()
        return Position(self.context.journal_id, found[0] if found else 0)

    def deliver(self, batch: Batch) -> Report:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            self.write(batch.events)
            self.move(batch)
            self.db.execute("COMMIT")
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        return Report.everything(batch)

    def write(self, events: Sequence[Event]) -> None:
        rows = [self.row(event) for event in events]
        self.db.executemany("INSERT OR IGNORE INTO usage VALUES (?, ?, ?, ?, ?, ?)", rows)

    def row(self, event: Event) -> tuple[Any, ...]:
        seconds = event.billed_seconds
        return (
            event.event_id,
            event.customer_id,
            None if seconds is None else format_seconds(seconds),
            format_time(event.occurred_at),
            getattr(event, "model", None),
            json.dumps(event.dimensions),
        )

    def move(self, batch: Batch) -> None:
        if batch.purpose == "new":
            place = (self.context.journal_id, batch.checkpoint)
            self.db.execute("REPLACE INTO place VALUES (?, ?)", place)

    def close(self) -> None:
        if hasattr(self, "db"):
            self.db.close()


class RefusesTheWholeBatch(RightTable):
    """Refuses everything that comes together with a text that it does not like."""

    type = "refuses-the-batch"

    def deliver(self, batch: Batch) -> Report:
        if any(not event.customer_id.isalnum() for event in batch.events):
            return Report(rejected={event.event_id: "bad text" for event in batch.events})
        return super().deliver(batch)


class ReadsBackWrong(RightTable):
    """Reads back what it was given by hearsay: each second but one."""

    type = "reads-back-wrong"

    def written(self, since: datetime | None, until: datetime | None) -> list[Written]:
        del since, until
        if not self.options.path.exists():
            return []
        with closing(sqlite3.connect(self.options.path)) as db:
            rows = db.execute("SELECT event_id, customer_id, seconds FROM usage").fetchall()
        return [Written(event_id, who, seconds=Decimal(n) + 1) for event_id, who, n in rows]


class ClosesWhatIsNotThere(RightTable):
    """What its name says."""

    type = "closes-nothing"

    def close(self) -> None:
        self.db.close()


class LeavesItOpen(RightTable):
    """Leaves its transaction open when something goes wrong."""

    type = "leaves-it-open"

    def deliver(self, batch: Batch) -> Report:
        self.db.execute("BEGIN IMMEDIATE")
        self.write(batch.events)
        self.move(batch)
        self.db.execute("COMMIT")
        return Report.everything(batch)


class DropsTheLast(RightTable):
    """What its name says."""

    type = "drops-the-last"

    def write(self, events: Sequence[Event]) -> None:
        super().write(events[:-1] if len(events) > 1 else events)


class CommitsFirst(RightTable):
    """Moves its checkpoint before it writes, and then believes it."""

    type = "commits-first"

    def deliver(self, batch: Batch) -> Report:
        found = self.db.execute("SELECT checkpoint FROM place").fetchone()
        place = found[0] if found and batch.purpose == "new" else 0
        pairs = list(zip(batch.events, batch.offsets, strict=True))
        fresh = [event for event, offset in pairs if offset > place]
        self.move(batch)
        self.write(fresh)
        return Report(
            delivered=[event.event_id for event in fresh],
            duplicate=[event.event_id for event, offset in pairs if offset <= place],
        )


class LosesDecimals(RightTable):
    """What its name says."""

    type = "loses-decimals"

    def row(self, event: Event) -> tuple[Any, ...]:
        event_id, customer_id, seconds, *rest = super().row(event)
        return (event_id, customer_id, seconds and str(float(seconds)), *rest)


class CutsText(RightTable):
    """What its name says."""

    type = "cuts-text"

    def row(self, event: Event) -> tuple[Any, ...]:
        event_id, customer_id, *rest = super().row(event)
        return (event_id, customer_id[:255], *rest)


class TrimsText(RightTable):
    """What its name says."""

    type = "trims-text"

    def row(self, event: Event) -> tuple[Any, ...]:
        event_id, customer_id, *rest = super().row(event)
        return (event_id, customer_id.strip().replace("\x00", ""), *rest)


class OneRowACustomer(RightTable):
    """What its name says."""

    type = "one-row-a-customer"

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            same = (event.customer_id, format_time(event.occurred_at))
            self.db.execute("DELETE FROM usage WHERE customer_id = ? AND occurred_at = ?", same)
            super().write([event])


class InOrderOfTime(RightTable):
    """What its name says."""

    type = "in-order-of-time"

    def write(self, events: Sequence[Event]) -> None:
        (last,) = self.db.execute("SELECT max(occurred_at) FROM usage").fetchone()
        super().write([e for e in events if not last or format_time(e.occurred_at) > last])


class JudgesByTheFirst(RightTable):
    """What its name says."""

    type = "judges-by-the-first"

    def write(self, events: Sequence[Event]) -> None:
        first = (events[0].event_id,)
        if not self.db.execute("SELECT 1 FROM usage WHERE event_id = ?", first).fetchone():
            super().write(events)


class PassesTheUnmentioned(RightTable):
    """Takes everything below its own checkpoint for delivered: retries are lost."""

    type = "passes-the-unmentioned"

    def deliver(self, batch: Batch) -> Report:
        found = self.db.execute("SELECT checkpoint FROM place").fetchone()
        if found and batch.offsets[-1] <= found[0]:
            return Report.everything(batch)
        return super().deliver(batch)


class OpensOnce(RightTable):
    """What its name says."""

    type = "opens-once"

    def open(self) -> Position:
        if self.options.path.exists():
            raise FileExistsError(f"{self.options.path} exists")
        return super().open()


class HalfMade(RightTable):
    """What its name says."""

    type = "half-made"

    def open(self) -> Position:
        new = not self.options.path.exists()
        self.options.path.touch()
        if new:
            return super().open()
        self.db = sqlite3.connect(self.options.path, isolation_level=None)
        found = self.db.execute("SELECT checkpoint FROM place").fetchone()
        return Position(self.context.journal_id, found[0] if found else 0)


class RightSums(RightTable):
    """Keeps sums in whole seconds beside the rows, and what is left of a second."""

    type = "right-sums"

    def open(self) -> Position:
        position = super().open()
        self.db.execute(SUMS)
        return position

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            known = "SELECT 1 FROM usage WHERE event_id = ?"
            if not self.db.execute(known, (event.event_id,)).fetchone():
                super().write([event])
                self.add(event.customer_id, event.billed_seconds or Decimal(0))

    def add(self, customer: str, seconds: Decimal) -> None:
        known = "SELECT units, rest FROM sums WHERE customer = ?"
        units, rest = self.db.execute(known, (customer,)).fetchone() or (0, "0")
        seconds += Decimal(rest)
        row = (customer, units + int(seconds), str(seconds - int(seconds)))
        self.db.execute("REPLACE INTO sums VALUES (?, ?, ?)", row)


class RoundsEach(RightSums):
    """Rounds each event down, and not the sum."""

    type = "rounds-each"

    def add(self, customer: str, seconds: Decimal) -> None:
        super().add(customer, Decimal(int(seconds)))


class TrimsAndSaysSo(RightTable):
    """What it cannot pass, it says: the hostile texts are exempted."""

    type = "exempted"
    exemptions: ClassVar[Mapping[str, str]] = {
        f"{HOSTILE}[hostile_customers]": "this table trims the customers"
    }

    def row(self, event: Event) -> tuple[Any, ...]:
        event_id, customer_id, *rest = super().row(event)
        return (event_id, customer_id.strip(), *rest)


class ExemptedInVain(RightTable):
    """What its name says."""

    type = "exempted-in-vain"
    exemptions: ClassVar[Mapping[str, str]] = {"test_seconds_are_exact": "nobody needs the digits"}


class ExemptedWrongly(RightTable):
    """What its name says."""

    type = "exempted-wrongly"
    exemptions: ClassVar[Mapping[str, str]] = {
        "test_no_such_case": "there is no such case",
        "test_seconds_are_exact": "",
    }
