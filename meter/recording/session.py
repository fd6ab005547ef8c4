"""One streaming session as its application sees it: fed with messages, turned into items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from meter.events import format_time
from meter.recording.messages import cut, kind_of
from meter.streaming import Begin, Heartbeat, Termination, Unusable, read_message

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.recording.courier import Courier
    from meter.recording.messages import RawMessage

__all__ = ["HEARTBEAT_SECONDS", "RecordedSession", "whose"]

HEARTBEAT_SECONDS: Final = 30.0
"""A session's lower bound is raised at most so often."""


class _Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `POST /v1/sessions` takes."""

    message: msgspec.Raw
    customer_id: str
    received_at: str
    session_id: str | None = None
    dimensions: dict[str, str] = {}


_encode: Final = msgspec.json.Encoder().encode


class RecordedSession:
    """A session that is being recorded. Made by `Recorder.session`.

    It may see several connections, one after the other: each Begin starts the next.
    """

    def __init__(
        self,
        customer_id: str,
        dimensions: Mapping[str, str],
        *,
        courier: Callable[[], Courier],
        clock: Clock,
    ) -> None:
        """Know whose session it is; `courier` answers who carries items away, in this process."""
        self.customer_id = customer_id
        self.dimensions = dict(dimensions)
        self.session_id: str | None = None
        self.terminated = False
        self._courier = courier
        self._clock = clock
        self._beat_at: float | None = None

    def feed(self, message: RawMessage) -> None:
        """Take a message that the provider sent; call it for every one.

        Never raises, never waits, and touches neither disk nor network. Whatever is not Begin,
        Heartbeat or Termination costs next to nothing, and nothing of it is kept.

        Args:
            message: the WebSocket message as it came, text or bytes, or the object decoded from
                it. Prefer the first: decimals then stay exact however long they are.
        """
        try:
            kind = kind_of(message)
            if kind is not None:
                self._take(cut(message, kind))
        except Exception:  # noqa: BLE001  whatever it is, the user's session goes on
            self._courier().faults += 1

    def _take(self, message: bytes) -> None:
        said = read_message(message)
        match said:
            case Begin():
                self.session_id = said.session_id
                self.terminated, self._beat_at = False, None
            case Unusable(type="Begin"):  # what follows belongs to a session without an id
                self.session_id = None
                self.terminated = False
            case Heartbeat():
                self._beat(message)
                return
            case Termination() | Unusable():
                self.terminated = True
            case None:
                return
        self._courier().hand(self._item(message))

    def _beat(self, message: bytes) -> None:
        now = self._clock.monotonic()
        if self.session_id is None or (
            self._beat_at is not None and now - self._beat_at < HEARTBEAT_SECONDS
        ):
            return
        self._beat_at = now
        self._courier().hand_beat(self.session_id, self._item(message))

    def _item(self, message: bytes) -> bytes:
        return _encode(
            _Item(
                msgspec.Raw(message),
                self.customer_id,
                format_time(self._clock.now()),
                self.session_id,
                self.dimensions,
            )
        )


def whose(
    customer_id: object, dimensions: Mapping[str, str] | None
) -> tuple[str, Mapping[str, str]]:
    """Return what names the customer, checked.

    Raises:
        ValueError: empty or no text, or text that UTF-8 cannot hold; the message says which.
    """
    if not isinstance(customer_id, str) or not customer_id:
        raise ValueError("customer_id: expected whose session it is, as text that is not empty")
    _utf8("customer_id", customer_id)
    given: object = {} if dimensions is None else dimensions
    if not isinstance(given, Mapping):
        raise ValueError("dimensions: expected a mapping of text to text")  # noqa: TRY004  one kind of error for every bad argument
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ValueError(f"dimensions: expected text to text, got {name!r}: {value!r}")  # noqa: TRY004  because of the same
        _utf8("dimensions", name)
        _utf8("dimensions", value)
    return customer_id, dict(given)


def _utf8(argument: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{argument}: {text!a} holds what UTF-8 cannot") from None
