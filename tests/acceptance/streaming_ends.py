"""How sessions end at random: what the provider does, what clients do, what is done to them."""

import contextlib
import dataclasses
import socket
import threading
import time
import uuid
from collections.abc import Callable
from random import Random
from typing import Literal
from urllib.parse import urlencode

from acceptance.process import Meter, wait_until
from acceptance.streaming import SAMPLE_RATE, Loop, Voice, token
from acceptance.streaming_harm import Application, Cable
from meter.sandbox.stream_books import StreamTruth
from meter.sandbox.stream_plans import Missing, StreamPlan
from meter.sandbox.streaming import StreamingSandbox

Fate = Literal["lives", "SIGTERM", "SIGKILL"]
"""What becomes of meter itself while these sessions go on."""

# -- what the provider does of itself --------------------------------------------------------------

HONEST = StreamPlan()
UNUSABLE = (
    StreamPlan(termination_fields={"session_duration_seconds": None}),
    StreamPlan(termination_fields={"session_duration_seconds": Missing.MISSING}),
    StreamPlan(termination_fields={"session_duration_seconds": -1}),
)
PLANS: tuple[tuple[StreamPlan, int], ...] = (
    (HONEST, 24),
    (StreamPlan(termination_twice=True), 4),
    (StreamPlan(error_before_termination=True), 2),
    (StreamPlan(termination_delay_seconds=0.3), 2),
    (StreamPlan(begin_delay_seconds=0.3), 2),
    (StreamPlan(handshake_delay_seconds=0.2), 2),
    (StreamPlan(begin_twice=True), 1),
    (StreamPlan(no_termination=True), 3),
    (StreamPlan(ignore_terminate=True), 3),
    (StreamPlan(refuse_status=(503, "busy")), 1),
    (StreamPlan(close_at_once=(3009, "Too many concurrent sessions")), 1),
    *((plan, 1) for plan in UNUSABLE),
)


# -- what the clients do, and what is done to their sessions ---------------------------------------


@dataclasses.dataclass
class Attempt:
    """One client that asks for a session, and how it means to end it.

    `name` is also its customer, whom only meter knows; the provider is told it as a prompt that
    stands for nothing there, so that its books and meter's can be laid side by side.
    """

    name: str
    end: str
    fate: Fate
    saw_termination: bool = False


class Stage:
    """What all attempts share."""

    def __init__(self, meter: Meter, double: StreamingSandbox, loop: Loop, port: int) -> None:
        self.meter = meter
        self.double = double
        self.loop = loop
        self.host = f"ws://127.0.0.1:{port}"
        self.plans: dict[str, StreamPlan] = {}
        self._lock = threading.Lock()

    def plan(self, plan: StreamPlan) -> None:
        """Have some next session follow a plan; its id tells which one it was."""
        session_id = str(uuid.uuid4())
        with self._lock:
            self.plans[session_id] = plan
            fields = {**plan.begin_fields, "id": session_id}
            self.double.plan_next(dataclasses.replace(plan, begin_fields=fields))

    def session_of(self, name: str) -> StreamTruth | None:
        for row in self.double.truth():
            if row.params.get("prompt") == name:
                return row
        return None


class Line:
    """One attempt as it goes: its voice, and the cable that it speaks through."""

    def __init__(self, stage: Stage, attempt: Attempt, chance: Random, *, by_cable: bool) -> None:
        self.stage = stage
        self.attempt = attempt
        self.chance = chance
        self.cable = Cable(stage.loop, stage.host) if by_cable else None
        host = self.cable.host if self.cable is not None else stage.host
        self.voice = Voice(
            host,
            loop=stage.loop if chance.random() < 0.5 else None,
            token=token(attempt.name, {"end": attempt.end}),
        )

    def open(self) -> bool:
        """Connect and say something; false when there is no session to be ended."""
        self.voice.connect(prompt=self.attempt.name)
        if self.voice.is_over or not self.chance.randrange(8):
            return not self.voice.is_over  # at times it is ended before it said a word
        self.speak(self.chance.uniform(0.1, 1))
        return not self.voice.is_over

    def speak(self, wall_seconds: float) -> None:
        until = time.monotonic() + wall_seconds
        while time.monotonic() < until and not self.voice.is_over:
            self.voice.speak(0.2, faster=2)

    def speak_to_the_end(self) -> None:
        """Speak until the session is over, as the client is told."""
        deadline = time.monotonic() + 40
        while not self.voice.is_over:
            self.voice.speak(0.2, faster=2)
            assert time.monotonic() < deadline, (self.attempt, self.voice.heard)

    def close(self) -> None:
        if self.cable is not None:
            self.cable.close()
        self.voice.hang_up()
        self.attempt.saw_termination = bool(self.voice.of("Termination"))

    def of_provider(self, act: Callable[[str], None]) -> None:
        """Have the provider do something to the session, if it is open still."""
        stage, name = self.stage, self.attempt.name
        # A 101 arrives before the provider has made the session.
        wait_until(lambda: stage.session_of(name) or self.voice.is_over)
        row = stage.session_of(name)
        with contextlib.suppress(KeyError):
            act(row.session_id if row is not None else "")


