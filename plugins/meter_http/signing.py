"""Signatures by Standard Webhooks 1.0.0: `v1`, HMAC-SHA256 over id, timestamp and body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

__all__ = ["key_of", "message_id", "signed_headers"]

PREFIX: Final = "whsec_"
SHORTEST: Final = 24
LONGEST: Final = 64
"""Bytes of a key; both from the specification."""


def key_of(secret: str) -> bytes:
    """Return the key in a secret such as `whsec_MfKQ…`.

    Raises:
        ValueError: it is none; the text says what is expected and never quotes it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(f"text such as whsec_… with {SHORTEST} to {LONGEST} bytes in base64")
    return key


def message_id(event_ids: Iterable[str]) -> str:
    """Return the id of a message with these events: the same whenever the same ones are sent.

    A digest, because the specification warns of ids in which a sender's text can put a full stop.
    """
    digest = hashlib.sha256("\n".join(event_ids).encode()).hexdigest()
    return f"msg_{digest[:32]}"


def signed_headers(
    keys: Sequence[bytes], event_ids: Iterable[str], body: bytes, now: datetime
) -> dict[str, str]:
    """Return the three headers of a signed message; one signature for each key.

    Args:
        keys: the present key and those that are on their way out.
        event_ids: of the events in the body.
        body: the very bytes that are sent.
        now: the time of this attempt, aware.
    """
    name, timestamp = message_id(event_ids), str(int(now.timestamp()))
    content = b".".join((name.encode(), timestamp.encode(), body))
    made = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "webhook-id": name,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in made),
    }
