"""One event in full: what it says, where it stands for every sink, and its whole history."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import click

from meter.cli.event_history import acts_of, deliveries_of, plain, receipts_of
from meter.commands.moments import age, moment
from meter.commands.references import meant
from meter.commands.tables import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from meter.clock import Clock
    from meter.commands.asking import Answer
    from meter.config import Config
    from meter.events import Event
    from meter.journal import Act, Came, Delivered, Entry, ExceptionRow, Journal, Place, StoredEvent

__all__ = ["fields_of", "show"]


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of one sink and one reference; `place` is None when it never ran."""

    sink: str
    type: str | None
    place: Place | None
    answer: Answer | None
    parked: str | None = None
    skipped: bool = False
    deliveries: Sequence[Delivered] = ()


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
    history = None if stored is None else _history(stored, journal)
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
                _print_words(entry.sink, said)
    if not known:
        _refuse(reference, told, _nearest(reference, journal, file))


@dataclass(frozen=True, slots=True)
class _History:
    """How an event came in, and what people did to it."""

    receipts: Sequence[Came]
    entries: Sequence[Entry]
    acts: Sequence[Act]


def _history(stored: StoredEvent, journal: Journal) -> _History:
    aside = journal.aside
    entries = {
        entry.id: entry
        for entry in aside.entries(states=(), provider_id=stored.event.provider_id, limit=20)
    }
    acts = list(journal.acts.of_event(stored.offset))
    # What was assigned may have named no transcript or session itself.
    for number in {act.entry for act in acts if act.entry is not None} - entries.keys():
        if (entry := aside.find(number)) is not None:
            entries[number] = entry
    acts = [act for act in acts if act.entry is None]
    acts += [act for number in entries for act in journal.acts.of_entry(number)]
    return _History(
        receipts=journal.search.receipts(stored.event),
        entries=[entry for _, entry in sorted(entries.items())],
        acts=sorted(acts, key=lambda act: act.at),
    )


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

    places = {place.sink: place for place in journal.exceptions.places(reference)}
    told = []
    for name in [*config.sinks, *sorted(places.keys() - config.sinks.keys())]:
        entry = config.sinks.get(name)
        answer = None
        if entry is not None:
            answer = ask(
                entry,
                lambda s: s.explain(reference),
                journal=journal,
                clock=clock,
                seconds=seconds,
            )
        row = journal.exceptions.sink(name)
        told.append(
            _Told(
                sink=name,
                type=entry.type if entry is not None else row.type if row is not None else None,
                place=places.get(name),
                answer=answer,
                parked=None if row is None else row.parked,
                skipped=stored is not None and stored.offset <= journal.exceptions.start(name),
                deliveries=()
                if stored is None
                else journal.exceptions.deliveries(name, stored.offset),
            )
        )
    return told


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
        f"{provider_id} from {entry.collector} is in quarantine: "
        f"meter quarantine show {entry.id}{file}"
        for entry in journal.aside.entries(provider_id=provider_id, limit=1)
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
            click.echo(f"  {entry.sink} could not say: {one_line(entry.answer.error)}", err=True)
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
    lines = [] if told.place is None else _standing(told, told.place, now)
    if told.place is not None and told.place.state == "dead":
        lines.append(
            f"to give it up: meter dead-letters{file} --discard {shlex.quote(reference)} --reason …"
        )
        lines.append(f"to free it: meter dead-letters{file} --retry {shlex.quote(reference)}")
    elsewhere = "" if told.answer is not None else " (not in the file)"
    history = [] if told.place is None else deliveries_of(told.deliveries, told.place)
    _print_words(f"{told.sink}: {_state(told.place)}{elsewhere}", [*lines, *_said(told), *history])


def _print_words(header: str, lines: list[str]) -> None:
    click.echo(f"\n{header}")
    for line in lines:
        click.echo(f"  {one_line(line)}")


def _said(told: _Told) -> list[str]:
    if told.answer is None:
        return []
    error = told.answer.error
    return [*told.answer.lines, *([] if error is None else [f"could not say more: {error}"])]


def _state(place: Place | None) -> str:
    if place is None:
        return "not started yet"
    waits = place.state == "retrying" and place.row is not None and place.row.put_off
    return "waiting for its time" if waits else place.state


def _standing(told: _Told, place: Place, now: datetime) -> list[str]:
    """Say what the state alone does not."""
    row = place.row
    if place.state == "filtered":
        return ["recorded before the sink started" if told.skipped else "no pipeline admitted it"]
    if row is None:
        return [f"the sink is parked: {told.parked}"] if told.parked else []
    if place.state == "delivered":
        return [f"at {moment(row.changed_at)}"]
    if place.state == "discarded":
        return [row.reason, f"given up at {moment(row.changed_at)}; see below by whom, and why"]
    since = row.changed_at if place.state == "dead" else row.first_at
    times = [f"since {moment(since)}, {age(now, since)} ago"]
    if row.attempts:
        times.append(f"failed attempts: {row.attempts}")
    if row.next_at is not None:
        times.append(f"offered again {_when(row, now)}")
    parked = [f"the sink is parked: {told.parked}"] if told.parked else []
    return [row.reason, "; ".join(times), *parked]


def _when(row: ExceptionRow, now: datetime) -> str:
    return "now" if row.next_at is None or row.next_at <= now else f"at {moment(row.next_at)}"


# -- for machines -----------------------------------------------------------------------------


def _document(
    stored: StoredEvent | None, told: list[_Told], history: _History | None
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
    row = None if told.place is None else told.place.row
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
        "sink": told.sink,
        "type": told.type,
        "in_file": told.answer is not None,
        "state": None if told.place is None else told.place.state,
        "exception": exception,
        "parked": told.parked,
        "deliveries": [plain(delivery) for delivery in told.deliveries],
        "lines": [] if told.answer is None else list(told.answer.lines),
        "error": None if told.answer is None else told.answer.error,
    }


def fields_of(event: Event) -> dict[str, Any]:
    """Return an event's fields as JSON has them; exact decimals are text."""
    import msgspec

    from meter.events import format_seconds

    told: dict[str, Any] = {"event_id": event.event_id, "kind": event.kind}
    plain: dict[str, Any] = msgspec.to_builtins(event, builtin_types=(Decimal,))
    told |= {n: format_seconds(v) if isinstance(v, Decimal) else v for n, v in plain.items()}
    return told