def terminates(line: Line) -> None:
    line.voice.leave()


def hangs_up(line: Line) -> None:
    line.voice.hang_up()


def is_reset(line: Line) -> None:
    assert line.cable is not None
    line.cable.reset()


def is_unplugged(line: Line) -> None:
    assert line.cable is not None
    line.cable.fall_silent()
    line.speak(line.chance.uniform(0, 1))
    line.cable.close()


def stays_unplugged(line: Line) -> None:
    """Say nothing for longer than `idle_timeout`: the relay itself must end the session."""
    assert line.cable is not None
    line.cable.fall_silent()
    wait_until(lambda: ended(line.stage, line.attempt.name) or line.stage.meter.has_ended())


def fails_upstream(line: Line) -> None:
    code = line.chance.choice([3005, 3006, 3007])
    line.of_provider(lambda i: line.stage.double.error(i, code, "Server error: by plan"))
    line.speak_to_the_end()


def is_cut_upstream(line: Line) -> None:
    line.of_provider(line.stage.double.cut)
    line.speak_to_the_end()


def expires(line: Line) -> None:
    line.of_provider(line.stage.double.expire)
    line.speak_to_the_end()


def outlives_meter(line: Line) -> None:
    """Go on until meter ends it; where meter lives on, terminate after a while."""
    if line.attempt.fate == "lives":
        line.speak(0.5)
        line.voice.leave()
    else:
        line.speak_to_the_end()


ENDS: tuple[tuple[Callable[[Line], None], int], ...] = (
    (terminates, 5),
    (hangs_up, 3),
    (is_reset, 3),
    (is_unplugged, 2),
    (stays_unplugged, 1),
    (fails_upstream, 3),
    (is_cut_upstream, 3),
    (expires, 3),
    (outlives_meter, 5),
)
BY_CABLE = (is_reset, is_unplugged, stays_unplugged)


def carry_out(
    stage: Stage, attempt: Attempt, end: Callable[[Line], None], plan: StreamPlan, chance: Random
) -> None:
    time.sleep(chance.uniform(0, 0.5))
    line = Line(stage, attempt, chance, by_cable=end in BY_CABLE)
    stage.plan(plan)
    try:
        if line.open():
            end(line)
    finally:
        line.close()


def leave_at_once(stage: Stage, attempt: Attempt, chance: Random) -> None:
    """Ask for a session and be gone, before or after the answer."""
    stage.plan(HONEST)
    query = urlencode(
        {"sample_rate": SAMPLE_RATE, "prompt": attempt.name, "token": token(attempt.name)}
    )
    request = (
        f"GET /v3/ws?{query} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    port = int(stage.host.rpartition(":")[2])
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
    ):
        raw.sendall(request.encode())
        time.sleep(chance.uniform(0, 0.05))


def kill_an_application(stage: Stage, attempts: list[Attempt], chance: Random) -> None:
    """`kill -9` a process that has several sessions."""
    for _ in attempts:
        stage.plan(HONEST)
    application = Application(stage.host, {a.name: token(a.name) for a in attempts})
    try:
        wait_until(
            lambda: (
                len(application.answered) == len(attempts)
                or application.has_ended()
                or stage.meter.has_ended()
            )
        )
        time.sleep(chance.uniform(0, 0.5))
    finally:
        application.kill()


def ended(stage: Stage, name: str) -> bool:
    row = stage.session_of(name)
    return row is None or row.ended_at is not None
