"""What can go wrong in streaming, on purpose: for one named connection, or by share of them."""

import dataclasses
import enum
from collections.abc import Mapping
from random import Random
from typing import Any

from meter.sandbox.stream_errors import SERVER_ERROR, SERVER_ERROR_TEXT


class Missing(enum.Enum):
    """Marks a field that a message is sent without; `None` is a value there: null."""

    MISSING = "missing"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """What happens to one connection; the default is an honest session.

    All seconds are the wall clock's, whatever the double's `time_scale`; those named `after` count
    from the 101 that opens the socket.

    Attributes:
        handshake_delay_seconds: Before the handshake is answered at all.
        refuse_status: The HTTP status and body that answer in place of the 101.
        close_at_once: The code and text of an Error frame and a close right after the 101; no
            session comes to be.
        begin: Whether Begin is sent; without it everything else goes on.
        begin_delay_seconds: Between the 101 and Begin.
        begin_fields: Replaces fields of Begin; `Missing.MISSING` leaves one out.
        begin_twice: Begin is sent twice.
        turns_flood: Bytes of Turn messages that are sent right after Begin. A Termination waits
            until the client has taken them.
        ping_every_seconds: WebSocket pings at this interval.
        fragmented: Every message is sent in fragments of some bytes, also within a character.
        cut_after_seconds: The TCP connection is aborted, without a close frame.
        expire_after_seconds: As if the session's time were up.
        error_after: Seconds, code and text of an Error frame that is followed by its close.
        ignore_terminate: Terminate is never answered.
        termination_delay_seconds: Between Terminate and the answer to it; the session goes on.
        error_before_termination: An Error frame comes first, the Termination nevertheless.
        fractional_duration: The Termination's session duration has a fraction.
        termination_fields: Replaces fields of the Termination; `Missing.MISSING` leaves one out,
            and Decimals are sent digit by digit.
        termination_twice: The Termination is sent twice.
        no_termination: Terminate is answered by a close 1000 and nothing else.
    """

    handshake_delay_seconds: float = 0.0
    refuse_status: tuple[int, str] | None = None
    close_at_once: tuple[int, str] | None = None
    begin: bool = True
    begin_delay_seconds: float = 0.0
    begin_fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    begin_twice: bool = False
    turns_flood: int = 0
    ping_every_seconds: float | None = None
    fragmented: bool = False
    cut_after_seconds: float | None = None
    expire_after_seconds: float | None = None
    error_after: tuple[float, int, str] | None = None
    ignore_terminate: bool = False
    termination_delay_seconds: float = 0.0
    error_before_termination: bool = False
    fractional_duration: bool = False
    termination_fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    termination_twice: bool = False
    no_termination: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamFaults:
    """Shares (0 to 1) of sessions that go wrong; the default is a perfect day.

    What a plan already says of the same thing stands.

    Attributes:
        fractional_duration: Sessions whose Termination has a fraction.
        cut: Sessions whose TCP connection is aborted.
        error: Sessions that end with `Error 3005`.
        within_seconds: A cut or an error comes at a drawn moment within so many seconds of the
            wall clock; a session that is over by then is spared.

    Raises:
        ValueError: A share is outside 0 to 1, or `cut` and `error` exceed 1 together.
    """

    fractional_duration: float = 0.0
    cut: float = 0.0
    error: float = 0.0
    within_seconds: float = 2.0

    def __post_init__(self) -> None:
        for name in ("fractional_duration", "cut", "error"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"stream faults: {name} is a share from 0 to 1, not {share!r}")
        # A few ulps of slack: ten shares of 0.1 are meant to be 1.
        if self.cut + self.error > 1 + 1e-9:
            raise ValueError("stream faults: cut and error exclude each other")

    def applied_to(self, plan: StreamPlan, chance: Random) -> StreamPlan:
        """Return the plan with what chance adds; always as many draws, whatever the shares."""
        fractional = chance.random() < self.fractional_duration
        roll = chance.random()
        after = chance.uniform(0, self.within_seconds)
        cut = roll < self.cut
        error = not cut and roll < self.cut + self.error
        return dataclasses.replace(
            plan,
            fractional_duration=plan.fractional_duration or fractional,
            cut_after_seconds=(
                after if cut and plan.cut_after_seconds is None else plan.cut_after_seconds
            ),
            error_after=(
                (after, SERVER_ERROR, SERVER_ERROR_TEXT)
                if error and plan.error_after is None
                else plan.error_after
            ),
        )


def merged(message: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with a plan's fields in place of its own."""
    return {
        name: value for name, value in {**message, **fields}.items() if value is not Missing.MISSING
    }
