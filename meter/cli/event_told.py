"""One event in full: what it says, where it stands for every sink, and its whole history."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from meter.commands.moments import moment
from meter.commands.references import meant
from meter.commands.tables import one_line
from meter.reports.event_history import (
    History,
    acts_of,
    deliveries_of,
    history_of,
    plain,
    receipts_of,
)
from meter.reports.event_places import (
    SinkPlace,
    fields_of,
    places_of,
    standing_of,
    state_of,
)

if TYPE_CHECKING:
    from datetime import datetime

    from meter.clock import Clock
    from meter.config import Config
    from meter.delivery.asking import Answer
    from meter.journal import Journal, StoredEvent

__all__ = ["show"]


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of one sink and one reference; `answer` is None when the file lacks it."""

    at: SinkPlace
    answer: Answer | None


def show(
    reference: str,
    config: Config,
    journal: Journal,
    clock: Clock,
    *,
    seconds: float,
    file: str,
    as_json: bool,
) -> None:
    """Print what is known of a reference; exit 1 when nobody knows it.

    Args:
        reference: an event id, or what a destination calls something.
        config: the file, for its sinks.
        journal: what the events are in.
        clock: tells the time.
        seconds: how long a sink may take to answer.
        file: what names the file on a command line.
        as_json: for machines.
    """
    stored = journal.locate(reference)
    told = _ask_around(config, reference, stored, journal=journal, clock=clock, seconds=seconds)
    history = None if stored is None else history_of(stored, journal)
    known = stored is not None or any(t.answer and t.answer.lines for t in told)
    if as_json:
        document = _document(stored, told, history)
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    elif stored is not None and history is not None:
        _print_event(stored)
        _print_words("came in", receipts_of(stored.event, history.receipts, history.entries))
        for entry in told:
            _print_sink(entry, reference, clock.now(), file)
        if history.acts:
            _print_words("people", acts_of(history.acts))
    elif known:
        click.echo(f"{one_line(reference)} is no event of this journal; the sinks say of it:")
        for entry in told:
            if said := _said(entry):
                _print_words(entry.at.sink, said)
    if not known:
        _refuse(reference, told, _nearest(reference, journal, file))


def _ask_around(
    config: Config,
    reference: str,
    stored: StoredEvent | None,
    *,
    journal: Journal,
    clock: Clock,
    seconds: float,
) -> list[_Told]:
    """Collect what the journal and the sinks know: the file's sinks first, in its order."""
    from meter.commands.asking import ask

    told = []
    for at in places_of(reference, stored, config.sinks, journal):
        entry = config.sinks.get(at.sink)
        answer = None
        if entry is not None:
            answer = ask(
                entry,
                lambda s: s.explain(reference),
                journal=journal,
                clock=clock,
                seconds=seconds,
            )
        told.append(_Told(at, answer))
    return told


_LAIN: Final = {"open": "is in quarantine", "discarded": "was given up in quarantine"}


def _nearest(reference: str, journal: Journal, file: str) -> list[str]:
    """Say what the reference may have meant, and where else to look."""
    ids = meant(reference, lambda event_id: journal.find(event_id) is not None)
    lines = [f"did you mean {event_id}?" for event_id in ids]
    provider_id = reference.split(":")[2] if reference.count(":") > 1 else reference
    session = journal.sessions.find(provider_id)
    if session is not None:
        lines.append(
            f"{provider_id} is a streaming session that is {session.state}: `meter sessions{file}`"
        )
    lines += [
        f"{provider_id} from {entry.collector} {_LAIN[entry.state]}: "
        f"meter quarantine show {entry.id}{file}"
        for entry in journal.aside.entries(states=_LAIN, provider_id=provider_id, limit=1)
    ]
    if not lines:
        lines = [f"did you mean {event_id}?" for event_id in journal.search.nearest(reference)]
    pattern = "an event id is assemblyai:transcript:<id> or assemblyai:session:<id>"
    return lines or [f"{pattern}; the newest: meter events{file}"]


def _refuse(reference: str, told: list[_Told], help_lines: list[str]) -> NoReturn:
    click.echo(
        f"meter: nobody knows {one_line(reference)}: no event of the journal has this id, and no "
        "sink knows it",
        err=True,
    )
    for entry in told:
        if entry.answer is not None and entry.answer.error is not None:
            click.echo(f"  {entry.at.sink} could not say: {one_line(entry.answer.error)}", err=True)
    for line in help_lines:
        click.echo(f"  {one_line(line)}", err=True)
    raise SystemExit(1)


# -- for people -------------------------------------------------------------------------------


def _print_event(stored: StoredEvent) -> None:
    fields = fields_of(stored.event)
    click.echo(one_line(fields.pop("event_id")))
    fields["offset"] = stored.offset
    for name, value in fields.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k}={v}" for k, v in value.items())  # noqa: PLW2901  because it is shown so
        elif isinstance(value, tuple):
            value = ", ".join(value)  # noqa: PLW2901  because it is shown so
        if value not in (None, ""):
            click.echo(f"  {name:<13}  {one_line(value)}")


def _print_sink(told: _Told, reference: str, now: datetime, file: str) -> None:
    place = told.at.place
    lines = [] if place is None else standing_of(told.at, place, now)
    if place is not None and place.state == "dead":
        lines.append(
            f"to give it up: meter dead-letters{file} --discard {shlex.quote(reference)} --reason …"
        )
        lines.append(f"to free it: meter dead-letters{file} --retry {shlex.quote(reference)}")
    elsewhere = "" if told.answer is not None else " (not in the file)"
    history = [] if place is None else deliveries_of(told.at.deliveries, place)
    _print_words(f"{told.at.sink}: {state_of(place)}{elsewhere}", [*lines, *_said(told), *history])


def _print_words(header: str, lines: list[str]) -> None:
    click.echo(f"\n{header}")
    for line in lines:
        click.echo(f"  {one_line(line)}")


def _said(told: _Told) -> list[str]:
    if told.answer is None:
        return []
    error = told.answer.error
    return [*told.answer.lines, *([] if error is None else [f"could not say more: {error}"])]


# -- for machines -----------------------------------------------------------------------------


def _document(
    stored: StoredEvent | None, told: list[_Told], history: History | None
) -> dict[str, Any]:
    return {
        "event": None if stored is None else fields_of(stored.event),
        "offset": None if stored is None else stored.offset,
        "sinks": [_sink_document(entry) for entry in told],
        "receipts": [] if history is None else [plain(came) for came in history.receipts],
        "quarantine": [] if history is None else [plain(entry) for entry in history.entries],
        "acts": [] if history is None else [plain(act) for act in history.acts],
    }


def _sink_document(told: _Told) -> dict[str, Any]:
    place = told.at.place
    row = None if place is None else place.row
    exception = None
    if row is not None:
        exception = {
            "reason": row.reason,
            "attempts": row.attempts,
            "first_at": moment(row.first_at),
            "changed_at": moment(row.changed_at),
            "next_at": moment(row.next_at) or None,
            "put_off": row.put_off,
            "replay": row.replay,
        }
    return {
        "sink": told.at.sink,
        "type": told.at.type,
        "in_file": told.answer is not None,
        "state": None if place is None else place.state,
        "exception": exception,
        "parked": told.at.parked,
        "deliveries": [plain(delivery) for delivery in told.at.deliveries],
        "lines": [] if told.answer is None else list(told.answer.lines),
        "error": None if told.answer is None else told.answer.error,
    }
