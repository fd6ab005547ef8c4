"""A sink: what the journal says was delivered to it, against what its destination has.

The journal is read before the destination: what counts as delivered must be there by then. What
differs is then looked at once more, the journal first: a row whose event the journal does not know
by now was never its. So neither a delivery under way nor an event recorded meanwhile is accused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from meter.reports.reconciling.journal_side import STATES, looked_up
from meter.reports.reconciling.records import (
    Difference,
    Entry,
    What,
    Window,
    exact,
    micros,
    moment_of,
)
from meter.reports.reconciling.scratch import merged
from meter.sinks import Elsewhere, Written

if TYPE_CHECKING:
    from datetime import datetime

    from meter.journal import Journal
    from meter.reports.reconciling.records import Side, Tell
    from meter.reports.reconciling.scratch import Known, Pile, Scratch

__all__ = ["Read", "compare_rows", "count_in_flight"]

Read: TypeAlias = (
    "Callable[[datetime | None, datetime | None], Iterable[Written | Elsewhere] | None]"
)
"""`Sink.written` of an instance that is never opened."""

UNDER_WAY_SECONDS: Final = 1.0
"""Between the writing of a row and the journal's record of it, at the most, while a run works."""
LOOKS: Final = 3
"""How often what seems to be under way is looked at."""
_SETTLED: Final = ("d", "a")
_UNDER_WAY: Final = ("p", "w", "r")
_NOT_DONE: Final = ("a", *_UNDER_WAY, "h", "x", "g")


class Row(NamedTuple):
    """A row of a destination; seconds exact as text, times in microseconds since 1970."""

    event_id: str
    customer_id: str | None
    quoted: str | None
    seconds: str | None
    kind: str | None
    at: int | None
    place: str
    fault: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What differs about one event."""

    what: What
    field: str = ""
    journal: str = ""
    there: str = ""
    seconds: Decimal | None = None
    place: str = ""


_Joined: TypeAlias = tuple[str, Entry | None, str, list[Row]]
"""An event id, its event, where that stands for the sink, and its rows."""


def compare_rows(  # noqa: PLR0913  because each is one thing that a comparison needs
    scratch: Scratch,
    journal: Journal,
    side: Side,
    read: Read,
    *,
    entries: Pile[Entry],
    letter: int,
    window: Window,
    tell: Tell,
) -> None:
    """Compare one sink's rows with the journal's word; what differs is noted in `scratch`.

    Args:
        scratch: where rows are laid out.
        journal: asked again for what differs.
        side: the sink's; is told what was found.
        read: reads the destination.
        entries: the journal's events of the window.
        letter: which letter of `Entry.states` is this sink's.
        window: which time.
        tell: told how many rows were read.

    Raises:
        SinkError: the destination cannot be read.
    """
    rows, elsewhere = _laid_out(scratch, read, window, tell)
    suspects = scratch.known()
    ahead = _look(side, _joined(entries, letter, rows), elsewhere, suspects, window)
    side.compared = "ids, customers, seconds, kinds and times"
    looks = LOOKS if ahead and journal.running() else 1
    while looks and len(suspects):
        if looks > 1:
            time.sleep(UNDER_WAY_SECONDS)
        looks -= 1
        tell(f"{len(suspects)} that differ are looked at once more")
        again = _looked_again(scratch, journal, side, read, suspects)
        if not looks or not any(state in _UNDER_WAY and r for _, _, state, r in _joined(*again)):
            for event_id, entry, state, rights in _joined(*again):
                if entry is None and _within(rights, window):
                    _count(side, rights)
                for found in _findings(entry, state, rights, window):
                    scratch.note(side, _difference(side, event_id, entry, rights, found))
            return


def count_in_flight(side: Side, entries: Pile[Entry], letter: int) -> None:
    """Count what is on its way to a sink whose rows are not compared.

    Args:
        side: the sink's; is told.
        entries: the journal's events of the window.
        letter: which letter of `Entry.states` is this sink's.
    """
    for entry in entries:
        state = entry.states[letter]
        if state in _NOT_DONE:
            side.in_flight[STATES[state]] += 1


def _look(
    side: Side,
    joined: Iterable[_Joined],
    elsewhere: Sequence[Elsewhere],
    suspects: Known,
    window: Window,
) -> bool:
    """Count what is there and collect what differs; tell whether rows are ahead of the journal."""
    ahead = False
    side.seconds = Decimal(0)
    for event_id, entry, state, rights in joined:
        if entry is not None:  # the others may be recorded meanwhile
            _count(side, rights)
        if state in _NOT_DONE:
            side.in_flight[STATES[state]] += 1
        if any(_findings(entry, state, rights, window)):
            if entry is not None and not rights and (why := _moved(entry, elsewhere)):
                side.left_out[why] += 1
                continue
            suspects.add(event_id)
            ahead = ahead or (bool(rights) and state not in _SETTLED)
    return ahead


def _joined(entries: Pile[Entry], letter: int, rows: Pile[Row]) -> Iterator[_Joined]:
    """Yield each event id with its event, where that stands, and its rows."""
    both = merged(entries.sorted(0), _id_of, rows.sorted(0), _id_of)
    for event_id, lefts, rights in both:
        entry = lefts[0] if lefts else None
        yield event_id, entry, "" if entry is None else entry.states[letter], rights


def _looked_again(
    scratch: Scratch, journal: Journal, side: Side, read: Read, suspects: Known
) -> tuple[Pile[Entry], int, Pile[Row]]:
    """Look at what differed once more: the journal first, then the whole destination."""
    entries = scratch.pile(Entry._make, len(Entry._fields))
    for entry in looked_up(journal, side.name, iter(suspects)):
        entries.add(entry)
    rows = scratch.pile(Row._make, len(Row._fields))
    for item in read(None, None) or ():
        if isinstance(item, Written) and item.event_id in suspects:
            rows.add(_row(item))
    return entries, 0, rows


def _laid_out(
    scratch: Scratch, read: Read, window: Window, tell: Tell
) -> tuple[Pile[Row], list[Elsewhere]]:
    rows = scratch.pile(Row._make, len(Row._fields))
    elsewhere: list[Elsewhere] = []
    count = 0
    for item in read(window.since, window.until) or ():
        if isinstance(item, Elsewhere):
            elsewhere.append(item)
            continue
        rows.add(_row(item))
        count += 1
        if count % 5_000 == 0:
            tell(f"{count} rows")
    return rows, elsewhere


def _row(written: Written) -> Row:
    return Row(
        written.event_id,
        written.customer_id,
        written.quoted_customer_id,
        None if written.seconds is None else exact(written.seconds),
        written.kind,
        None if written.occurred_at is None else micros(written.occurred_at),
        written.place,
        written.fault,
    )


# -- judging one event ------------------------------------------------------------------------


def _findings(
    entry: Entry | None, state: str, rows: Sequence[Row], window: Window
) -> Iterator[Finding]:
    """Yield what differs between an event and its rows; nothing when all is well."""
    if entry is None:
        if _within(rows, window):
            there = _sum(rows)
            yield Finding("missing_here", there=_told(rows), seconds=there, place=rows[0].place)
        return
    if not rows:
        if state == "d":
            less = None if entry.seconds is None else -Decimal(entry.seconds)
            yield Finding("missing_there", journal=_told([entry]), seconds=less)
        return
    if state not in _SETTLED:
        yield Finding(
            "not_delivered",
            journal=STATES[state],
            there=_told(rows),
            seconds=_sum(rows),
            place=rows[0].place,
        )
        return
    if len(rows) > 1:
        yield Finding(
            "twice",
            journal="once",
            there=f"{len(rows)} times",
            seconds=None if entry.seconds is None else _sum(rows[1:]),
            place=", ".join(row.place for row in rows if row.place),
        )
    for row in rows:
        yield from _unlike(entry, row)


def _unlike(entry: Entry, row: Row) -> Iterator[Finding]:
    """Yield the fields of a row that are not the event's."""
    same = row.seconds == entry.seconds
    if row.fault and (same or row.seconds is None):
        yield Finding("unreadable", journal=_told([entry]), there=row.fault, place=row.place)
    elif not same:
        more = Decimal(row.seconds or 0) - Decimal(entry.seconds or 0)
        yield _other("seconds", entry.seconds or "none", row.seconds or "none", row, more)
    customers = (row.customer_id, row.quoted)
    if row.customer_id is not None and entry.customer_id not in customers:
        yield _other("customer", entry.customer_id, row.customer_id, row)
    if row.kind is not None and row.kind != entry.kind:
        yield _other("kind", entry.kind, row.kind, row)
    if row.at is not None and row.at != entry.at:
        yield _other("time", _moment(entry.at), _moment(row.at), row)


