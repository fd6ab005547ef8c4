"""Control messages: what the relay reads of an application's, and the two that are its own."""

from __future__ import annotations

from typing import Final

import msgspec

from meter.collectors.relay.frames import TEXT, client_frame

__all__ = ["GO_ON_BEATING", "TERMINATE", "Control", "read_control"]

TERMINATE: Final = client_frame(TEXT, b'{"type":"Terminate"}')
"""Ends a session whose application is gone, or has come to a limit."""
GO_ON_BEATING: Final = client_frame(
    TEXT, b'{"type":"UpdateConfiguration","session_heartbeat":true}'
)
"""Follows an application's wish for no Heartbeats: it sees none, and the bounds need them."""


class Control(msgspec.Struct, frozen=True):
    """What the relay reads of a control message.

    Attributes:
        type: `Terminate`, `UpdateConfiguration`, …
        session_heartbeat: whether Heartbeats are wanted from now on; None says nothing of it.
    """

    type: str = ""
    session_heartbeat: bool | None = None


_decode: Final = msgspec.json.Decoder(Control).decode


def read_control(text: bytes) -> Control:
    """Read a control message; an empty one where the provider will say what is wrong with it."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Control()
