"""What applications post: facts as JSON, one or many, each answered on its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.errors import InvalidEvent
from meter.events import AnyEvent, UtcTime, decode_event, exact_number, exact_seconds

if TYPE_CHECKING:
    from meter.journal import Recorded

__all__ = ["MOST_ITEMS", "Answer", "Refused", "SessionItem", "items_of", "key_of", "posted_event"]

AHEAD: Final = timedelta(days=1)
"""How far ahead of ours a sender's clock may be believed to go."""
MOST_ITEMS: Final = 1000
"""The most facts in one request."""

_decode_any: Final = msgspec.json.Decoder(float_hook=exact_number).decode
_decode_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_one: Final = msgspec.json.Decoder(msgspec.Raw).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Refused(Exception):
    """A body that holds no items; the text says why."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item.

    Attributes:
        status: `recorded`, `duplicate`, `conflict`, `quarantined` (kept, but no event: a person
            must look), `ignored` (says nothing about usage) or `invalid` (nothing was kept).
        reason: why, for the last four.
        event_id: as meter derived it, where there is an event.
    """

    status: str
    reason: str | None = None
    event_id: str | None = None

    @classmethod
    def of(cls, recorded: Recorded, event_id: str | None = None) -> Answer:
        """Return the journal's answer."""
        reason = (
            "recorded before with another customer or quantity; the first stands"
            if recorded.value == "conflict"
            else None
        )
        return cls(recorded.value, reason, event_id)


class SessionItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One streaming message, and whose session it belongs to.

    Attributes:
        message: the provider's message as it came: Begin, Heartbeat or Termination.
        session_id: the id that Begin carried; a Begin itself needs none.
        customer_id: whose session it is; needed with Begin.
        received_at: when the message came, UTC; now, when it is left out.
    """

    message: msgspec.Raw
    session_id: str | None = None
    customer_id: str | None = None
    dimensions: dict[str, str] = {}
    received_at: UtcTime | None = None


def items_of(body: bytes) -> Sequence[msgspec.Raw]:
    """Cut a body into items: an object is one, an array is up to 1,000.

    Raises:
        Refused: not JSON, neither of the two, or too many.
    """
    many = body.lstrip()[:1] == b"["
    try:
        items = _decode_items(body) if many else [_decode_one(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            items = _cut(body.decode())
        except (ValueError, RecursionError):
            raise Refused("the body is not JSON") from None
    if len(items) > MOST_ITEMS:
        raise Refused(f"{len(items)} items; send at most {MOST_ITEMS} in one request")
    if not items:
        raise Refused("no items; send an object, or an array of objects")
    return items


def _cut(text: str) -> list[msgspec.Raw]:
    """Cut a body in which some text is none, such as half an emoji: one item's fault is its own.

    Raises:
        ValueError: it is no JSON in another way too.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    start = _skip(text, 0)
    if text[start : start + 1] != "[":
        decoder.decode(text)
        return [msgspec.Raw(text.encode())]
    items: list[msgspec.Raw] = []
    at = _skip(text, start + 1)
    while True:
        _, end = decoder.raw_decode(text, at)
        items.append(msgspec.Raw(text[at:end].encode()))
        at = _skip(text, end)
        if text[at : at + 1] == "]" and not text[at + 1 :].strip():
            return items
        if text[at : at + 1] != ",":
            raise ValueError("expected a comma or the end of the array")
        at = _skip(text, at + 1)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _skip(text: str, at: int) -> int:
    """Return where the next character that is no space stands."""
    while text[at : at + 1].isspace():
        at += 1
    return at


def posted_event(item: msgspec.Raw, collector: str, now: datetime) -> AnyEvent:
    """Read an event whose sender gives the fact; who collected it and when is ours to say.

    Raises:
        InvalidEvent: the text says which field, and why.
    """
    try:
        given: Any = _decode_any(item)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEvent("not JSON") from None
    if not isinstance(given, dict):
        raise InvalidEvent("expected an object")
    for name in ("collector", "recorded_at"):
        if name in given:
            raise InvalidEvent(f"{name}: meter says that itself; leave it out")
    for name in ("seconds", "audio_seconds", "lower_seconds", "upper_seconds"):
        if name in given and given[name] is not None:
            _check_seconds(name, given[name])
    event = decode_event(_encode({**given, "collector": collector, "recorded_at": now}))
    if event.occurred_at > now + AHEAD:
        raise InvalidEvent("occurred_at: lies in the future; is the sender's clock right?")
    return event


def _check_seconds(name: str, value: object) -> None:
    """Refuse text: the decoder would read a number from any that Python's Decimal takes."""
    try:
        exact_seconds(value)
    except InvalidEvent as error:
        raise InvalidEvent(str(error).replace("seconds:", f"{name}:", 1)) from None


def key_of(item: msgspec.Raw) -> str:
    """Return what makes an item the same thing when it is posted again."""
    return f"posted:{hashlib.sha256(bytes(item)).hexdigest()}"
