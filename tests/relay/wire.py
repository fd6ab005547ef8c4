"""Both ends of a relayed session, byte by byte, in the hands of one test.

`Wire` is one WebSocket without manners: it sends whatever it is told to. `Provider` stands where
AssemblyAI stands and does only what the test does; where honest behaviour is wanted, the tests
use `meter.sandbox.streaming` instead.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import queue
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
MASK = b"\x12\x34\x56\x78"
PATIENCE_SECONDS = 15.0
KEY = base64.b64encode(b"sixteen bytes !!").decode()
TERMINATE = b'{"type":"Terminate"}'


class Frame(NamedTuple):
    """A whole frame as it came, its payload in the clear."""

    opcode: int
    payload: bytes
    fin: bool = True


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    mask: bytes | None = MASK,
    announced: int | None = None,
) -> bytes:
    """Make a frame, as a client unless there is no mask; it may announce another length."""
    length = len(payload) if announced is None else announced
    masked = 0 if mask is None else 0x80
    head = bytes([(FIN if fin else 0) | opcode])
    if length <= 125:
        head += bytes([masked | length])
    elif length <= 0xFFFF:
        head += bytes([masked | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([masked | 127]) + length.to_bytes(8, "big")
    return head + payload if mask is None else head + mask + masking(payload, mask)


def masking(payload: bytes, mask: bytes) -> bytes:
    repeated = mask * (len(payload) // 4 + 1)
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return number.to_bytes(len(payload), "big")


def request(
    path: str = "/v3/ws", *, headers: Mapping[str, str] | None = None, version: str = "13"
) -> bytes:
    """Make a client's handshake."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: meter.example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        f"Sec-WebSocket-Version: {version}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


def accepting(head: bytes) -> bytes:
    """Make the answer that accepts a handshake."""
    key = next(
        line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    )
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324, RUF100  RFC 6455 says so
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


class Wire:
    """One end of a TCP connection, with frames for those who want them."""

    def __init__(self, connection: socket.socket, *, mask: bytes | None) -> None:
        connection.settimeout(PATIENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.head = b""
        self.status = 0
        self.code: int | None = None
        self.reason = ""
        self._mask = mask
        self._buffer = b""

    @classmethod
    def to(cls, port: int, *, buffer: int | None = None) -> Self:
        """Connect as a client, and say nothing yet."""
        connection = socket.socket()
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", port))
        return cls(connection, mask=MASK)

    # -- sending ------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def dribble(self, data: bytes) -> None:
        """Send byte by byte, each in a segment of its own."""
        for at in range(len(data)):
            self.socket.sendall(data[at : at + 1])

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self.raw(frame(opcode, payload, fin=fin, mask=self._mask))

    def say(self, kind: str, **fields: Any) -> None:
        self.send(TEXT, json.dumps({"type": kind, **fields}).encode())

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
        self.send(CLOSE, payload)

    def vanish(self) -> None:
        """Be gone without a word, as a killed process or a pulled cable is."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # -- receiving ------------------------------------------------------------------

    def _more(self) -> bool:
        data = self.socket.recv(1 << 20)
        self._buffer += data
        return bool(data)

    def read(self, count: int) -> bytes:
        """Return exactly so many bytes as they came."""
        while len(self._buffer) < count:
            if not self._more():
                raise EOFError(self._buffer)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def read_head(self) -> bytes:
        """Read a request or an answer up to its body."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not self._more():
                raise EOFError(self._buffer)
        self.head, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
        start = self.head.split(b" ", 2)
        self.status = int(start[1]) if start[1].isdigit() else 0
        return self.head

    def read_all(self) -> bytes:
        """Return everything until the other end closes."""
        with contextlib.suppress(ConnectionResetError):
            while self._more():
                pass
        taken, self._buffer = self._buffer, b""
        return taken

    def header(self, name: str) -> str | None:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    def frame(self) -> Frame:
        first, second = self.read(2)
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(self.read(2 if length == 126 else 8), "big")
        mask = self.read(4) if second & 0x80 else None
        payload = self.read(length)
        clear = payload if mask is None else masking(payload, mask)
        return Frame(first & 0x0F, clear, fin=first >= FIN)

    def hear(self) -> Any:
        """Return the next message, decoded; pings are passed over."""
        while (received := self.frame()).opcode in (PING, PONG):
            pass
        assert received.opcode == TEXT, received
        return json.loads(received.payload)

    def frames(self) -> Iterator[Frame]:
        """Yield frames up to a close, which is noted, or to the connection's end."""
        with contextlib.suppress(EOFError, ConnectionResetError):
            while (received := self.frame()).opcode != CLOSE:
                yield received
            if received.payload:
                self.code = int.from_bytes(received.payload[:2], "big")
                self.reason = received.payload[2:].decode()
            else:
                self.code = 1005

    def rest(self) -> list[Any]:
        """Return all messages up to the close, which is noted, and answered as any client does."""
        said = [json.loads(f.payload) for f in self.frames() if f.opcode == TEXT]
        if self.code is not None:
            with contextlib.suppress(OSError):
                self.close(None if self.code == 1005 else self.code, self.reason)
        return said


Answer = bytes | Callable[[Wire], None]


class Provider:
    """A provider without a will of its own: it answers handshakes, the test does the rest."""

    def __init__(self, *, listening: bool = True) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        self.connections = 0
        self.answers: deque[Answer] = deque()
        self.receive_buffer: int | None = None
        self._accepted: queue.Queue[Wire] = queue.Queue()
        self._wires: list[Wire] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        if listening:
            self.listen()

    def listen(self) -> None:
        """Be reachable; before that a connection is refused."""
        if self.receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self._listener.listen(64)
        self._thread.start()

    def answer_next(self, *answers: Answer) -> None:
        """Answer the next handshakes so, in place of a 101: bytes, or what talks on the wire."""
        self.answers.extend(answers)

    def accept(self) -> Wire:
        """Return the next connection whose handshake was answered."""
        return self._accepted.get(timeout=PATIENCE_SECONDS)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in self._wires:
            wire.vanish()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            wire = Wire(connection, mask=None)
            self._wires.append(wire)
            with contextlib.suppress(OSError, EOFError):
                head = wire.read_head()
                answer = self.answers.popleft() if self.answers else accepting(head)
                if callable(answer):
                    answer(wire)
                else:
                    wire.raw(answer)
                self._accepted.put(wire)


def terminate(upstream: Wire, *, seconds: Any = 7, audio: Any = 5) -> None:
    """Answer Terminate as the provider does."""
    upstream.say("Termination", session_duration_seconds=seconds, audio_duration_seconds=audio)
    upstream.close(1000)
