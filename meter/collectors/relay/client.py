"""The application's end of a relayed session: whole messages go up, in the frames they came in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from meter.collectors.relay.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    TEXT,
    BadFrame,
    Frame,
    FrameTooLarge,
    head_of,
    unmasked,
)
from meter.collectors.relay.upstream import keep_alive

__all__ = ["Client", "Listener"]

_WHOLE_BINARY: Final = 0x80 | BINARY
_MASKED_TWO_BYTES: Final = 0x80 | 126
_LONGEST_READ_TEXT: Final = 65_536
HIGH_WATER: Final = 256 * 1024
"""Bytes that may wait for a client that does not read, before the provider is made to wait."""


class Listener(Protocol):
    """Who hears what the application does beside sending audio."""

    def client_says(self, text: bytes) -> bytes:
        """Hear a control message, which goes up now; return frames that are to follow it."""

    def client_closes(self, frame: bytes, payload: bytes) -> None:
        """Hear a close frame; it has not gone up."""

    def client_errs(self, problem: BadFrame, opcode: int) -> None:
        """Hear that what came is no frame that may be passed on."""

    def client_lost(self) -> None:
        """Hear that the connection is gone."""

    def client_full(self) -> None:
        """Hear that it does not read what it is sent."""

    def client_drained(self) -> None:
        """Hear that it does again."""


class Client(asyncio.Protocol):
    """One application's connection.

    Attributes:
        forward: writes to the provider; None while there is none, or no more: then what comes
            is read and forgotten.
        active: a message came since this was last set to false.
    """

    def __init__(self, listener: Listener, transport: asyncio.Transport, most: int) -> None:
        """Speak on an accepted connection; frames may be `most` bytes long."""
        self.transport = transport
        self.forward: Callable[[bytes], None] | None = None
        self.active = True
        self._listener = listener
        self._most = most
        # An incomplete frame, and how many bytes there must be before it is looked at again.
        self._tail = bytearray()
        self._needed = 0
        self._deaf = False
        # A message of several frames: its first opcode, its frames, and what a text says so far.
        self._first: int | None = None
        self._fragments = bytearray()
        self._said = bytearray()
        transport.set_write_buffer_limits(high=HIGH_WATER)
        keep_alive(transport)

    def data_received(self, data: bytes) -> None:
        """Pass whole messages up; what is left of one waits, so that ours never fall into it."""
        if (
            len(data) > 8  # noqa: PLR2004  because that is the head of a masked frame of this size
            and data[0] == _WHOLE_BINARY
            and data[1] == _MASKED_TWO_BYTES
            and len(data) == 8 + (data[2] << 8 | data[3])
            and not self._tail
        ):  # one whole frame of audio: nearly always
            self.active = True
            if self.forward is not None:
                self.forward(data)
        elif self._deaf:
            return
        elif not self._tail:
            self._take(data)
        else:
            self._tail += data
            if len(self._tail) >= self._needed:
                data, self._tail = bytes(self._tail), bytearray()
                self._take(data)

    def _take(self, data: bytes) -> None:
        start = at = 0
        opcode = data[0] & 0x0F
        try:
            while (frame := head_of(data, at, masked=True, most=self._most)) is not None:
                opcode = frame.opcode
                end = at + frame.size
                if end > len(data):
                    break
                if opcode == CLOSE:
                    self._pass(data[start:at])
                    self._stop_listening()
                    self._listener.client_closes(data[at:end], unmasked(data, at, frame))
                    return
                self.active = self.active or opcode < CLOSE  # browsers send Pongs by themselves
                if opcode < CLOSE and (not frame.fin or opcode == CONTINUATION):
                    self._pass(data[start:at])
                    self._gather(data, at, frame)
                    start = end
                elif opcode == TEXT and (answer := self._say(unmasked(data, at, frame))):
                    self._pass(data[start:end] + answer)
                    start = end
                at = end
                if at < len(data):
                    opcode = data[at] & 0x0F
        except BadFrame as problem:
            self._pass(data[start:at])
            self._stop_listening()
            self._listener.client_errs(problem, opcode)
            return
        self._pass(data[start:at])
        if at < len(data):
            self._tail = bytearray(data[at:])
            self._needed = len(data) - at + 1 if frame is None else frame.size

    def _gather(self, data: bytes, at: int, frame: Frame) -> None:
        """Keep a message of several frames until it is whole: half of one must never go up."""
        payload = unmasked(data, at, frame) if self._first in (None, TEXT) else b""
        if self._first is None:
            self._first = frame.opcode
        self._fragments += data[at : at + frame.size]
        self._said += payload
        if len(self._fragments) > self._most:
            raise FrameTooLarge(f"a message of more than {self._most} bytes")
        if frame.fin:
            whole, self._fragments = bytes(self._fragments), bytearray()
            said, self._said = bytes(self._said), bytearray()
            first, self._first = self._first, None
            self._pass(whole + (self._say(said) if first == TEXT else b""))

    def _say(self, text: bytes) -> bytes:
        """Have a control message heard, if it goes up; return what is to follow it."""
        if self.forward is None or len(text) > _LONGEST_READ_TEXT:
            return b""
        return self._listener.client_says(text)

    def _stop_listening(self) -> None:
        self._deaf = True
        self._tail, self._fragments, self._said = bytearray(), bytearray(), bytearray()

    def _pass(self, whole: bytes) -> None:
        if whole and self.forward is not None:
            self.forward(whole)

    def send(self, data: bytes) -> None:
        """Write to the application, if it is still there."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        del exc
        self.forward = None
        self._listener.client_lost()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._listener.client_full()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._listener.client_drained()
