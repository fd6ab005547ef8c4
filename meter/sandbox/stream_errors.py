"""How streaming says that something is wrong: an Error message, and a close with the same code."""

from typing import Any

NORMAL = 1000
UNAUTHORIZED = 1008
SERVER_ERROR = 3005
BAD_MESSAGE = 3006
BAD_AUDIO = 3007
EXPIRED = 3008
TOO_MANY_SESSIONS = 3009
"""Close codes (reference/assemblyai.md §5)."""

SERVER_ERROR_TEXT = "Server error: An unexpected error occurred"
EXPIRED_TEXT = "Session Expired: Maximum session duration exceeded"

REASON_BYTES = 123
"""What fits into a close frame (RFC 6455 §5.5)."""
LONG_REASON = "See Error message for details"


class TurnedAwayError(Exception):
    """A socket that was opened and gets no session: the close code, and why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def error_message(code: int, text: str) -> dict[str, Any]:
    """Return the Error message that precedes a close with `code`."""
    return {"type": "Error", "error_code": code, "error": text}


def close_reason(text: str) -> str:
    """Return the text where a close frame can hold it, else where to look for it."""
    return text if len(text.encode()) <= REASON_BYTES else LONG_REASON
