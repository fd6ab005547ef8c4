"""The streaming double's own books: what the provider knows, and bills, of each session."""

import dataclasses
import hashlib
import math
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from meter.sandbox.stream_audio import AudioFormat
from meter.sandbox.stream_clock import StreamClock

Ending: TypeAlias = Literal["open", "terminated", "client_gone", "error", "expired", "cut"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What was known of a session when its socket opened.

    `session_id` is the one that Begin names. `query` is as received but without `token`, `params`
    is the same decoded (the last one of a name counts), `headers` have lower-case names.
    """

    session_id: str
    api_key: str
    query: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    started_at: datetime
    expires_at: datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamTruth(Opening):
    """What a perfect meter knows about one session in the end, and what reached the provider.

    Attributes:
        ended_at: Aware UTC; None while it is open.
        ended: How it ended. `terminated` is an answered Terminate, or an inactivity timeout;
            `client_gone` is a socket that the client closed or lost; `cut` is one that this double
            aborted, by itself or because it was stopped.
        session_seconds: What the provider bills: the time that the socket was open, rounded up to
            whole seconds, or what its Termination said where that is a quantity. Of an open
            session, up to now.
        audio_seconds: The same of the audio.
        termination_sent: A Termination was written to the socket; nobody knows who read it.
        messages: How many text messages of each type were received; what has no type that is
            text counts under an empty name.
        audio_frames, audio_bytes, audio_sha256: All binary messages, a refused one included.
    """

    ended_at: datetime | None
    ended: Ending
    session_seconds: Decimal
    audio_seconds: Decimal
    termination_sent: bool
    messages: Mapping[str, int]
    audio_frames: int
    audio_bytes: int
    audio_sha256: str


class SessionBooks:
    """The books of one session, written by its event loop and read from any thread.

    `limit_seconds` is how long it may be open, in the provider's seconds; no more is billed.
    """

    def __init__(
        self, opening: Opening, *, audio: AudioFormat, limit_seconds: float, clock: StreamClock
    ) -> None:
        self.opening = opening
        self._audio = audio
        self._limit_seconds = limit_seconds
        self._clock = clock
        self._began = clock.seconds()
        self._lock = threading.Lock()
        self._ended: Ending = "open"
        self._ended_at: datetime | None = None
        self._open_seconds = 0.0
        self._billed: dict[str, Decimal] = {}
        self._termination_sent = False
        self._messages: Counter[str] = Counter()
        self._frames = 0
        self._bytes = 0
        self._digest = hashlib.sha256()

    @property
    def is_open(self) -> bool:
        """Whether nothing has ended the session yet."""
        return self._ended == "open"

    @property
    def open_seconds(self) -> float:
        """The provider's seconds that it has been, or was, open."""
        if not self.is_open:
            return self._open_seconds
        return min(self._clock.seconds() - self._began, self._limit_seconds)

    @property
    def audio_ms(self) -> int:
        """The audio received, rounded down to milliseconds."""
        return self._audio.milliseconds(size=self._bytes, chunks=self._frames)

    @property
    def session_seconds(self) -> Decimal:
        """The provider's figure for the session, whole seconds."""
        return Decimal(math.ceil(self.open_seconds))

    @property
    def fractional_seconds(self) -> Decimal:
        """The same with a fraction, as a Termination may have it against its description."""
        exact = Decimal(math.ceil(self.open_seconds * 1000)) / 1000
        return exact if exact % 1 else exact + Decimal("0.001")

    @property
    def audio_seconds(self) -> Decimal:
        """The provider's figure for the audio, whole seconds."""
        return Decimal(self._audio.whole_seconds(size=self._bytes, chunks=self._frames))

    def hear(self, chunk: bytes) -> None:
        """Note a binary message."""
        with self._lock:
            self._frames += 1
            self._bytes += len(chunk)
            self._digest.update(chunk)

    def read(self, message_type: str) -> None:
        """Note a text message."""
        with self._lock:
            self._messages[message_type] += 1

    def end(self, ending: Ending) -> bool:
        """End the session, and say whether it was this that ended it: only the first one does."""
        with self._lock:
            if not self.is_open:
                return False
            self._open_seconds = self.open_seconds
            self._ended_at = self._clock.utc()
            self._ended = ending
            return True

    def bill(self, termination: Mapping[str, Any]) -> None:
        """Let what a Termination says stand as the bill, where it is a quantity."""
        with self._lock:
            for name in ("session", "audio"):
                quantity = _quantity(termination.get(f"{name}_duration_seconds"))
                if quantity is not None:
                    self._billed[name] = quantity

    def termination_written(self) -> None:
        """Note that a Termination went into the socket."""
        with self._lock:
            self._termination_sent = True

    def termination_lost(self) -> None:
        """Note that the socket was gone before a Termination could be written."""
        with self._lock:
            if not self._termination_sent:
                self._ended = "client_gone"

    def row(self) -> StreamTruth:
        """Return the books as they stand now; from any thread."""
        with self._lock:
            opening = self.opening
            return StreamTruth(
                session_id=opening.session_id,
                api_key=opening.api_key,
                query=opening.query,
                params=opening.params,
                headers=opening.headers,
                started_at=opening.started_at,
                expires_at=opening.expires_at,
                ended_at=self._ended_at,
                ended=self._ended,
                session_seconds=self._billed.get("session", self.session_seconds),
                audio_seconds=self._billed.get("audio", self.audio_seconds),
                termination_sent=self._termination_sent,
                messages=MappingProxyType(dict(self._messages)),
                audio_frames=self._frames,
                audio_bytes=self._bytes,
                audio_sha256=self._digest.hexdigest(),
            )


def _quantity(value: object) -> Decimal | None:
    """Return what can be billed of a duration, exactly as it is written into JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    seconds = Decimal(str(value))
    return seconds if seconds.is_finite() and seconds >= 0 else None
