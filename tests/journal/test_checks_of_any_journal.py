"""Whatever meter itself does to a journal, in any order, the check finds nothing wrong with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from meter.journal import Journal, NewAct, NewReceipt, Recorded, open_journal
from meter.journal.sqlite_check import check_journal
from meter.journal.sqlite_prune import prune
from support.clocks import FakeClock
from support.facts import abandoned, begun, completed, failed, terminated
from support.settling import Sinks

ACT = NewAct("ann@host", "why not")
STEPS = 60


class Life:
    """A journal that lives through steps drawn at random."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.clock = FakeClock()
        self.journal: Journal = open_journal(str(path), self.clock)
        self.sinks = Sinks(self.journal, self.clock)
        self.chance = Random(seed)

    def step(self) -> None:
        self.clock.advance(minutes=self.chance.randrange(600))
        steps = (
            *[self.record] * 4,
            *[self.deliver] * 4,
            self.retry,
            self.recall,
            self.redrive,
            self.rewind,
            self.receive,
            self.stream,
            self.follow,
            self.let_go,
        )
        self.chance.choice(steps)()

    def record(self) -> None:
        events = []
        for _ in range(self.chance.randrange(12)):
            number = self.chance.randrange(200)
            make = self.chance.choice([completed, completed, failed, terminated])
            facts = {"customer_id": f"c{self.chance.randrange(4)}"}
            if self.chance.random() < 0.9:
                facts["customer_id"] = f"c{number % 4}"
            at = self.clock.now() - timedelta(days=self.chance.randrange(60))
            events.append(make(number, **facts, occurred_at=at))
        if events:
            self.journal.append(events).wait()

    def deliver(self) -> None:
        name = self.chance.choice(["a", "b", "late"])
        if self.journal.exceptions.sink(name) is None:
            self.sinks.register(name, skip=name == "late")
        row = self.journal.exceptions.sink(name)
        assert row is not None
        batch = [e.offset for e in self.journal.read(row.checkpoint, self.chance.randrange(1, 9))]
        if batch:
            self.sinks.settle(name, checkpoint=batch[-1], **self.outcome(batch))

    def outcome(self, batch: list[int]) -> dict[str, object]:
        found: dict[str, object] = {"delivered": [], "filtered": []}
        found |= {"held": {}, "retrying": {}, "later": {}, "rejected": {}}
        for offset in batch:
            place = self.chance.choice(["delivered"] * 4 + ["filtered"] * 2 + [*found][2:])
            self._put(found, place, offset)
        return found

    def _put(self, found: dict[str, object], place: str, offset: int) -> None:
        there = found[place]
        if isinstance(there, list):
            there.append(offset)
        elif isinstance(there, dict):
            later = place in ("retrying", "later")
            there[offset] = self.sinks.later(hours=1) if later else "because"

    def retry(self) -> None:
        for name in ("a", "b", "late"):
            due = self.sinks.due(name)[:4]
            found: dict[str, object] = {"delivered": [], "held": {}, "retrying": {}, "rejected": {}}
            for offset in due:
                self._put(found, self.chance.choice([*found]), offset)
            if due:
                self.sinks.settle(name, "retry", **found)

    def recall(self) -> None:
        events = self.journal.read(self.chance.randrange(100), 3)
        name = self.chance.choice(["a", "b"])
        if self.chance.random() < 0.5:
            ids = {e.event.event_id: "not there" for e in events}
            self.journal.exceptions.recall(name, ids, self.clock.now()).wait()
        else:
            offsets = [e.offset for e in events]
            self.journal.exceptions.replay(name, offsets, self.clock.now(), ACT).wait()

    def redrive(self) -> None:
        dead = self.journal.exceptions.rows(states=["dead", "discarded"], limit=5)
        for row in dead:
            given = (row.sink, [row.offset], self.clock.now(), ACT)
            if self.chance.random() < 0.5:
                self.journal.exceptions.discard(*given).wait()
            else:
                self.journal.exceptions.redrive(*given).wait()

    def rewind(self) -> None:
        row = self.journal.exceptions.sink(name := self.chance.choice(["a", "b"]))
        if row is not None and row.checkpoint:
            self.journal.rewind_sink(name, self.chance.randrange(row.checkpoint)).wait()

    def receive(self) -> None:
        number = self.chance.randrange(100)
        receipt = NewReceipt("w", self.clock.now(), f"{number}", f'{{"transcript_id":"{number}"}}')
        self.journal.add_receipt(receipt).wait()
        for open_ in self.journal.due_receipts("w", self.clock.now(), skip=(), limit=2):
            if self.chance.random() < 0.5:
                event = completed(number, customer_id=f"c{number % 4}", seconds=Decimal("0.5"))
                self.journal.settle_receipt(open_.id, "", event=event).wait()
            else:
                self.journal.settle_receipt(open_.id, "redacted audio").wait()

    def stream(self) -> None:
        name = f"s{self.chance.randrange(30)}"
        customer = {"customer_id": f"c{self.chance.randrange(2)}"}
        what = self.chance.randrange(3)
        if what == 0:
            self.journal.sessions.open(begun(name, **customer)).wait()
        elif what == 1:
            self.journal.append([terminated(name, **customer)]).wait()
        elif self.journal.sessions.abandon(abandoned(name, **customer)).wait() is not None:
            again = self.journal.append([abandoned(name, **customer)]).wait()
            assert again == [Recorded.DUPLICATE]

    def follow(self) -> None:
        self.journal.rollup.catch_up(self.chance.randrange(1, 40))

    def let_go(self) -> None:
        before = self.clock.now() - timedelta(days=2)
        prune(str(self.path), before, self.clock.now(), ACT, lambda _rows: None)


@contextmanager
def living(seed: int) -> Iterator[Life]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "meter.db")
        life = Life(path, seed)
        path.chmod(0o600)
        try:
            yield life
        finally:
            life.journal.close()


@pytest.mark.parametrize("seed", range(12))
def test_the_check_finds_nothing_in_what_meter_does(seed: int) -> None:
    with living(seed) as life:
        for _ in range(STEPS):
            life.step()
        checked = check_journal(str(life.path), lambda _what, _done, _total: None)
        assert checked.findings == []
        assert all(balance.balances for balance in life.journal.totals().balances)
