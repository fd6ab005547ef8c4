"""What `meter reconcile` found, as tables that an accountant can read, as CSV and as JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from meter.cli.reconcile_ways import ways_of
from meter.commands.moments import moment
from meter.commands.tables import one_line, table
from meter.events import format_time
from meter.reports.reconciling.records import WHATS, exact

if TYPE_CHECKING:
    from meter.cli.reconcile_sides import Compared
    from meter.cli.reconcile_ways import Ways
    from meter.reports.reconciling import Difference, Side, Window
    from meter.reports.reconciling.scratch import Scratch

__all__ = ["tell"]

_COLUMNS: Final = (
    "side",
    "part",
    "difference",
    "field",
    "event_id",
    "customer_id",
    "kind",
    "occurred_at",
    "journal",
    "there",
    "seconds",
    "place",
    "put_right_by",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet may take for a formula at the start of a cell; as the csv sink has it."""
_LONG: Final = 60
_WAITING: Final = ("pending", "waiting for its time", "retrying", "being replayed")
_DEAD: Final = ("dead letter", "discarded dead letter")


def tell(
    scratch: Scratch,
    found: Sequence[Compared],
    window: Window,
    file: str,
    *,
    limit: int,
    shape: str,
) -> int:
    """Print what was found; return the exit code: 1 when something differs or failed.

    Args:
        scratch: has the differences.
        found: every side.
        window: which time was asked for.
        file: what names the pipelines file on a command line.
        limit: the most differences of each side in the table.
        shape: table, csv or json.
    """
    if shape == "table":
        _print_table(scratch, found, window, file, limit)
    elif shape == "csv":
        _print_csv(scratch, found, file)
    else:
        _print_json(scratch, found, window, file)
    for each in found:
        if each.side.state == "failed" and shape != "table":
            click.echo(f"meter: {_failure(each.side)}", err=True)
    wrong = any(s.side.differences or s.side.state == "failed" for s in found)
    return 1 if wrong else 0


# -- for people -------------------------------------------------------------------------------


def _print_table(
    scratch: Scratch, found: Sequence[Compared], window: Window, file: str, limit: int
) -> None:
    since, until = moment(window.since), moment(window.until)
    if since or until:
        click.echo(f"Usage{since and f' from {since}'}{until and f' before {until}'}")
    rows = [
        [
            each.side.name,
            each.side.type,
            each.side.entries if each.side.state == "compared" else "",
            "" if each.side.seconds is None else exact(each.side.seconds),
            _figure(each.side),
        ]
        for each in found
    ]
    click.echo(table(["side", "", "entries", "seconds", "differences"], rows, right=(2, 3, 4)))
    click.echo()
    for each in found:
        for line in _remarks(each.side, file):
            click.echo(one_line(line))
    for each in found:
        if each.side.differences:
            _print_differences(scratch, each, file, limit)
    click.echo()
    click.echo(one_line(_summary(found)))


def _print_differences(scratch: Scratch, each: Compared, file: str, limit: int) -> None:
    side = each.side
    count = side.differences.total()
    click.echo(f"\n{one_line(side.name)}: {_counted(count, 'difference')}")
    told = [
        [
            " ".join(part for part in (WHATS[d.what], d.field) if part),
            d.event_id,
            d.customer_id,
            moment(d.occurred_at),
            d.journal,
            d.there,
            "" if d.seconds is None else _signed(d.seconds),
            d.place,
        ]
        for d in scratch.differences(side, limit)
    ]
    header = ["difference", "event", "customer", "occurred", "journal", "there", "seconds", "where"]
    keep = [n for n in range(len(header)) if n == 0 or any(row[n] for row in told)]
    click.echo(
        table(
            [header[n] for n in keep],
            [[row[n] for n in keep] for row in told],
            right=[place for place, n in enumerate(keep) if n == header.index("seconds")],
        )
    )
    if count > limit:
        click.echo(f"and {count - limit} more: --limit {count}, or --format csv")
    for line in dict.fromkeys(filter(None, ways_of(scratch, each, file).lines.values())):
        click.echo(one_line(f"to put it right: {line}"))


def _figure(side: Side) -> str:
    if side.part == "journal":
        return ""
    if side.state == "unreadable":
        return "cannot be read back"
    if side.state == "failed":
        return "not compared"
    return str(side.differences.total()) if side.differences else "none"


