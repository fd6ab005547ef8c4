"""What a client asks for in the query of `/v3/ws`, checked."""

import dataclasses
from collections.abc import Mapping

from meter.sandbox.stream_audio import AudioFormat
from meter.sandbox.stream_errors import BAD_MESSAGE, TurnedAwayError

DEFAULT_MODEL = "universal-streaming-english"
DEFAULT_SAMPLE_RATE = "16000"
IDLE_SECONDS = range(5, 3601)
"""What `inactivity_timeout` may be (AsyncAPI description)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamParams:
    """One session's settings. `inactivity_seconds` are the provider's; None never ends it.

    `is_u3` models say when speech starts and format every turn as it ends.
    """

    speech_model: str
    audio: AudioFormat
    format_turns: bool
    partial_turns: bool
    speaker_labels: bool
    language_detection: bool
    session_heartbeat: bool
    inactivity_seconds: int | None

    @property
    def is_u3(self) -> bool:
        """Whether this is one of the Universal-3 models."""
        return self.speech_model.startswith(("u3-", "universal-3"))


def checked_params(query: Mapping[str, str]) -> StreamParams:
    """Read the parameters that change what the double does; it ignores all others.

    Raises:
        TurnedAwayError: A parameter has a value that it cannot have.
    """
    rate = _whole_number(query, "sample_rate", DEFAULT_SAMPLE_RATE)
    if not rate:
        raise TurnedAwayError(BAD_MESSAGE, "Input validation error: sample_rate must be positive")
    audio = AudioFormat.named(query.get("encoding", "pcm_s16le"), sample_rate=rate)
    if audio is None:
        raise TurnedAwayError(BAD_MESSAGE, "Input validation error: unknown encoding")
    idle = _whole_number(query, "inactivity_timeout")
    if idle is not None and idle not in IDLE_SECONDS:
        raise TurnedAwayError(
            BAD_MESSAGE, "Input validation error: inactivity_timeout must be from 5 to 3600"
        )
    return StreamParams(
        speech_model=query.get("speech_model", DEFAULT_MODEL),
        audio=audio,
        format_turns=_flag(query, "format_turns"),
        partial_turns=_flag(query, "include_partial_turns", otherwise=True),
        speaker_labels=_flag(query, "speaker_labels"),
        language_detection=_flag(query, "language_detection"),
        session_heartbeat=_flag(query, "session_heartbeat"),
        inactivity_seconds=idle,
    )


def _whole_number(query: Mapping[str, str], name: str, otherwise: str | None = None) -> int | None:
    text = query.get(name, otherwise)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise TurnedAwayError(BAD_MESSAGE, f"Input validation error: {name} must be an integer")
    return int(text)


def _flag(query: Mapping[str, str], name: str, *, otherwise: bool = False) -> bool:
    """Read a flag; the SDK writes Python's `True`."""
    text = query.get(name)
    if text is None:
        return otherwise
    flags = {"true": True, "false": False}
    if text.lower() not in flags:
        raise TurnedAwayError(BAD_MESSAGE, f"Input validation error: {name} must be true or false")
    return flags[text.lower()]
