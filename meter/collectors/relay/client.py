"""The application's end of a relayed session: whole frames go up, as they came."""

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

    def client_says(self, text: bytes) -> None:
        """Hear a control message; it has not gone up yet, and will."""

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
        in_message: whether a message of several frames is under way.
    """

    def __init__(self, listener: Listener, transport: asyncio.Transport, most: int) -> None:
        """Speak on an accepted connection; frames may be `most` bytes long."""
        self.transport = transport
        self.forward: Callable[[bytes], None] | None = None
        self.active = True
        self.in_message = False
        self._listener = listener
        self._most = most
        self._tail = b""
        self._deaf = False
        transport.set_write_buffer_limits(high=HIGH_WATER)
        keep_alive(transport)

    def data_received(self, data: bytes) -> None:
        """Pass whole frames up; what is left of one waits, so that ours never fall into it."""
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
        elif not self._deaf:
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self._tail:
            data = self._tail + data
        at = 0
        opcode = data[0] & 0x0F
        try:
            while (frame := head_of(data, at, masked=True, most=self._most)) is not None:
                opcode = frame.opcode
                end = at + frame.size
                if end > len(data):
                    break
                if opcode == CLOSE:
                    self._pass(data[:at])
                    self._deaf = True
                    self._tail = b""
                    self._listener.client_closes(data[at:end], unmasked(data, at, frame))
                    return
                if opcode == TEXT and frame.fin and frame.size <= _LONGEST_READ_TEXT:
                    self._listener.client_says(unmasked(data, at, frame))
                if opcode in (TEXT, BINARY, CONTINUATION):
                    self.active = True  # a Pong, which browsers send by themselves, is no use
                    self.in_message = not frame.fin
                at = end
                if at < len(data):
                    opcode = data[at] & 0x0F
        except BadFrame as problem:
            self._pass(data[:at])
            self._deaf = True
            self._tail = b""
            self._listener.client_errs(problem, opcode)
            return
        self._pass(data[:at])
        self._tail = data[at:]

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
