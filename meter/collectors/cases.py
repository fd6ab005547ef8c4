"""What each thing in quarantine is, what it lacks, and what a person can do about it.

A collector sets aside what it cannot make an event of; here that is read back. What is missing
there is named, and never made up: an entry becomes an event only with everything that its kind
of event needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from meter.collectors.attribution import attribution_of
from meter.errors import InvalidEvent
from meter.events import (
    AsyncCompleted,
    AsyncFailed,
    Event,
    StreamTerminated,
    decode_event,
    exact_number,
    exact_seconds,
)
from meter.journal import NewReceipt, NewSession
from meter.streaming import Begin, expiry_of

if TYPE_CHECKING:
    from meter.journal import Entry, Session

__all__ = ["Case", "Lacking", "Naming", "case_of", "event_of", "receipt_of"]

_decode: Final = msgspec.json.Decoder(float_hook=exact_number).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Lacking(Exception):
    """An entry lacks what an act needs; the text says what, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Case:
    """What an entry is, and what can be done about it.

    Attributes:
        noun: what kind of thing it is.
        assignable: None when a customer can be assigned; otherwise why not.
        retryable: None when the provider can be asked again; otherwise why not.
        advice: what to do, in a sentence.
    """

    noun: str
    assignable: str | None
    retryable: str | None
    advice: str


@dataclass(frozen=True, slots=True)
class Naming:
    """Whose an entry is said to be.

    Attributes:
        dimensions: added to those that are known; they win.
        occurred_at: when it happened, UTC, where the entry does not say.
    """

    customer_id: str
    dimensions: Mapping[str, str] = field(default_factory=dict)
    occurred_at: datetime | None = None


_TOLD: Final = "the provider has told everything about it; asking again cannot help"
_NO_JOB: Final = "it is no job that could be asked for"
_GIVE_UP: Final = "once that is settled, discard it"
_OUTSIDE: Final = (
    "ask the provider what it is; if it is to be billed, record the fact by `POST /v1/events` or a "
    "jsonl line, and this closes by itself; otherwise discard it"
)


def case_of(entry: Entry, find: Callable[[str], Event | None]) -> Case:  # noqa: PLR0911  because one return a kind reads best
    """Tell what an entry is.

    Args:
        entry: what is in quarantine.
        find: returns an event of the journal by its id.
    """
    payload = _payload(entry)
    if entry.key.startswith("conflict:session:"):
        why = "another customer has this session, and a Begin says nothing of how long it was"
        return Case("second session", why, _NO_JOB, f"find out whose it is; {_GIVE_UP}")
    if entry.key.startswith("conflict:"):
        return _conflict(payload, find)
    if entry.key.startswith("transcript:"):
        return _job(payload)
    if entry.key.startswith("receipt:"):
        why = "it names no job"
        advice = "see who posts there: AssemblyAI's webhooks name a transcript; then discard it"
        return Case("unknown webhook", why, why, advice)
    if entry.key.startswith("line:"):
        return _line(payload)
    if entry.key.startswith("opening:"):
        why = "nobody knows the session's id, nor how long it was"
        advice = "look for it among AssemblyAI's sessions of that time; then as for any other fact"
        return Case("unseen session", why, _NO_JOB, f"{advice}; {_GIVE_UP}")
    if isinstance(payload.get("said"), dict):
        return _stream(payload)
    return Case("other", "meter does not know what it is", _NO_JOB, f"see its reason; {_GIVE_UP}")


def event_of(
    entry: Entry,
    naming: Naming,
    *,
    session: Session | None,
    collectors: frozenset[str],
    now: datetime,
) -> Event | NewSession:
    """Return the event that an entry is, or the session that it opens.

    Args:
        entry: one whose case is assignable.
        naming: whose it is.
        session: the streaming session that it speaks of, if the journal has it.
        collectors: the names of those in the pipelines file.
        now: the time.

    Raises:
        Lacking: something else than the customer is missing.
        InvalidEvent: what is there cannot be an event.
    """
    payload = _payload(entry)
    if entry.key.startswith("conflict:"):
        given = decode_event(entry.payload)
        dimensions = {**given.dimensions, **naming.dimensions}
        return replace(given, customer_id=naming.customer_id, dimensions=dimensions)
    if entry.key.startswith("transcript:"):
        return _transcript(entry, payload, naming, now)
    if entry.key.startswith("line:"):
        return _of_line(entry, payload, naming, collectors, now)
    return _of_stream(entry, payload, naming, session, now)


def receipt_of(entry: Entry) -> NewReceipt:
    """Return the receipt of a webhook whose job could not be fetched.

    Raises:
        Lacking: the entry does not hold one.
    """
    payload = _payload(entry)
    query, at = payload.pop("query", None), _moment(payload.pop("received_at", None))
    if not isinstance(query, str) or at is None:
        raise Lacking("its receipt was not kept; meter's backfill asks for it, see `meter run`")
    return NewReceipt(entry.collector, at, query, _encode(payload).decode())


# -- what it is ------------------------------------------------------------------------------


def _conflict(payload: dict[str, Any], find: Callable[[str], Event | None]) -> Case:
    first = find(str(payload.get("event_id")))
    if first is None:
        advice = "its session began for another customer: assign it to that one, or discard it"
        return Case("conflict", None, _NO_JOB, advice)
    why = f"{first.event_id} is recorded for {first.customer_id}; an event is recorded once"
    advice = (
        f"compare it with `meter events {first.event_id}`; if the first is wrong, correct the bill "
        f"where it is written, since the journal never changes; {_GIVE_UP}"
    )
    return Case("conflict", why, _NO_JOB, advice)


