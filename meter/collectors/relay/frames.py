"""WebSocket frames (RFC 6455 §5), found but not unpacked: the relay passes them on as they came.

A client's frames are masked, and stay so on their way up; the provider's are not. So no payload
is copied, unmasked or masked again, and only the provider's text frames are ever read.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "BadFrame",
    "Frame",
    "FrameTooLarge",
    "client_frame",
    "close_payload",
    "head_of",
    "server_frame",
    "unmasked",
]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FIN: Final = 0x80
_MASKED: Final = 0x80
_MOST_SHORT: Final = 125
_TWO_BYTES: Final = 126
_MOST_TWO_BYTES: Final = 0xFFFF
_MOST_REASON: Final = 123
_NO_MASK: Final = b"\0\0\0\0"


class BadFrame(Exception):
    """What came is no frame that this side may send; the text says why."""


class FrameTooLarge(BadFrame):
    """A frame announces more than is allowed."""


class Frame(NamedTuple):
    """The head of a frame.

    Attributes:
        opcode: what it is.
        fin: whether it ends its message.
        head: bytes before the payload.
        size: bytes with the payload.
    """

    opcode: int
    fin: bool
    head: int
    size: int


def head_of(data: bytes | bytearray, start: int, *, masked: bool, most: int) -> Frame | None:
    """Read the head of the frame at `start`; None when more bytes are needed for that.

    Args:
        data: what has arrived.
        start: where a frame begins.
        masked: whether this side must mask, as a client does.
        most: the longest payload allowed, bytes.

    Raises:
        BadFrame: a mask where there must be none or the reverse, or a broken control frame.
        FrameTooLarge: longer than `most`.
    """
    left = len(data) - start
    if left < 2:  # noqa: PLR2004  because the shortest head has two bytes
        return None
    first, second = data[start], data[start + 1]
    length = second & 0x7F
    head = 2
    if length > _MOST_SHORT:
        wide = 2 if length == _TWO_BYTES else 8
        head += wide
        if left < head:
            return None
        length = int.from_bytes(data[start + 2 : start + head], "big")
    if (second >= _MASKED) is not masked:
        raise BadFrame("a client must mask its frames, and a server must not")
    if masked:
        head += 4
    opcode = first & 0x0F
    if opcode >= CLOSE and (length > _MOST_SHORT or first < _FIN):
        raise BadFrame("a control frame is whole and short")
    if length > most:
        raise FrameTooLarge(f"a frame of {length} bytes; at most {most} are allowed")
    return Frame(opcode, first >= _FIN, head, head + length)


def unmasked(data: bytes | bytearray, start: int, frame: Frame) -> bytes:
    """Return the payload of a client's frame in the clear."""
    mask = data[start + frame.head - 4 : start + frame.head]
    payload = data[start + frame.head : start + frame.size]
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(payload), "big")


def server_frame(opcode: int, payload: bytes) -> bytes:
    """Make a whole frame as a server sends it."""
    return _head(opcode, len(payload), 0) + payload


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Make a whole frame as a client sends it.

    The mask is zero: masking guards against scripts that choose bytes for old proxies to misread
    (RFC 6455 §10.3), and the relay chooses its own.
    """
    return _head(opcode, len(payload), _MASKED) + _NO_MASK + payload


def close_payload(code: int, reason: str) -> bytes:
    """Return what a close frame holds; a reason is cut to the 123 bytes that fit."""
    text = reason.encode()[:_MOST_REASON].decode(errors="ignore").encode()
    return code.to_bytes(2, "big") + text


def _head(opcode: int, length: int, mask: int) -> bytes:
    first = _FIN | opcode
    if length <= _MOST_SHORT:
        return bytes((first, mask | length))
    if length <= _MOST_TWO_BYTES:
        return bytes((first, mask | _TWO_BYTES)) + length.to_bytes(2, "big")
    return bytes((first, mask | 0x7F)) + length.to_bytes(8, "big")
