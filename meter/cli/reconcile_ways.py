"""What would put differences right: the commands, which `meter reconcile` prints and never runs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meter.cli.reconcile_sides import Compared
    from meter.reports.reconciling import Difference
    from meter.reports.reconciling.scratch import Scratch

__all__ = ["Ways", "ways_of"]

NAMED: Final = 5
"""So many events are named on a command line; of more, the time."""
BY_HAND: Final = (
    "no list of AssemblyAI's has sessions: see docs/reconcile.md, A session that the journal lacks"
)


@dataclass(slots=True)
class _Group:
    """Differences that are put right alike."""

    count: int = 0
    ids: list[str] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None

    def add(self, found: Difference) -> None:
        self.count += 1
        at = found.occurred_at
        if len(self.ids) <= NAMED and found.event_id and found.event_id not in self.ids:
            self.ids.append(found.event_id)
        if at is not None:
            self.first = at if self.first is None else min(self.first, at)
            self.last = at if self.last is None else max(self.last, at)


@dataclass(frozen=True, slots=True)
class Ways:
    """What puts the differences of one side right, a line each, by what they have in common."""

    lines: dict[str, str]

    def of(self, found: Difference, side: Compared) -> str:
        """Return the line for one difference."""
        return self.lines.get(_way(found, side), "")


def ways_of(scratch: Scratch, side: Compared, file: str) -> Ways:
    """Collect the ways out of every difference of a side.

    Args:
        scratch: has the differences.
        side: whose.
        file: what names the pipelines file on a command line.
    """
    groups: dict[str, _Group] = {}
    for found in scratch.differences(side.side):
        groups.setdefault(_way(found, side), _Group()).add(found)
    return Ways({way: _line(way, group, side, file) for way, group in groups.items()})


def _way(found: Difference, side: Compared) -> str:
    """Name the way out of a difference."""
    part = side.side.part
    if side.comparison is not None:
        return "sink"
    if part == "sink":
        if found.what == "missing_there":
            return "replay"
        return "strange" if found.what in ("missing_here", "not_delivered") else "rewrite"
    if found.field == "sum of the day":
        return "day"
    late = found.field == "status" and bool(found.seconds and found.seconds > 0)
    if found.what == "missing_here" or late:
        return "by hand" if found.kind.startswith("stream") else "backfill"
    return "explain"


def _line(way: str, group: _Group, side: Compared, file: str) -> str:
    if way == "sink" and side.comparison is not None:
        words = side.comparison.command
        return f"meter {words}{file}" if words else ""
    if way == "backfill":
        collectors = side.side.name if side.side.part == "provider" else ""
        one = (
            f" --collector {shlex.quote(collectors)}"
            if collectors and "," not in collectors
            else ""
        )
        return f"meter backfill{file}{one}{_days(group)}"
    if way == "by hand":
        return BY_HAND
    if way == "day":
        return f"meter usage{file} --by day{_days(group)}; rows with ids would name the events"
    if way == "explain":
        return (
            f"nothing undoes an event: meter events {_first(group)}{file} tells where it comes "
            "from, and who was billed for it"
        )
    return _of_rows(way, group, side, file)


def _of_rows(way: str, group: _Group, side: Compared, file: str) -> str:
    """Say what puts rows of a sink right."""
    from meter.sinks import Guarantee

    entry = side.sink
    if entry is None:
        return ""
    sink = entry.extension.cls
    if sink.guarantee not in (Guarantee.ATOMIC, Guarantee.IDEMPOTENT):
        force = " --force --reason 'by meter reconcile'"
        which = "".join(f" --event {shlex.quote(event_id)}" for event_id in group.ids[:NAMED])
        if group.count > NAMED:  # by time, what is there already would be there twice
            which = " --event … (every id: --format csv)"
        replay = f"meter replay{file} --sink {entry.name}{which}{force}"
        return sink.mending or (replay if way == "replay" else "correct the destination by hand")
    if way == "strange":
        return "delete the row there: by the journal's word it was never delivered"
    which = "".join(f" --event {shlex.quote(event_id)}" for event_id in group.ids)
    replay = (
        f"meter replay{file} --sink {entry.name}{which if group.count <= NAMED else _days(group)}"
    )
    if way == "replay":
        return replay
    return f"{sink.mending or 'delete the row there, then have it written anew'}: {replay}"


def _days(group: _Group) -> str:
    """Return the options for the UTC days that differences are of."""
    if group.first is None or group.last is None:
        return ""
    beyond = group.last.date() + timedelta(days=1)
    return f" --from {group.first.date()} --to {beyond}"


def _first(group: _Group) -> str:
    return shlex.quote(group.ids[0]) if group.ids else "EVENT"
