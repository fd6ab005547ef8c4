"""One side that does not read makes the other wait: nothing piles up in between."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from datetime import timedelta
from typing import Any

import pytest

from meter.collectors.relay.client import HIGH_WATER
from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox
from relay.running import Relayed, Start
from relay.wire import BINARY, TERMINATE, TEXT, Frame, Provider, Wire, frame
from support.waiting import eventually

Begun = tuple[Wire, Wire]
MEGABYTE = 1 << 20
ONE_READ = MEGABYTE
"""More than the event loop reads at once from a socket, beside what waited already."""
PIECE = bytes(range(256)) * 250  # 64,000 bytes


class Flood(threading.Thread):
    """Sends whole frames until there were enough, or the other end is gone."""

    def __init__(self, wire: Wire, data: bytes, size: int) -> None:
        super().__init__(daemon=True)
        self._wire, self._data, self._size = wire, data, size
        self.sent = 0
        wire.socket.settimeout(60)

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while self.sent < self._size:
                self._wire.raw(self._data)
                self.sent += len(self._data)


def waiting_for_the_client(relayed: Relayed, session: Any) -> int:
    return relayed.inside(lambda: int(session.client.transport.get_write_buffer_size()))


def waiting_for_the_provider(relayed: Relayed, session: Any) -> int:
    return relayed.inside(lambda: int(session._upstream.transport.get_write_buffer_size()))


def test_an_application_that_never_reads_makes_the_provider_wait(
    relayed: Relayed, provider: Provider
) -> None:
    client = relayed.dial(buffer=4096)
    upstream = provider.accept()
    upstream.say("Begin", id="s1")
    flood = Flood(upstream, frame(BINARY, PIECE, mask=None), 200 * MEGABYTE)
    flood.start()
    (session,) = relayed.open_sessions()
    eventually(lambda: session._stalled_at is not None)
    assert waiting_for_the_client(relayed, session) <= HIGH_WATER + ONE_READ
    # What the kernel takes on the two ways is all that went beyond that.
    assert flood.sent < 30 * MEGABYTE
    client.vanish()
    flood.join(60)
    assert flood.sent >= 200 * MEGABYTE  # read and forgotten, for the Termination behind it
    assert upstream.frame() == Frame(TEXT, TERMINATE)
    upstream.say("Termination", session_duration_seconds=7)
    eventually(lambda: relayed.sessions()["s1"].seconds == 7)


def test_a_session_whose_application_never_read_is_billed_when_it_is_gone(
    start: Start, double: StreamingSandbox
) -> None:
    relayed = start(double.url, termination_timeout=timedelta(seconds=60))
    double.plan_next(StreamPlan(turns_flood=12 * MEGABYTE))
    client = relayed.dial(buffer=4096)
    (session,) = relayed.open_sessions()
    eventually(lambda: session._stalled_at is not None)
    assert waiting_for_the_client(relayed, session) <= HIGH_WATER + ONE_READ
    client.vanish()
    eventually(lambda: list(relayed.states().values()) == ["closed"], seconds=60)
    (truth,) = double.truth()
    assert relayed.sessions()[truth.session_id].seconds == truth.session_seconds


def test_an_application_that_reads_slowly_gets_everything(begun: Begun) -> None:
    client, upstream = begun
    flood = Flood(upstream, frame(BINARY, PIECE, mask=None), 8 * MEGABYTE)
    flood.start()
    digest, size = hashlib.sha256(), 0
    client.socket.setsockopt(6, 1, 1)
    while size < 8 * MEGABYTE // len(PIECE) * len(PIECE):
        received = client.frame()
        digest.update(received.payload)
        size += len(received.payload)
    assert digest.digest() == hashlib.sha256(PIECE * (size // len(PIECE))).digest()
    flood.join(20)


def test_an_application_that_sends_faster_than_the_provider_reads_is_made_to_wait(
    start: Start,
) -> None:
    provider = Provider(listening=False)
    provider.receive_buffer = 4096
    provider.listen()
    relayed = start(provider.url)
    client = relayed.dial()
    upstream = provider.accept()
    flood = Flood(client, frame(BINARY, PIECE), 64 * MEGABYTE)
    flood.start()
    (session,) = relayed.open_sessions()
    eventually(lambda: waiting_for_the_provider(relayed, session) > 0)
    eventually(lambda: not relayed.inside(session.client.transport.is_reading))
    assert waiting_for_the_provider(relayed, session) <= 2 * ONE_READ
    assert flood.sent < 40 * MEGABYTE
    digest, size = hashlib.sha256(), 0
    while size < 64 * MEGABYTE:
        received = upstream.frame()
        digest.update(received.payload)
        size += len(received.payload)
    assert digest.digest() == hashlib.sha256(PIECE * (size // len(PIECE))).digest()
    flood.join(20)
    provider.stop()


@pytest.mark.parametrize("opcode", [BINARY, TEXT])
def test_a_flood_after_the_session_was_ended_is_read_and_forgotten(
    relayed: Relayed, provider: Provider, opcode: int
) -> None:
    client = relayed.dial()
    upstream = provider.accept()
    upstream.say("Begin", id="s1")
    client.hear()
    client.raw(frame(opcode, announced=1 << 40))
    flood = Flood(client, PIECE, 20 * MEGABYTE)
    flood.start()
    assert upstream.frame() == Frame(TEXT, TERMINATE)
    flood.join(30)
    assert flood.sent >= 20 * MEGABYTE
    (session,) = relayed.open_sessions()
    assert session.client._tail == b""
    assert waiting_for_the_provider(relayed, session) == 0
    upstream.say("Termination", session_duration_seconds=7)
    upstream.close(1000)
    assert client.rest()[-1]["type"] == "Termination"
    assert client.code == (3007 if opcode == BINARY else 3006)
