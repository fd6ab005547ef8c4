"""A streaming message cut down to what metering reads, before anything of it is kept.

A `Turn` is recognised by its type and never looked into. Of the three messages that count, only
numbers, truth values and short texts of the listed fields are copied, numbers digit by digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from meter.events import format_time

__all__ = ["RawMessage", "cut", "kind_of"]

RawMessage: TypeAlias = str | bytes | bytearray | memoryview | Mapping[str, Any]

KINDS: Final = ("Begin", "Heartbeat", "Termination")
FIELDS: Final = (
    "id",
    "expires_at",
    "total_duration_ms",
    "session_duration_seconds",
    "audio_duration_seconds",
)
MOST_BYTES: Final = 1_000_000
"""What is longer is none of the three, and is not even parsed."""
MOST_TEXT: Final = 500
"""An id has 36 characters; what is longer than this is no id."""
MOST_DIGITS: Final = 100


class _Type(msgspec.Struct, frozen=True, gc=False):
    type: Any = None


class _Fields(msgspec.Struct, frozen=True, gc=False):
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    expires_at: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    total_duration_ms: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    session_duration_seconds: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    audio_duration_seconds: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    configuration: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Configuration(msgspec.Struct, frozen=True, gc=False):
    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_type: Final = msgspec.json.Decoder(_Type).decode
_decode_fields: Final = msgspec.json.Decoder(_Fields).decode
_decode_configuration: Final = msgspec.json.Decoder(_Configuration).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.Encoder().encode


def kind_of(message: object) -> str | None:
    """Return `Begin`, `Heartbeat` or `Termination`; None for everything else, whatever it is."""
    if isinstance(message, Mapping):
        kind = message.get("type")
    elif isinstance(message, str | bytes | bytearray | memoryview) and len(message) <= MOST_BYTES:
        try:
            kind = _decode_type(message).type
        except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError: no UTF-8
            return None
    else:
        return None
    return kind if isinstance(kind, str) and kind in KINDS else None


def cut(message: RawMessage, kind: str) -> bytes:
    """Return the message as JSON with nothing in it but what metering reads.

    Args:
        message: as it came, or as an SDK decoded it. A float in it is written as its shortest
            repr: what the provider wrote, up to 15 digits.
        kind: what `kind_of` said.

    Raises:
        ValueError: it cannot be read after all.
    """
    kept: dict[str, Any] = {"type": kind}
    if isinstance(message, Mapping):
        for name in FIELDS:
            if name in message:
                kept[name] = _written(message[name])
        configuration = message.get("configuration")
        if isinstance(configuration, Mapping) and "model" in configuration:
            kept["configuration"] = {"model": _written(configuration["model"])}
    else:
        fields = _decode_fields(message)
        for name in FIELDS:
            value = getattr(fields, name)
            if isinstance(value, msgspec.Raw):
                kept[name] = _harmless(bytes(value))
        if isinstance(fields.configuration, msgspec.Raw):
            raw = bytes(fields.configuration)
            model = _decode_configuration(raw).model if raw.startswith(b"{") else None
            if isinstance(model, msgspec.Raw):
                kept["configuration"] = {"model": _harmless(bytes(model))}
    return _encode(kept)


def _harmless(raw: bytes) -> msgspec.Raw:
    """Return a JSON value as it stands when it is plain and short, an empty one otherwise."""
    first = raw[:1]
    if first == b'"':
        return _text(_decode_text(raw))
    if first == b"{":
        return msgspec.Raw(b"{}")
    if first == b"[":
        return msgspec.Raw(b"[]")
    return msgspec.Raw(raw) if len(raw) <= MOST_DIGITS else msgspec.Raw(b'""')


def _written(value: object) -> msgspec.Raw:  # noqa: PLR0911  one return for each type of JSON
    """Write a decoded value as the JSON that it came from; an empty one for what is not plain."""
    match value:
        case None:
            return msgspec.Raw(b"null")
        case bool():
            return msgspec.Raw(b"true" if value else b"false")
        case int():
            return _harmless(str(value).encode()) if abs(value) < 10**MOST_DIGITS else _text("")
        case float():
            return _harmless(repr(value).encode()) if math.isfinite(value) else _text(repr(value))
        case Decimal():
            return _harmless(str(value).encode()) if value.is_finite() else _text(str(value))
        case datetime():
            return _text(format_time(value) if value.tzinfo else value.isoformat())
        case str():
            return _text(value)
        case _:
            return msgspec.Raw(b"{}")


def _text(value: str) -> msgspec.Raw:
    """Write a short text; a long one is no id, no model and no time, so nothing of it is kept."""
    value = value.encode(errors="replace").decode()  # a lone surrogate has no place in UTF-8
    return msgspec.Raw(_encode(value if len(value) <= MOST_TEXT else ""))