def _remarks(side: Side, file: str) -> list[str]:
    """Say what was compared, what was not and why, and what is on its way."""
    lines = []
    if side.state == "failed":
        lines.append(_failure(side))
    elif side.state == "unreadable":
        lines.append(f"{side.name}: {side.reason}; not compared")
    elif side.compared:
        lines.append(f"{side.name}: compared {side.compared}")
    lines += [f"{side.name}: {count} not compared: {why}" for why, count in side.left_out.items()]
    lines += [f"{side.name}: {note}" for note in side.notes]
    waiting = ", ".join(f"{count} {state}" for state, count in side.in_flight.items())
    if waiting:
        lines.append(f"{side.name}: on the way, no difference: {waiting}; {_see(side, file)}")
    return lines


def _see(side: Side, file: str) -> str:
    """Say which command shows what is on its way."""
    if any(state in side.in_flight for state in _DEAD):
        return f"meter dead-letters{file} --sink {side.name}"
    if "in quarantine" in side.in_flight:
        return f"meter quarantine list{file}"
    if side.part == "sink":
        return f"meter status{file}"
    return f"meter sessions{file}" if "session is open" in side.in_flight else f"meter status{file}"


def _summary(found: Sequence[Compared]) -> str:
    count = sum(each.side.differences.total() for each in found)
    failed = [each.side.name for each in found if each.side.state == "failed"]
    words = "no difference" if not count else _counted(count, "difference")
    each_has = "; ".join(
        f"{each.side.name} {each.side.entries}"
        + ("" if each.side.seconds is None else f", {exact(each.side.seconds)} s")
        for each in found
        if each.side.state == "compared"
    )
    lacking = f"; not compared: {', '.join(failed)}" if failed else ""
    return f"{words}{lacking} ({each_has})"


def _failure(side: Side) -> str:
    return f"{side.name} could not be compared: {side.reason}"


def _signed(seconds: Any) -> str:
    return f"{'+' if seconds > 0 else ''}{exact(seconds)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


# -- for programs -----------------------------------------------------------------------------


def _print_csv(scratch: Scratch, found: Sequence[Compared], file: str) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    terminal = sys.stdout.isatty()
    for each in found:
        if each.side.differences:
            ways = ways_of(scratch, each, file)
            for difference in scratch.differences(each.side):
                cells = _fields(difference, each, ways)
                texts = [
                    text if name == "seconds" else _guarded(text)
                    for name, text in ((n, cell or "") for n, cell in cells.items())
                ]
                writer.writerow([one_line(text) for text in texts] if terminal else texts)


def _print_json(scratch: Scratch, found: Sequence[Compared], window: Window, file: str) -> None:
    """Print one object, difference by difference: there may be millions."""
    ascii_only = sys.stdout.isatty()  # beyond ASCII there are characters that move its cursor
    document = {
        "from": moment(window.since) or None,
        "to": moment(window.until) or None,
        "sides": [_side(each.side) for each in found],
    }
    head = json.dumps(document, indent=2, ensure_ascii=ascii_only)
    click.echo(head[:-2] + ',\n  "differences": [', nl=False)
    before = "\n    "
    for each in found:
        if not each.side.differences:
            continue
        ways = ways_of(scratch, each, file)
        for difference in scratch.differences(each.side):
            fields = _fields(difference, each, ways)
            click.echo(before + json.dumps(fields, ensure_ascii=ascii_only), nl=False)
            before = ",\n    "
    click.echo("]\n}" if before == "\n    " else "\n  ]\n}")


def _side(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "type": side.type,
        "part": side.part,
        "state": side.state,
        "reason": side.reason or None,
        "compared": side.compared or None,
        "entries": side.entries,
        "seconds": None if side.seconds is None else exact(side.seconds),
        "differences": side.differences.total(),
        "by_difference": dict(side.differences),
        "in_flight": dict(side.in_flight),
        "not_compared": dict(side.left_out),
        "notes": side.notes,
    }


def _fields(found: Difference, side: Compared, ways: Ways) -> dict[str, str | None]:
    seconds = None if found.seconds is None else exact(found.seconds)
    values = (
        *(
            found.side,
            side.side.part,
            found.what,
            found.field,
            found.event_id,
            found.customer_id,
            found.kind,
        ),
        None if found.occurred_at is None else format_time(found.occurred_at),
        *(found.journal, found.there, seconds, found.place, ways.of(found, side)),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
