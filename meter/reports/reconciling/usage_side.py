"""A usage file of AssemblyAI's, against the journal: row by row, or its sums by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meter.events import event_id_for
from meter.reports.reconciling.journal_side import entry_of
from meter.reports.reconciling.records import (
    GIVEN_UP,
    Difference,
    Entry,
    Window,
    exact,
    micros,
    moment_of,
)
from meter.reports.reconciling.scratch import merged
from meter.reports.reconciling.usage_rows import rows_of

if TYPE_CHECKING:
    from meter.journal import Journal
    from meter.reports.reconciling.records import Side, Tell, What
    from meter.reports.reconciling.scratch import Pile, Scratch
    from meter.reports.reconciling.usage_mapping import UsageMapping
    from meter.reports.reconciling.usage_rows import UsageRow

__all__ = ["UsageFile"]

_DAY: Final = timedelta(days=1)
_NOUNS: Final = {"async_completed": "transcript", "stream_terminated": "session"}
_NOT_BILLED: Final = {
    "async_failed": "failed, not billed",
    "stream_abandoned": "abandoned, no figure",
}


class _Row(NamedTuple):
    id: str
    number: int
    kind: str | None
    customer_id: str | None
    seconds: str | None
    at: int | None
    fault: str


class _Sum(NamedTuple):
    """What sums are told apart by; None where the file does not tell."""

    day: datetime
    kind: str | None
    customer_id: str | None


class UsageFile:
    """Compares one file with the journal."""

    def __init__(
        self,
        scratch: Scratch,
        journal: Journal,
        side: Side,
        path: Path,
        mapping: UsageMapping,
        *,
        window: Window,
        tell: Tell,
    ) -> None:
        """Stand ready; `compare` reads.

        Args:
            scratch: where rows are laid out, and differences noted.
            journal: asked again for what differs.
            side: is told what was found.
            path: the file.
            mapping: which field says what.
            window: which time.
            tell: told how far it is.
        """
        self._scratch = scratch
        self._journal = journal
        self._side = side
        self._path = path
        self._mapping = mapping
        self._window = window
        self._tell = tell
        self._rows: Pile[_Row] = scratch.pile(_Row._make, len(_Row._fields))
        self._sums: defaultdict[_Sum, Decimal] = defaultdict(Decimal)
        self._span: list[datetime] = []
        self._kinds: set[str] = set()
        self._by_day: bool | None = None

    def compare(self, entries: Pile[Entry]) -> None:
        """Read the file and judge what differs.

        Args:
            entries: the journal's events of the window.

        Raises:
            ConfigurationError: the file or its fields cannot be read.
        """
        self._side.seconds = Decimal(0)
        for row in rows_of(self._path, self._mapping):
            self._take(row)
        if self._by_day:
            self._compare_sums(entries)
        else:
            self._compare_rows(entries)

    def _take(self, row: UsageRow) -> None:
        side = self._side
        if row.at is not None:
            self._span = [min([row.at, *self._span]), max([row.at, *self._span])]
        if row.kind is not None:
            self._kinds.add(row.kind)
        if self._window.has(row.at):
            side.entries += 1
            side.seconds = (side.seconds or Decimal(0)) + (row.seconds or 0)
        if side.entries % 5_000 == 0:
            self._tell(f"{side.name}: {side.entries} rows")
        if self._by_day is None:
            self._by_day = row.id is None
        if self._by_day and row.at is not None and not row.fault:
            self._sums[_Sum(_midnight(row.at), row.kind, row.customer_id)] += row.seconds or 0
            return
        fault = row.fault or ("no time" if self._by_day else "" if row.id else "no id")
        seconds = None if row.seconds is None else exact(row.seconds)
        at = None if row.at is None else micros(row.at)
        self._rows.add(
            _Row(row.id or "", row.number, row.kind, row.customer_id, seconds, at, fault)
        )

    # -- row by row ------------------------------------------------------------------------

    def _compare_rows(self, entries: Pile[Entry]) -> None:
        column = Entry._fields.index("provider_id")
        ours = (entry for entry in entries.sorted(column) if entry.provider == "assemblyai")
        unlisted = self._scratch.pile(Entry._make, len(Entry._fields))
        for _, known, rows in merged(
            ours, lambda entry: entry.provider_id, self._rows.sorted(0), lambda row: row.id
        ):
            for row in rows:
                self._judge(row, known)
            for kind in ("async_completed", "stream_terminated"):
                of_kind = [row for row in rows if row.kind in (None, kind)]
                billed = next((entry for entry in known if entry.kind == kind), None)
                if billed is None:
                    continue
                if not of_kind:
                    unlisted.add(billed)
                elif len(of_kind) > 1:
                    self._twice(billed, of_kind)
                else:
                    self._kinds.add(kind)
        span = self._covered()
        for entry in unlisted:
            self._judge_unlisted(entry, span)
        kinds = " and ".join(sorted(self._kinds)) or "no kind of usage"
        self._side.compared = f"ids and seconds of {kinds}, and customers where the file has them"

    def _judge(self, row: _Row, known: list[Entry]) -> None:
        """Note how a row differs from what the journal has of its id."""
        in_window = self._window.has(None if row.at is None else moment_of(row.at))
        if row.fault:
            if in_window:
                self._note("unreadable", row, there=row.fault)
            return
        if not known:
            if not in_window:
                return
            known = list(self._looked_up(row))
        billed = [e for e in known if e.seconds is not None and row.kind in (None, e.kind)]
        if billed:
            self._compare_figures(row, billed[0])
        elif row.seconds is None or not Decimal(row.seconds):
            self._side.left_out["without a figure"] += 1
        elif known:
            self._note(
                *("differs", row, known[0]),
                field="status",
                journal=_NOT_BILLED.get(known[0].kind, known[0].kind),
                there=f"{row.seconds} s",
                seconds=Decimal(row.seconds),
            )
        elif self._is_open(row.id):
            self._side.in_flight["session is open"] += 1
        elif not self._lies_aside(row.id):
            more = Decimal(row.seconds)
            self._note("missing_here", row, there=f"{row.seconds} s", seconds=more)

    def _lies_aside(self, provider_id: str) -> bool:
        """Tell whether it is in quarantine, or was given up there; and count it."""
        found = self._journal.aside.entries(
            states=("open", "discarded"), provider_id=provider_id, limit=10
        )
        if any(entry.state == "open" for entry in found):
            self._side.in_flight["in quarantine"] += 1
        elif found:
            self._side.left_out[GIVEN_UP] += 1
        return bool(found)

    def _compare_figures(self, row: _Row, entry: Entry) -> None:
        if row.seconds is None:
            self._side.left_out["without a figure"] += 1
            return
        more = Decimal(row.seconds) - Decimal(entry.seconds or 0)
        if abs(more) > self._mapping.tolerance:
            self._note(
                *("differs", row, entry),
                field="seconds",
                journal=entry.seconds or "",
                there=row.seconds,
                seconds=more,
            )
        if row.customer_id is not None and row.customer_id != entry.customer_id:
            self._note(
                *("differs", row, entry),
                field="customer",
                journal=entry.customer_id,
                there=row.customer_id,
            )

    def _twice(self, entry: Entry, rows: list[_Row]) -> None:
        self._kinds.add(entry.kind)
        more = sum((Decimal(row.seconds) for row in rows[1:] if row.seconds), Decimal(0))
        there = f"{len(rows)} times"
        self._note("twice", rows[1], entry, journal="once", there=there, seconds=more)

    def _judge_unlisted(self, entry: Entry, span: Window) -> None:
        """Note a billed event that the file has not, where it should have it."""
        if entry.kind not in self._kinds:
            self._side.left_out[f"{entry.kind}, of which the file has none"] += 1
        elif not span.has(moment_of(entry.at)):
            self._side.left_out["outside of the time that the file is of"] += 1
        elif entry.started is not None and not span.has(moment_of(entry.started)):
            self._side.left_out["begun before that time"] += 1
        else:
            less = -Decimal(entry.seconds or 0)
            found = _about(
                *(entry, self._side.name, "missing_there"),
                journal=f"{entry.seconds} s",
                seconds=less,
            )
            self._scratch.note(self._side, found)

    def _covered(self) -> Window:
        """Return the time that the file is of: it may have been made before the window's end."""
        if not self._span:
            return self._window
        first, last = self._span
        since, until = self._window.since, self._window.until
        made = datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        beyond = last + timedelta(microseconds=1)
        return Window(since or first, until if until is not None and until <= made else beyond)

    def _looked_up(self, row: _Row) -> Iterator[Entry]:
        """Yield what the journal has of an id at any time."""
        for noun, suffix in (
            ("transcript", ""),
            ("session", ""),
            ("transcript", ":failed"),
            ("session", ":abandoned"),
        ):
            stored = self._journal.locate(event_id_for("assemblyai", noun, row.id, suffix))
            if stored is not None and row.kind in (None, *_alike(stored.event.kind)):
                yield entry_of(stored, "")

    def _note(self, what: What, row: _Row, entry: Entry | None = None, **told: Any) -> None:
        kind = row.kind or "async_completed"
        event_id = event_id_for("assemblyai", _NOUNS[kind], row.id) if row.id else ""
        if entry is None:
            found = Difference(
                self._side.name,
                what,
                event_id if row.kind else row.id,
                row.customer_id or "",
                row.kind or "",
                None if row.at is None else moment_of(row.at),
                place=f"row {row.number}",
                **told,
            )
        else:
            found = _about(entry, self._side.name, what, place=f"row {row.number}", **told)
        self._scratch.note(self._side, found)

    def _is_open(self, provider_id: str) -> bool:
        session = self._journal.sessions.find(provider_id)
        return session is not None and session.state == "open"

    # -- sums by day -----------------------------------------------------------------------

    def _compare_sums(self, entries: Pile[Entry]) -> None:
        first, last = (some(key.day for key in self._sums) for some in (min, max))
        ours: defaultdict[_Sum, Decimal] = defaultdict(Decimal)
        by_kind = any(key.kind for key in self._sums)
        by_customer = any(key.customer_id is not None for key in self._sums)
        for entry in entries:
            day = _midnight(moment_of(entry.at))
            if (
                entry.seconds is not None
                and entry.provider == "assemblyai"
                and first <= day <= last
                and (not by_kind or entry.kind in self._kinds)
            ):
                customer = entry.customer_id if by_customer else None
                ours[_Sum(day, entry.kind if by_kind else None, customer)] += Decimal(entry.seconds)
        self._side.compared = "sums by day, UTC"
        for row in self._rows:
            self._note("unreadable", row, there=row.fault)
        for key in sorted(ours.keys() | self._sums.keys(), key=str):
            until = self._window.until
            if not self._window.has(key.day) or (until is not None and key.day + _DAY > until):
                self._side.left_out["days that are not whole"] += 1
                continue
            here, there = ours[key], self._sums[key]
            if abs(there - here) > self._mapping.tolerance:
                found = Difference(
                    self._side.name,
                    "differs",
                    customer_id=key.customer_id or "",
                    kind=key.kind or "",
                    occurred_at=key.day,
                    field="sum of the day",
                    journal=exact(here),
                    there=exact(there),
                    seconds=there - here,
                )
                self._scratch.note(self._side, found)


def _about(entry: Entry, side: str, what: What, **told: Any) -> Difference:
    """Return a difference about an event."""
    at = moment_of(entry.at)
    return Difference(side, what, entry.event_id, entry.customer_id, entry.kind, at, **told)


def _alike(kind: str) -> tuple[str, str]:
    """Return the kinds that speak of the same thing at AssemblyAI."""
    if kind.startswith("async"):
        return ("async_completed", "async_failed")
    return ("stream_terminated", "stream_abandoned")


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