def _other(
    field: str, journal: str, there: str, row: Row, seconds: Decimal | None = None
) -> Finding:
    return Finding("differs", field, journal, there, seconds, row.place)


def _difference(
    side: Side, event_id: str, entry: Entry | None, rows: Sequence[Row], found: Finding
) -> Difference:
    row = rows[0] if rows else None
    at = entry.at if entry is not None else None if row is None else row.at
    customer = entry.customer_id if entry is not None else None if row is None else row.customer_id
    kind = entry.kind if entry is not None else None if row is None else row.kind
    return Difference(
        side.name,
        found.what,
        event_id,
        customer or "",
        kind or "",
        None if at is None else moment_of(at),
        found.field,
        found.journal,
        found.there,
        found.seconds,
        found.place,
    )


def _count(side: Side, rows: Sequence[Row]) -> None:
    side.entries += len(rows)
    side.seconds = (side.seconds or Decimal(0)) + (_sum(rows) or 0)


def _within(rows: Sequence[Row], window: Window) -> bool:
    return any(window.has(None if row.at is None else moment_of(row.at)) for row in rows)


def _moved(entry: Entry, elsewhere: Sequence[Elsewhere]) -> str:
    at = moment_of(entry.at)
    return next((each.why for each in elsewhere if each.since <= at < each.until), "")


def _sum(rows: Sequence[Row]) -> Decimal | None:
    known = [Decimal(row.seconds) for row in rows if row.seconds is not None]
    return sum(known, Decimal(0)) if known else None


def _told(sides: Sequence[Entry] | Sequence[Row]) -> str:
    """Write the seconds of one side for people."""
    each = [f"{one.seconds} s" if one.seconds is not None else "no seconds" for one in sides]
    return " and ".join(each)


def _moment(at: int) -> str:
    return moment_of(at).isoformat().replace("+00:00", "Z")


def _id_of(one: Entry | Row) -> str:
    return one.event_id
