"""What AssemblyAI's streaming messages say about usage: Begin, Heartbeat and Termination.

One reading for the relay, the tap, the recorder and ingest alike. Only the fields that metering
needs are ever looked at; the spoken words in a `Turn` are skipped without being decoded.

Sources: AssemblyAI's streaming v3 messages (reference/assemblyai.md §5); what is billed is
`session_duration_seconds`, never `audio_duration_seconds` (§1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from meter.errors import InvalidEvent
from meter.events import MAX_SECONDS, exact_number, exact_seconds

__all__ = [
    "LONGEST_SESSION",
    "Begin",
    "Heartbeat",
    "SessionMessage",
    "Termination",
    "Unusable",
    "expiry_of",
    "read_message",
    "understand",
    "upper_bound",
]

LONGEST_SESSION: Final = timedelta(hours=3)
"""AssemblyAI closes a session that nobody terminated after this long."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_TEXT: Final = 200
_SLACK_SECONDS: Final = 1
_LONGEST_BELIEVED: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Begin:
    """A session is open at the provider.

    Attributes:
        session_id: the provider's id; no later message carries it.
        expires_at: when the provider will end it at the latest, UTC; None when it did not say.
        model: the speech model, where the provider says.
    """

    session_id: str
    expires_at: datetime | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The session has lasted at least so long, in seconds."""

    lower_seconds: Decimal


@dataclass(frozen=True, slots=True)
class Termination:
    """The provider's last word on a session.

    Attributes:
        seconds: `session_duration_seconds`: what is billed.
        audio_seconds: `audio_duration_seconds`: beside it, never in its place.
    """

    seconds: Decimal
    audio_seconds: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A Begin or Termination that lacks what it exists for.

    Attributes:
        type: `Begin` or `Termination`.
        reason: which field, and why.
        fields: the fields that metering reads, as received and cut short.
    """

    type: str
    reason: str
    fields: Mapping[str, Any] = field(default_factory=dict)


SessionMessage: TypeAlias = Begin | Heartbeat | Termination | Unusable


class _Fields(msgspec.Struct, frozen=True, gc=False):
    """The fields that metering reads; every type may be a surprise."""

    type: Any = None
    id: Any = None
    expires_at: Any = None
    configuration: Any = None
    total_duration_ms: Any = None
    session_duration_seconds: Any = None
    audio_duration_seconds: Any = None


_decode: Final = msgspec.json.Decoder(_Fields, float_hook=exact_number).decode


def read_message(raw: bytes | str | memoryview) -> SessionMessage | None:
    """Read a message as it came over the WebSocket; decimals stay exact.

    Returns:
        None for what says nothing about usage: a `Turn`, audio, or no JSON object at all.
    """
    try:
        fields = _decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return _meaning(fields)


def understand(message: Mapping[str, Any]) -> SessionMessage | None:
    """Read a message that somebody else has decoded, such as an SDK.

    A fraction that went through a float is taken as the shortest decimal that makes the same
    float: what the provider wrote, up to 15 digits.
    """
    given = {name: _exact(message[name]) for name in _Fields.__struct_fields__ if name in message}
    return _meaning(_Fields(**given))


def expiry_of(begin: Begin, started_at: datetime) -> datetime:
    """Return when a session has ended at the latest.

    As the provider said; where that is missing, or cannot be (one of the clocks is wrong), by the
    provider's own limit.
    """
    said = begin.expires_at
    if said is not None and started_at < said <= started_at + _LONGEST_BELIEVED:
        return said
    return started_at + LONGEST_SESSION


def upper_bound(started_at: datetime, expires_at: datetime, lower: Decimal) -> Decimal:
    """Return a figure that the session's billed seconds cannot exceed.

    Whole seconds, rounded up, and one more: `expires_at` is cut to whole seconds, and Begin took
    its time to reach us.
    """
    seconds = (expires_at - started_at).total_seconds()
    upper = Decimal(max(0, math.ceil(seconds)) + _SLACK_SECONDS)
    return max(min(upper, MAX_SECONDS), lower)


def _meaning(fields: _Fields) -> SessionMessage | None:
    match fields.type:
        case "Begin":
            return _begin(fields)
        case "Heartbeat":
            return _heartbeat(fields)
        case "Termination":
            return _termination(fields)
        case _:
            return None


def _begin(fields: _Fields) -> Begin | Unusable:
    if not isinstance(fields.id, str) or not fields.id:
        return _unusable(fields, "id: expected the session's id")
    configuration = fields.configuration
    model = configuration.get("model") if isinstance(configuration, Mapping) else None
    return Begin(
        fields.id, _moment(fields.expires_at), model if model and isinstance(model, str) else None
    )


def _heartbeat(fields: _Fields) -> Heartbeat | None:
    milliseconds = fields.total_duration_ms
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | Decimal):
        return None
    try:
        return Heartbeat(exact_seconds(Decimal(milliseconds) / 1000))
    except (InvalidEvent, ArithmeticError):
        return None


def _termination(fields: _Fields) -> Termination | Unusable:
    try:
        seconds = exact_seconds(fields.session_duration_seconds)
    except InvalidEvent as error:
        return _unusable(fields, f"session_duration_{error}")
    try:
        audio_seconds = exact_seconds(fields.audio_duration_seconds)
    except InvalidEvent:
        audio_seconds = None  # the billed figure stands without it
    return Termination(seconds, audio_seconds)


def _unusable(fields: _Fields, reason: str) -> Unusable:
    kept = {
        name: _short(value)
        for name in fields.__struct_fields__
        if name != "configuration" and (value := getattr(fields, name)) is not None
    }
    return Unusable(fields.type, reason, kept)


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_MOST_TEXT]
    return value if isinstance(value, bool | int | Decimal) else type(value).__name__


def _exact(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


def _moment(value: Any) -> datetime | None:
    """Read a time: Unix seconds, as documented, or text in ISO 8601."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return _EPOCH + timedelta(microseconds=int(value * 1_000_000))
    except (ValueError, OverflowError, ArithmeticError):
        return None
    return None