def _job(payload: dict[str, Any]) -> Case:
    facts = payload.get("transcript")
    if not isinstance(facts, dict):
        why = "the provider has not told yet how long it was; retry asks it again"
        advice = "see that the collector's key and region are the job's own; then retry"
        return Case("unfetched job", why, None, advice)
    if facts.get("status") == "completed":
        try:
            exact_seconds(facts.get("audio_duration"))
        except InvalidEvent as error:
            return Case("job", f"audio_duration: {error}".replace(" seconds:", ""), _TOLD, _OUTSIDE)
    elif facts.get("status") != "error":
        return Case("job", "it has no status that is final", _TOLD, _OUTSIDE)
    return Case("job", None, _TOLD, "assign it to the customer whose it is, or discard it")


def _line(payload: dict[str, Any]) -> Case:
    given = _given(payload)
    if given is not None and not given.get("customer_id"):
        return Case("line", None, _NO_JOB, "assign it to the customer whose it is, or discard it")
    why = "it is not for want of a customer that it is no event"
    advice = "correct the line in its file and import it again; then discard this one"
    return Case("line", why, _NO_JOB, advice)


def _stream(payload: dict[str, Any]) -> Case:
    said, named = payload["said"], payload.get("customer_id")
    if "reason" in said and "type" in said:
        why = f"its {said['type']} cannot be used: {said['reason']}"
        return Case("unusable session", why, _NO_JOB, _OUTSIDE)
    if not payload.get("session_id"):
        return Case("unseen session", "nobody knows the session's id", _NO_JOB, _OUTSIDE)
    if named and "seconds" not in said:
        why = f"it has a customer, {named}; what is missing is its Termination"
        return Case("session", why, _NO_JOB, _OUTSIDE)
    advice = "assign it to the customer whose it is, or discard it"
    return Case("session", None, _NO_JOB, advice)


# -- what it becomes -------------------------------------------------------------------------


def _transcript(entry: Entry, payload: dict[str, Any], naming: Naming, now: datetime) -> Event:
    facts: dict[str, Any] = payload["transcript"]
    at = _moment(payload.get("occurred_at")) or _moment(payload.get("received_at"))
    at = at or naming.occurred_at
    if at is None:
        raise Lacking("nobody kept when the job was done; say it with --at TIME")
    known = payload.get("dimensions")
    if not isinstance(known, dict):
        known = attribution_of(str(payload.get("query", ""))).dimensions
    common: dict[str, Any] = {
        "provider_id": entry.provider_id,
        "customer_id": naming.customer_id,
        "dimensions": {**known, **naming.dimensions},
        "collector": entry.collector,
        "occurred_at": at,
        "recorded_at": now,
    }
    if facts.get("status") == "error":
        return AsyncFailed(error=facts.get("error") or "", **common)
    return AsyncCompleted(
        seconds=exact_seconds(facts.get("audio_duration")),
        model=facts.get("speech_model_used"),
        language=facts.get("language_code"),
        features=tuple(facts.get("features") or ()),
        channels=facts.get("audio_channels"),
        **common,
    )


def _of_line(
    entry: Entry,
    payload: dict[str, Any],
    naming: Naming,
    collectors: frozenset[str],
    now: datetime,
) -> Event:
    given = _given(payload) or {}
    ours = {"collector": entry.collector, "recorded_at": now}
    event = decode_event(_encode({**ours, **given, "customer_id": naming.customer_id}))
    event = replace(event, dimensions={**event.dimensions, **naming.dimensions})
    if event.collector in collectors:
        return event
    return replace(event, collector=entry.collector)


def _of_stream(
    entry: Entry,
    payload: dict[str, Any],
    naming: Naming,
    session: Session | None,
    now: datetime,
) -> Event | NewSession:
    said: dict[str, Any] = payload["said"]
    session_id = str(payload["session_id"])
    at = _moment(payload.get("received_at")) or naming.occurred_at or entry.first_at
    known = payload.get("dimensions") or {}
    if "seconds" not in said:
        begin = Begin(session_id, _moment(said.get("expires_at")), said.get("model"))
        return NewSession(
            provider_id=session_id,
            collector=entry.collector,
            customer_id=naming.customer_id,
            started_at=at,
            expires_at=expiry_of(begin, at),
            dimensions={**known, **naming.dimensions},
            model=begin.model,
        )
    if session is not None:
        known = {**known, **session.dimensions}
    audio = said.get("audio_seconds")
    return StreamTerminated(
        provider_id=session_id,
        customer_id=naming.customer_id,
        dimensions={**known, **naming.dimensions},
        collector=entry.collector if session is None else session.collector,
        occurred_at=at,
        recorded_at=now,
        seconds=exact_seconds(said["seconds"]),
        audio_seconds=None if audio is None else exact_seconds(audio),
        started_at=None if session is None else session.started_at,
        model=None if session is None else session.model,
    )


# -- how it was kept -------------------------------------------------------------------------


def _payload(entry: Entry) -> dict[str, Any]:
    try:
        payload = _decode(entry.payload)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _given(payload: dict[str, Any]) -> dict[str, Any] | None:
    """Return the object that a line is; None when it is none."""
    try:
        given = _decode(str(payload.get("text", "")))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
