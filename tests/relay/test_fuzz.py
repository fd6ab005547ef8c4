"""Random bytes, in place of frames and in place of the handshake: nothing breaks, nothing leaks."""

from __future__ import annotations

import contextlib
import random
import socket

from meter.events import StreamTerminated
from meter.sandbox.streaming import StreamingSandbox
from relay.running import Relayed, assert_abandoned_around, token
from relay.wire import BINARY, CLOSE, PING, TEXT, Wire, frame, request
from support.waiting import eventually

CASES = 200


def noise(chance: random.Random) -> bytes:
    """Make bytes that are wrong in one of many ways, some of them nearly right."""
    opcode = chance.choice([0, TEXT, BINARY, CLOSE, PING, 0xA, 3, 0xB, 0xF])
    payload = chance.randbytes(chance.choice([0, 1, 2, 60, 125, 126, 3200, 70_000]))
    whole = bytearray(frame(opcode, payload, fin=chance.random() < 0.7))
    match chance.randrange(6):
        case 0:
            return chance.randbytes(chance.randrange(1, 5000))
        case 1:
            whole[0] ^= 1 << chance.randrange(8)
        case 2:
            whole[1] ^= 1 << chance.randrange(8)
        case 3:
            del whole[chance.randrange(1, len(whole)) :]
        case 4:
            return bytes(whole) + noise(chance)
        case _:
            pass
    return bytes(whole)


def leave(wire: Wire, chance: random.Random) -> None:
    if chance.random() < 0.5:
        wire.vanish()
    else:
        with contextlib.suppress(OSError):
            wire.socket.shutdown(socket.SHUT_WR)


def assert_all_is_recorded(relayed: Relayed, double: StreamingSandbox) -> None:
    """Every session of the double is in one state, and billed exactly if it was terminated."""
    eventually(lambda: not relayed.open_sessions(), seconds=20)
    truths = {truth.session_id: truth for truth in double.truth()}
    assert set(relayed.states()) == set(truths)
    assert relayed.openings() == 0
    assert relayed.quarantined() == []
    events = relayed.events()
    assert len(events) == len(truths)
    for event in events:
        truth = truths[event.provider_id]
        if truth.termination_sent:
            assert isinstance(event, StreamTerminated)
            assert event.seconds == truth.session_seconds
        else:  # what passed was for the provider to refuse, and it did
            assert_abandoned_around(event, truth.session_seconds)


def test_random_bytes_for_frames_break_nothing_and_every_session_is_recorded(
    honest: Relayed, double: StreamingSandbox
) -> None:
    chance = random.Random(20_261_122)
    wires = []
    for _ in range(CASES):
        wire = honest.dial()
        assert wire.status == 101
        if chance.random() < 0.5:
            assert wire.hear()["type"] == "Begin"
        with contextlib.suppress(OSError):
            for _ in range(chance.randrange(1, 4)):
                wire.raw(noise(chance))
        leave(wire, chance)
        wires.append(wire)
    # Those that only said that they send no more hear why it is over; then all is closed.
    for wire in wires:
        with contextlib.suppress(OSError):
            wire.read_all()
        wire.vanish()
    assert_all_is_recorded(honest, double)
    assert len(double.truth()) == CASES
    assert {e.kind for e in honest.events()} == {"stream_terminated", "stream_abandoned"}


def mangled(chance: random.Random) -> bytes:
    """Make a handshake that is wrong somewhere, or nothing like one."""
    authorization = token() if chance.random() < 0.7 else chance.randbytes(40).hex()
    whole = bytearray(
        request(
            f"/v3/ws?sample_rate=16000&x={chance.randrange(99)}",
            headers={"Authorization": authorization},
        )
    )
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(1, 3000))
        case 1:
            for _ in range(chance.randrange(1, 6)):
                whole[chance.randrange(len(whole))] = chance.randrange(256)
        case 2:
            del whole[chance.randrange(1, len(whole)) :]
        case 3:
            at = chance.randrange(len(whole))
            whole[at:at] = chance.randbytes(chance.randrange(1, 200))
        case _:
            lines = bytes(whole).split(b"\r\n")
            chance.shuffle(lines)
            return b"\r\n".join(lines) + b"\r\n\r\n"
    return bytes(whole)


def test_random_bytes_for_a_handshake_break_nothing_and_leave_nothing_open(
    honest: Relayed, double: StreamingSandbox
) -> None:
    chance = random.Random(3)
    for _ in range(CASES):
        wire = honest.connect()
        with contextlib.suppress(OSError):
            wire.raw(mangled(chance))
        if chance.random() < 0.3:
            with contextlib.suppress(OSError, EOFError):
                wire.raw(b"\r\n\r\n")
                wire.read_head()
        leave(wire, chance)
        wire.vanish()
    eventually(lambda: not honest.open_sessions(), seconds=20)
    assert_all_is_recorded(honest, double)
    assert honest.dial().status == 101
