"""Look at every sink of a SQLite journal: each event has one place, and deliveries tell which."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from meter.journal import offsets
from meter.journal.checked import Checked, Finding, Tell

__all__ = ["look"]

PAGE: Final = 50_000
_STATES: Final = frozenset({"retrying", "held", "dead", "discarded", "delivered"})
_RESTORE: Final = (
    "keep this file; put the newest sound copy in its place, or import an export into an empty "
    "journal and let the sink fill a new destination"
)


def look(connection: sqlite3.Connection, checked: Checked, tell: Tell) -> None:
    """Count every place of every sink anew, from what was delivered and filtered."""
    sinks = connection.execute(
        "SELECT name, checkpoint, delivered, filtered FROM sinks ORDER BY name"
    ).fetchall()
    checked.looked["sinks"] = len(sinks)
    counts = [_Counted(connection, name, checkpoint) for name, checkpoint, _, _ in sinks]
    done, last = 0, 0
    while sinks:
        page = [
            offset
            for (offset,) in connection.execute(
                "SELECT offset FROM events WHERE offset > ? ORDER BY offset LIMIT ?", (last, PAGE)
            )
        ]
        if not page:
            break
        for count in counts:
            count.take(page)
        last, done = page[-1], done + len(page)
        tell("Counting deliveries", done, max(done, checked.looked.get("events", 0)))
    for (name, checkpoint, delivered, filtered), count in zip(sinks, counts, strict=True):
        found = [*count.findings(delivered, filtered)]
        if (delta := count.misfiled(delivered, filtered)) is not None:
            checked.misfiled[name] = delta
        if checkpoint > checked.head:
            found.append(
                Finding(
                    "checkpoint",
                    f"{name} has come to offset {checkpoint}, the events end at {checked.head}",
                    "events that it was given are gone, and it will pass over new ones that get "
                    "their offsets",
                    "stop `meter run`; restore a copy, or import an export, from before",
                )
            )
        checked.findings += found


class _Counted:
    """One sink's events, counted page by page in the order of offsets."""

    def __init__(self, connection: sqlite3.Connection, name: str, checkpoint: int) -> None:
        self.name = name
        self._checkpoint = checkpoint
        self._given = _Ranges(_given(connection, name))
        self._left_out = _Ranges(_left_out(connection, name))
        self.below = self.pending = 0
        # Counted by state: the rows below, above, and without an event.
        rows = connection.execute(
            "SELECT state, count(*), total(offset > ?2) FROM exceptions WHERE sink = ?1"
            " GROUP BY state",
            (name, checkpoint),
        ).fetchall()
        self._states = {state: int(n) for state, n, _ in rows}
        self._above = sum(int(above) for _, _, above in rows)

    def take(self, page: list[int]) -> None:
        """Count a page of offsets."""
        below = bisect_right(page, self._checkpoint)
        self.below += below
        self.pending += len(page) - below
        self._given.count(page[:below])
        self._left_out.count(page[:below])

    @property
    def _aside(self) -> int:
        return sum(n for state, n in self._states.items() if state != "delivered")

    def misfiled(self, delivered: int, filtered: int) -> int | None:
        """Return how many that are counted as delivered were filtered.

        None where the sum does not hold, or deliveries are missing: then nobody can tell.
        """
        delta = self._left_out.counted - filtered
        holds = delivered + filtered + self._aside == self.below == self._given.counted
        return delta if delta and holds else None

    def findings(self, delivered: int, filtered: int) -> Iterator[Finding]:
        """Compare with what the sink's own counters say."""
        aside = self._aside
        if self._left_out.counted != filtered:
            sums_up = self.misfiled(delivered, filtered) is not None
            yield Finding(
                "counts" if sums_up else "balance",
                f"{self.name} counts {filtered} filtered, its deliveries tell of "
                f"{self._left_out.counted}",
                "`meter status` shows wrong figures; what the sink has is not in doubt",
                "they are counted again by: meter journal check --repair" if sums_up else _RESTORE,
            )
        if delivered + filtered + aside != self.below:
            yield Finding(
                "balance",
                f"{self.name} does not balance: {self.below} events up to its checkpoint; "
                f"{delivered} delivered + {filtered} filtered + {aside} set aside = "
                f"{delivered + filtered + aside}",
                "some events have no place or two; it may have been given too much or too little",
                f"compare with what it has: meter reconcile; {_RESTORE}",
                abs(delivered + filtered + aside - self.below),
            )
        if (unknown := self.below - self._given.counted) > 0:
            yield Finding(
                "gap",
                f"{self.name} is past {unknown} events that no delivery speaks of",
                "it was never given them, and never will be",
                f"compare with what it has: meter reconcile; give them again: meter replay --sink "
                f"{self.name}",
                unknown,
                self._given.gaps(),
            )
        if self._above:
            yield Finding(
                "orphan",
                f"{self.name} has {self._above} events set aside beyond its checkpoint",
                "they would be given to it twice",
                _RESTORE,
                self._above,
            )
        strange = {state: n for state, n in self._states.items() if state not in _STATES}
        if strange:
            yield Finding(
                "orphan",
                f"{self.name} has events set aside in a state that meter does not know",
                "nothing will ever free them",
                _RESTORE,
                sum(strange.values()),
                tuple(f"{n} {state}" for state, n in strange.items()),
            )


class _Ranges:
    """Counts how many offsets lie within ranges that come in order."""

    def __init__(self, ranges: Iterator[range]) -> None:
        self._ranges = ranges
        self._now = next(ranges, None)
        self.counted = 0
        self._gaps: list[str] = []

    def count(self, page: list[int]) -> None:
        at = 0
        while page and self._now is not None and self._now.start <= page[-1]:
            first = bisect_left(page, self._now.start, at)
            self._gap(page, at, first)
            at = bisect_left(page, self._now.stop, first)
            self.counted += at - first
            if self._now.stop > page[-1] + 1:
                return
            self._now = next(self._ranges, None)
        self._gap(page, at, len(page))

    def _gap(self, page: list[int], first: int, beyond: int) -> None:
        if first < beyond and len(self._gaps) < 3:  # noqa: PLR2004  because a few examples are enough
            self._gaps.append(f"offsets {page[first]} to {page[beyond - 1]}")

    def gaps(self) -> tuple[str, ...]:
        """Return the first few that lay within none."""
        return tuple(self._gaps)


def _given(connection: sqlite3.Connection, name: str) -> Iterator[range]:
    """Yield what each delivery of what was new passed, in order, without overlaps."""
    end = 0
    for first, last in connection.execute(
        "SELECT first_offset, last_offset FROM deliveries WHERE sink = ?"
        " AND purpose IN ('start', 'new') ORDER BY first_offset",
        (name,),
    ):
        if last > end:
            yield range(max(first, end + 1), last + 1)
            end = last


def _left_out(connection: sqlite3.Connection, name: str) -> Iterator[range]:
    for (packed,) in connection.execute(
        "SELECT filtered FROM deliveries WHERE sink = ? AND filtered IS NOT NULL"
        " ORDER BY first_offset",
        (name,),
    ):
        yield from offsets.unpack(packed)
