"""`meter events`: one event in full, and where it stands for every sink."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from meter.commands.arguments import as_json, naming, pipelines_file, read_config
from meter.commands.moments import age, moment
from meter.commands.references import meant
from meter.commands.tables import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from meter.clock import Clock
    from meter.commands.asking import Answer
    from meter.config import Config
    from meter.events import Event
    from meter.journal import ExceptionRow, Journal, Place, StoredEvent
    from meter.plugins import Plugins

__all__ = ["events"]


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of one sink and one reference; `place` is None when it never ran."""

    sink: str
    type: str | None
    place: Place | None
    answer: Answer | None
    parked: str | None = None
    skipped: bool = False


@click.command()
@click.argument("reference")
@pipelines_file
@as_json
@click.pass_obj
def events(plugins: Plugins, reference: str, pipelines: Path, *, as_json: bool) -> None:
    """Show one event in full: what it says, and where it stands for every sink of PIPELINES.

    REFERENCE is an event id, such as assemblyai:transcript:…, or a name under which a destination
    knows something: then the sinks say what it is. Exit 1 when nobody knows it.
    """
    from meter.clock import SystemClock
    from meter.journal import open_journal

    config = read_config(pipelines, plugins, looking=True)
    clock = SystemClock()
    journal = open_journal(config.journal, clock, create=False)
    try:
        stored = journal.locate(reference)
        told = _ask_around(
            config, reference, stored, journal=journal, clock=clock, seconds=plugins.patience
        )
        known = stored is not None or any(t.answer and t.answer.lines for t in told)
        help_lines = [] if known else _nearest(config, reference, journal, naming(pipelines))
    finally:
        journal.close()
    if as_json:
        click.echo(json.dumps(_document(stored, told), indent=2, ensure_ascii=False))
    elif stored is not None:
        _print_event(stored)
        for entry in told:
            _print_sink(entry, reference, clock.now(), naming(pipelines))
    elif known:
        click.echo(f"{one_line(reference)} is no event of this journal; the sinks say of it:")
        for entry in told:
            if said := _said(entry):
                _print_words(entry.sink, said)
    if not known:
        _refuse(reference, told, help_lines)


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
            )
        )
    return told


def _nearest(config: Config, reference: str, journal: Journal, file: str) -> list[str]:
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
        f"{provider_id} from {name} is in quarantine; to look: "
        f"sqlite-utils rows {config.journal} quarantine"
        for name in config.collectors
        if journal.is_quarantined(name, provider_id)
    ]
    newest = f"sqlite-utils rows {config.journal} usage_events --order 'offset desc' --limit 5"
    pattern = "an event id is assemblyai:transcript:<id> or assemblyai:session:<id>"
    return lines or [f"{pattern}; the newest: {newest}"]


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
    fields = _fields(stored.event)
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
        lines.append(f"to free it: meter dead-letters{file} --retry {shlex.quote(reference)}")
    elsewhere = "" if told.answer is not None else " (not in the file)"
    _print_words(f"{told.sink}: {_state(told.place)}{elsewhere}", [*lines, *_said(told)])


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


def _document(stored: StoredEvent | None, told: list[_Told]) -> dict[str, Any]:
    return {
        "event": None if stored is None else _fields(stored.event),
        "offset": None if stored is None else stored.offset,
        "sinks": [_sink_document(entry) for entry in told],
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
        }
    return {
        "sink": told.sink,
        "type": told.type,
        "in_file": told.answer is not None,
        "state": None if told.place is None else told.place.state,
        "exception": exception,
        "parked": told.parked,
        "lines": [] if told.answer is None else list(told.answer.lines),
        "error": None if told.answer is None else told.answer.error,
    }


def _fields(event: Event) -> dict[str, Any]:
    """Return an event's fields as JSON has them; exact decimals are text."""
    import msgspec

    from meter.events import format_seconds

    told: dict[str, Any] = {"event_id": event.event_id, "kind": event.kind}
    plain: dict[str, Any] = msgspec.to_builtins(event, builtin_types=(Decimal,))
    told |= {n: format_seconds(v) if isinstance(v, Decimal) else v for n, v in plain.items()}
    return told
