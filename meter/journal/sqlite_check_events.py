"""Read every event of a SQLite journal: each is what its id says, and the sums are theirs.

The sums are made here from whole events, and not as the rollup makes them, so that neither hides a
fault of the other.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.errors import InvalidEvent
from meter.events import Event, decode_event
from meter.journal import rollup_ranges as ranges
from meter.journal.checked import MOST_EXAMPLES, Checked, Finding, Tell
from meter.journal.rollup import NANOS, QUARTER_SECONDS, Series
from meter.journal.sqlite_prune import pruned_receipts

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["look"]

PAGE: Final = 5_000
_TABLES: Final = {"usage_quarters": "quarter", "usage_days": "day", "usage_months": "month"}
_DERIVED: Final = "it is made again from the events by: meter journal check --repair"

_decode_series: Final = msgspec.json.Decoder(Series).decode


def look(connection: sqlite3.Connection, checked: Checked, tell: Tell) -> None:
    """Read every event once."""
    c = connection
    (total,) = c.execute("SELECT coalesce(sum(n), 0) FROM event_counts").fetchone()
    (mark,) = c.execute("SELECT coalesce(max(offset), 0) FROM usage_mark").fetchone()
    bad: list[str] = []
    wrong = 0
    kinds: Counter[str] = Counter()
    sums = _Sums()
    offset = 0
    found = c.execute("SELECT offset, event_id, body FROM events ORDER BY offset")
    while rows := found.fetchmany(PAGE):
        for offset, event_id, body in rows:
            try:
                event = decode_event(body)
                if event.event_id != event_id:
                    raise InvalidEvent(f"its id is {event.event_id}")
            except InvalidEvent as error:
                wrong += 1
                if len(bad) < MOST_EXAMPLES:
                    bad.append(f"{event_id} at offset {offset}: {error}")
                continue
            kinds[event.kind] += 1
            if offset <= mark:
                sums.add(event)
        checked.looked["events"] = kinds.total() + wrong
        tell("Reading events", kinds.total() + wrong, max(total, kinds.total() + wrong))
    checked.head = offset
    checked.looked.setdefault("events", 0)
    if wrong:
        checked.findings.append(
            Finding(
                "event",
                "events are not what their ids say, or cannot be read",
                "somebody changed them: an event is never written twice",
                "compare with a copy or an export from before, or with the provider; then restore",
                wrong,
                tuple(bad),
            )
        )
    checked.findings += _counts(c, kinds, wrong)
    checked.findings += _offsets(c, offset, mark)
    checked.findings += sums.differences(c)
    checked.findings += _portions(c, mark)


def _counts(connection: sqlite3.Connection, kinds: Counter[str], wrong: int) -> list[Finding]:
    kept = dict(connection.execute("SELECT kind, n FROM event_counts"))
    findings = []
    missing = sum(kept.values()) - kinds.total() - wrong
    if missing > 0:
        findings.append(
            Finding(
                "gap",
                f"events that were recorded are missing: {missing}",
                "somebody deleted them, which meter never does: usage that sinks may have is gone "
                "from here",
                "import an export, or restore a copy, from before; what the provider still lists "
                "comes back with `meter backfill`",
                missing,
            )
        )
    elif missing < 0:
        findings.append(
            Finding(
                "gap",
                f"there are more events than were counted, by {-missing}",
                "somebody added them past meter; balances cannot be right",
                "find out who; keep this file, and restore the newest sound copy",
                -missing,
            )
        )
    elif not wrong and kept != dict(kinds):
        findings.append(
            Finding(
                "counts",
                f"the counts by kind are {kept}, the events are {dict(kinds)}",
                "`meter status` and the metrics show wrong figures",
                _DERIVED,
            )
        )
    outcomes = dict(connection.execute("SELECT outcome, n FROM receipt_counts"))
    settled = dict(
        connection.execute(
            "SELECT outcome, count(*) FROM receipts WHERE state = 'settled' GROUP BY outcome"
        )
    )
    settled = dict(Counter(settled) + Counter(pruned_receipts(connection)))
    if outcomes != settled:
        findings.append(
            Finding(
                "counts",
                f"the counts of receipts are {outcomes}, the receipts are {settled}",
                "`meter status` and the metrics show wrong figures",
                _DERIVED,
            )
        )
    return findings


def _portions(connection: sqlite3.Connection, mark: int) -> list[Finding]:
    """Count the events of each portion of offsets, which are kept so that none is counted twice."""
    wrong: list[str] = []
    before = 0
    for last, events in connection.execute(
        "SELECT last_offset, events FROM event_portions ORDER BY last_offset"
    ):
        (there,) = connection.execute(
            "SELECT count(*) FROM events WHERE offset > ? AND offset <= ?", (before, last)
        ).fetchone()
        if there != events or last > mark:
            wrong.append(f"offsets {before + 1} to {last}: {events} counted, {there} there")
        before = last
    if not wrong:
        return []
    return [
        Finding(
            "rollup",
            "counts of events by offset are not those of the events",
            "`meter status` may show a wrong number of pending events",
            _DERIVED,
            len(wrong),
            tuple(wrong[:MOST_EXAMPLES]),
        )
    ]


def _offsets(connection: sqlite3.Connection, head: int, mark: int) -> list[Finding]:
    """An offset that was never used is no gap: every duplicate leaves one out."""
    (last,) = connection.execute(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'"
    ).fetchone()
    findings = []
    if last < head:
        findings.append(
            Finding(
                "offsets",
                f"the next offset would be {last + 1}, and {head} is in use",
                "an offset would be used twice, and sinks would pass over its event",
                "stop `meter run` and restore a copy; keep this file",
            )
        )
    if mark > head:
        findings.append(
            Finding(
                "rollup",
                f"the sums reach offset {mark}, the events end at {head}",
                "events are gone that `meter usage` still counts",
                "restore a copy, or import an export, from before",
            )
        )
    return findings


class _Sums:
    """Adds events up by what the rollup tells apart.

    The months are kept one by one. Of quarters and days there may be as many as events, so they
    are folded into two numbers a table: each amount times a number that its place stands for.
    Other amounts anywhere give other numbers, except by a chance of 1 in 10^18.
    """

    def __init__(self) -> None:
        self.months: dict[tuple[Any, ...], list[int]] = {}
        self._folded = {"usage_quarters": [0, 0], "usage_days": [0, 0]}

    def add(self, event: Event) -> None:
        quarter = int(event.occurred_at.timestamp() // QUARTER_SECONDS)
        day = quarter // ranges.QUARTERS_A_DAY
        series = (
            event.customer_id,
            event.kind,
            getattr(event, "model", None),
            getattr(event, "features", ()),
        )
        seconds = event.billed_seconds
        nanos = 0 if seconds is None else _nanos(seconds)
        for table, bucket in (("usage_quarters", quarter), ("usage_days", day)):
            self._fold(table, series, bucket, 1, nanos)
        month = (*series, ranges.month_of(day))
        amount = self.months.get(month)
        if amount is None:
            amount = self.months[month] = [0, 0]
        amount[0] += 1
        amount[1] += nanos

    def _fold(
        self, table: str, series: tuple[Any, ...], bucket: int, events: int, nanos: int
    ) -> None:
        place = hash((*series, bucket))
        folded = self._folded[table]
        folded[0] += place * events
        folded[1] += place * nanos

    def differences(self, connection: sqlite3.Connection) -> list[Finding]:
        """Compare with the tables; what is kept there is taken away from what was added up."""
        names = {
            number: tuple(_decode_series(facts))
            for number, facts in connection.execute("SELECT id, facts FROM usage_series")
        }
        wrong: list[str] = []
        for table, word in _TABLES.items():
            rows: Iterable[tuple[int, ...]] = connection.execute(
                f"SELECT bucket, series, events, seconds, nanos FROM {table}"  # noqa: S608  because only a constant of ours is put in
            )
            for bucket, number, events, seconds, nanos in rows:
                series = names.get(number)
                if series is None:
                    wrong.append(f"by {word}: a series that has no name")
                elif table == "usage_months":
                    left = self.months.setdefault((*series, bucket), [0, 0])
                    left[0] -= events
                    left[1] -= seconds * NANOS + nanos
                else:
                    self._fold(table, series, bucket, -events, -(seconds * NANOS + nanos))
            if table != "usage_months" and any(self._folded[table]):
                wrong.append(f"by {word}")
        for (customer, kind, _, _, month), (events, nanos) in self.months.items():
            if events or nanos:
                lacking = Decimal(nanos).scaleb(-9).normalize()
                wrong.append(
                    f"{customer}, {kind}, {1970 + month // 12}-{month % 12 + 1:02}: "
                    f"{events:+} events and {lacking:+f} seconds missing"
                )
        if not wrong:
            return []
        return [
            Finding(
                "rollup",
                "sums of usage are not those of the events",
                "`meter usage` may show wrong figures; the events, and what sinks get, are right",
                _DERIVED,
                len(wrong),
                tuple(wrong[:MOST_EXAMPLES]),
            )
        ]


def _nanos(seconds: Decimal) -> int:
    whole = int(seconds)
    return whole * NANOS + (0 if whole == seconds else int((seconds - whole).scaleb(9)))
