"""How a session is refused or ended: AssemblyAI's own close codes, and its Error message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from meter.collectors.relay.frames import CLOSE, TEXT, close_payload, server_frame

__all__ = [
    "BAD_CHUNK",
    "BAD_MESSAGE",
    "EXPIRED",
    "RESTARTING",
    "SERVER_FAULT",
    "STARTING",
    "TOO_MANY",
    "UNAUTHORIZED",
    "UNWRITABLE",
    "HttpRefusal",
    "farewell",
]

UNAUTHORIZED: Final = 1008
RESTARTING: Final = 1012
"""Not AssemblyAI's: the WebSocket registry's own word for a server that is about to restart."""
SERVER_FAULT: Final = 3005
BAD_MESSAGE: Final = 3006
BAD_CHUNK: Final = 3007
EXPIRED: Final = 3008
TOO_MANY: Final = 3009

HttpRefusal = tuple[int, bytes, Sequence[tuple[str, str]]]
"""Status, body and headers of an answer to a handshake that is not even begun."""
STARTING: Final[HttpRefusal] = (
    503,
    b'{"error":"meter is starting; please retry"}',
    (("retry-after", "5"),),
)
UNWRITABLE: Final[HttpRefusal] = (
    503,
    b'{"error":"busy; please retry"}',
    (("retry-after", "10"),),
)


def farewell(code: int, reason: str, *, explained: bool) -> bytes:
    """Return what ends a session as the provider ends it: an Error message, and a close frame."""
    error = {"type": "Error", "error_code": code, "error": reason}
    explanation = server_frame(TEXT, msgspec.json.encode(error)) if explained else b""
    return explanation + server_frame(CLOSE, close_payload(code, reason))
