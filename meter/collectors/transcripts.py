"""What a transcript means: an event, something to wait for, or something for quarantine.

Only an allow-list of fields is ever read from the provider's document, so transcript text,
audio and its addresses cannot reach the journal (DESIGN §4).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.errors import InvalidEvent
from meter.events import AsyncCompleted, AsyncFailed, event_id_for, exact_number, exact_seconds

if TYPE_CHECKING:
    from meter.collectors.attribution import Attribution

__all__ = [
    "NotYet",
    "Transcript",
    "Unusable",
    "facts_of",
    "meaning_of",
    "possible_ids",
    "read_transcript",
    "scrubbed",
]

_FLAGS: Final = (
    "auto_chapters",
    "auto_highlights",
    "content_safety",
    "entity_detection",
    "filter_profanity",
    "iab_categories",
    "keyterms_prompt",
    "language_detection",
    "multichannel",
    "prompt",
    "redact_pii",
    "redact_pii_audio",
    "sentiment_analysis",
    "speaker_labels",
    "speech_understanding",
    "summarization",
)
"""Request flags that AssemblyAI echoes on the transcript; several are priced on their own."""

_ADDRESS: Final = re.compile(r"\S+://\S+")
_MOST_ERROR_TEXT: Final = 500


class Transcript(msgspec.Struct, frozen=True):
    """The fields that meter reads of `GET /v2/transcript/{id}`; every type may be a surprise."""

    id: Any = None
    status: Any = None
    error: Any = None
    audio_duration: Any = None
    webhook_url: Any = None
    speech_model_used: Any = None
    speech_model: Any = None
    language_code: Any = None
    audio_channels: Any = None
    metadata: Any = None
    auto_chapters: Any = None
    auto_highlights: Any = None
    content_safety: Any = None
    entity_detection: Any = None
    filter_profanity: Any = None
    iab_categories: Any = None
    keyterms_prompt: Any = None
    language_detection: Any = None
    multichannel: Any = None
    prompt: Any = None
    redact_pii: Any = None
    redact_pii_audio: Any = None
    sentiment_analysis: Any = None
    speaker_labels: Any = None
    speech_understanding: Any = None
    summarization: Any = None


@dataclass(frozen=True, slots=True)
class NotYet:
    """Nothing final is known: ask again.

    Attributes:
        patient: the provider says that work goes on (hours are normal); otherwise it is an
            answer that should not happen and gets few attempts.
    """

    reason: str
    patient: bool


@dataclass(frozen=True, slots=True)
class Unusable:
    """It will never be an event by itself: quarantine it with the reason."""

    reason: str


_decoder: Final = msgspec.json.Decoder(Transcript, float_hook=exact_number)


def read_transcript(raw: bytes) -> Transcript:
    """Read the provider's JSON; numbers keep every decimal.

    Raises:
        InvalidEvent: not a JSON object.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"the transcript is not a JSON object: {error}") from None


def possible_ids(transcript_id: str) -> tuple[str, str]:
    """Return the event ids that a transcript can have: completed, failed."""
    return (
        event_id_for("assemblyai", "transcript", transcript_id),
        event_id_for("assemblyai", "transcript", transcript_id, ":failed"),
    )


def meaning_of(  # noqa: PLR0911  one return a meaning reads best
    transcript: Transcript,
    attribution: Attribution,
    *,
    transcript_id: str,
    collector: str,
    occurred_at: datetime,
    now: datetime,
) -> AsyncCompleted | AsyncFailed | NotYet | Unusable:
    """Tell what a transcript is to meter."""
    if transcript.id != transcript_id:
        return NotYet("the answer is about another transcript", patient=False)
    status = transcript.status
    if status in ("queued", "processing"):
        return NotYet(f"the transcript is {status}", patient=True)
    if status not in ("completed", "error"):
        return NotYet(f"unknown transcript status {str(status)[:40]!r}", patient=False)
    if status == "completed" and transcript.audio_duration is None:
        return NotYet("audio_duration is null on a completed transcript", patient=False)
    if attribution.fault is not None:
        return Unusable(attribution.fault)
    if attribution.customer_id is None:
        return Unusable("no customer_id in the webhook URL")
    common: dict[str, Any] = {
        "provider_id": transcript_id,
        "customer_id": attribution.customer_id,
        "dimensions": attribution.dimensions,
        "collector": collector,
        "occurred_at": occurred_at,
        "recorded_at": now,
    }
    if status == "error":
        return AsyncFailed(error=scrubbed(transcript.error), **common)
    try:
        return AsyncCompleted(
            seconds=exact_seconds(transcript.audio_duration),
            model=_text(transcript.speech_model_used) or _text(transcript.speech_model),
            language=_text(transcript.language_code),
            features=_features(transcript),
            channels=_count(transcript.audio_channels),
            **common,
        )
    except InvalidEvent as error:
        return Unusable(f"audio_{error}" if str(error).startswith("seconds") else str(error))


def facts_of(transcript: Transcript) -> dict[str, Any]:
    """Return what quarantine may keep of a transcript: enough to bill it by hand."""
    return {
        "id": _plain(transcript.id),
        "status": _plain(transcript.status),
        "audio_duration": _plain(transcript.audio_duration),
        "speech_model_used": _text(transcript.speech_model_used) or _plain(transcript.speech_model),
        "language_code": _plain(transcript.language_code),
        "features": _features(transcript),
        "audio_channels": _count(transcript.audio_channels),
        "error": scrubbed(transcript.error),
    }


def scrubbed(text: object) -> str:
    """Return the provider's words without addresses, which may be the customer's audio."""
    words = text if isinstance(text, str) else ""
    return _ADDRESS.sub("[address removed]", words)[:_MOST_ERROR_TEXT]


def _features(transcript: Transcript) -> tuple[str, ...]:
    on = [name for name in _FLAGS if getattr(transcript, name)]
    domain = (
        transcript.metadata.get("domain_used") if isinstance(transcript.metadata, dict) else None
    )
    if isinstance(domain, str) and domain:
        on.append(f"domain:{domain}")
    return tuple(sorted(on))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | Decimal | None) else type(value).__name__
