"""Events in a list, and new ones as they are recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from meter.commands.moments import moment
from meter.commands.tables import one_line, table
from meter.reports.event_places import fields_of

if TYPE_CHECKING:
    from meter.journal import Journal, StoredEvent, Wanted

__all__ = ["follow", "listed"]

POLL_SECONDS: Final = 0.5
"""How soon something new is seen."""
PAGE: Final = 1_000
"""How many events are looked at together while following."""
_HEADER: Final = ("offset", "occurred", "event", "customer", "model", "seconds")


def listed(journal: Journal, wanted: Wanted, limit: int, *, file: str, as_json: bool) -> None:
    """Print the newest events that are wanted."""
    found = journal.search.newest(wanted, limit + 1)
    shown = found[:limit]
    states = [_state(journal, wanted, entry) for entry in shown]
    if as_json:
        for entry, state in zip(shown, states, strict=True):
            click.echo(_line(entry, wanted.sink, state))
        return
    if not shown:
        click.echo("no events")
        return
    extra = () if wanted.sink is None else (wanted.sink,)
    rows = [
        (*_cells(entry), *(() if wanted.sink is None else (state,)))
        for entry, state in zip(shown, states, strict=True)
    ]
    click.echo(table((*_HEADER, *extra), rows, right=(0, 5)))
    if len(found) > limit:
        click.echo(f"\nthe newest {limit}; --limit shows more")
    click.echo(f"\none in full, with its history: meter events EVENT{file}")


def follow(journal: Journal, wanted: Wanted, limit: int, *, as_json: bool) -> None:
    """Print the newest events, the oldest of them first, then new ones, until interrupted."""
    at = journal.head()
    for entry in reversed(journal.search.newest(wanted, limit, before=at + 1)):
        _print(entry, as_json=as_json)
    for entry in _recorded(journal, wanted, at):
        _print(entry, as_json=as_json)


def _recorded(journal: Journal, wanted: Wanted, at: int) -> Iterator[StoredEvent]:
    """Yield events as they are recorded, by whatever process; a journal that is busy is awaited."""
    from meter.errors import JournalUnavailable

    complained = False
    while True:
        try:
            found, end = journal.search.after(wanted, at, PAGE)
        except JournalUnavailable as error:
            if not complained:
                click.echo(f"meter: {error}; waiting for it", err=True)
            complained = True
            time.sleep(POLL_SECONDS)
            continue
        complained = False
        yield from found
        if end == at:
            time.sleep(POLL_SECONDS)
        at = end


def _print(entry: StoredEvent, *, as_json: bool) -> None:
    if as_json:
        click.echo(_line(entry, None, None))
        return
    offset, occurred, event_id, customer, model, seconds = map(one_line, _cells(entry))
    click.echo(f"{offset:>8}  {occurred}  {event_id}  {customer}  {model or '-'}  {seconds or '-'}")


def _line(entry: StoredEvent, sink: str | None, state: str | None) -> str:
    document: dict[str, Any] = {"offset": entry.offset, **fields_of(entry.event)}
    if sink is not None:
        document["sinks"] = {sink: state}
    return json.dumps(document, ensure_ascii=False)


def _cells(entry: StoredEvent) -> Sequence[object]:
    from meter.events import format_seconds

    event = entry.event
    seconds = event.billed_seconds
    return (
        entry.offset,
        moment(event.occurred_at),
        event.event_id,
        event.customer_id,
        getattr(event, "model", None),
        None if seconds is None else format_seconds(seconds),
    )


def _state(journal: Journal, wanted: Wanted, entry: StoredEvent) -> str | None:
    if wanted.sink is None or wanted.state is not None:
        return wanted.state
    places = journal.exceptions.places(entry.event.event_id)
    return next((place.state for place in places if place.sink == wanted.sink), None)
