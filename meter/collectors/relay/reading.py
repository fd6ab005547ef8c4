"""What comes down from the provider, cut into whole messages that keep their frames."""

from __future__ import annotations

from typing import Final, NamedTuple

from meter.collectors.relay.frames import CLOSE, CONTINUATION, BadFrame, head_of

__all__ = ["Message", "MessageReader"]

MOST_BYTES: Final = 4 * 1024 * 1024
"""The longest message that is taken from the provider."""


class Message(NamedTuple):
    """A whole message, or a control frame.

    Attributes:
        opcode: text, binary, or a control frame's.
        payload: what it says.
        raw: its frames, to be passed on unchanged.
    """

    opcode: int
    payload: bytes
    raw: bytes


class MessageReader:
    """Cuts a stream of a server's frames; a message in several frames comes out in one piece."""

    def __init__(self) -> None:
        """Start behind the handshake."""
        self._data = b""
        self._at = 0
        self._begun: Message | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        rest = self._data[self._at :]
        self._data = rest + data if rest else data
        self._at = 0

    def next(self) -> Message | None:
        """Return the next message, or None until more bytes have come.

        Raises:
            BadFrame: what came is no server's frame, or a message too long.
        """
        while (frame := head_of(self._data, self._at, masked=False, most=MOST_BYTES)) is not None:
            end = self._at + frame.size
            if end > len(self._data):
                return None
            raw = self._data[self._at : end]
            payload = raw[frame.head :]
            self._at = end
            if frame.opcode >= CLOSE or (frame.fin and frame.opcode != CONTINUATION):
                return Message(frame.opcode, payload, raw)
            begun = self._begun or Message(frame.opcode, b"", b"")
            begun = Message(begun.opcode, begun.payload + payload, begun.raw + raw)
            if len(begun.payload) > MOST_BYTES:
                raise BadFrame("a message that is too long")
            if frame.fin:
                self._begun = None
                return begun
            self._begun = begun
        return None
