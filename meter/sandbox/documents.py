"""The JSON that AssemblyAI shows of a job: the transcript, and its line in the list."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from meter.sandbox.jobs import Job, Page
from meter.sandbox.params import FLAGS, ON_BY_DEFAULT

DELETED_URL = "http://deleted_by_user"
DELETED_TEXT = "Deleted by user."

SPOKEN_TEXT = "Thank you for calling Larkspur Mutual, this is Odalys, how may I help you today?"
"""What every recording says: distinctive, so that a test can prove that it is stored nowhere."""

# Echoed when asked for and absent otherwise: the API description gives them no null.
ECHOED = (
    "keyterms_prompt",
    "language_detection_options",
    "prompt",
    "redact_pii_audio_options",
    "redact_pii_sub",
    "speech_understanding",
    "topics",
)
# Echoed, null when not asked for.
ECHOED_OR_NULL = (
    "audio_end_at",
    "audio_start_from",
    "custom_spelling",
    "language_codes",
    "language_confidence_threshold",
    "redact_pii_audio_quality",
    "redact_pii_policies",
    "remove_audio_tags",
    "speakers_expected",
    "speech_model",
    "speech_models",
    "speech_threshold",
    "summary_model",
    "summary_type",
    "temperature",
)


def transcript_document(job: Job) -> dict[str, Any]:
    """Return what `GET /v2/transcript/{id}` shows of a job as it stands now."""
    if job.deleted:
        return _deleted_document(job)
    request = job.request
    document: dict[str, Any] = {
        "id": job.transcript_id,
        "status": job.status,
        "audio_url": request["audio_url"],
        "audio_duration": None,
        "text": None,
        "words": None,
        "utterances": None,
        "confidence": None,
        "language_confidence": None,
        "language_model": "assemblyai_default",
        "acoustic_model": "assemblyai_default",
        "throttled": False,
        "webhook_url": request.get("webhook_url"),
        "webhook_status_code": _webhook_status_code(job),
        "webhook_auth": "webhook_auth_header_name" in request,
        "webhook_auth_header_name": request.get("webhook_auth_header_name"),
    }
    document.update({name: request.get(name, name in ON_BY_DEFAULT) for name in FLAGS})
    document.update({name: request.get(name) for name in ECHOED_OR_NULL})
    document.update({name: request[name] for name in ECHOED if name in request})
    if not request.get("language_detection"):
        document["language_code"] = job.outcome.language_code
    if "domain" in request:
        document["metadata"] = {"domain_used": request["domain"]}
    if job.status == "error":
        document["error"] = job.outcome.error
    elif job.status == "completed":
        document.update(_result(job))
    return document


def _result(job: Job) -> dict[str, Any]:
    """Return what only a completed transcript has."""
    outcome = job.outcome
    words = [
        {
            "text": word,
            "start": 250 + 400 * index,
            "end": 600 + 400 * index,
            "confidence": 0.98,
            "speaker": "A" if job.request.get("speaker_labels") else None,
        }
        for index, word in enumerate(SPOKEN_TEXT.split())
    ]
    result: dict[str, Any] = {
        "audio_duration": outcome.audio_duration,
        "speech_model_used": outcome.speech_model_used,
        "language_code": outcome.language_code,
        "text": SPOKEN_TEXT,
        "confidence": 0.98,
        "words": words,
    }
    if outcome.audio_channels is not None:
        result["audio_channels"] = outcome.audio_channels
    if job.request.get("language_detection"):
        result["language_confidence"] = 0.97
    if job.request.get("speaker_labels") or job.request.get("multichannel"):
        turn = {
            "text": SPOKEN_TEXT,
            "start": words[0]["start"],
            "end": words[-1]["end"],
            "confidence": 0.98,
            "speaker": "A",
            "words": words,
        }
        result["utterances"] = [turn | {"channel": "1"} if "audio_channels" in result else turn]
    return result


def _deleted_document(job: Job) -> dict[str, Any]:
    """Return what a DELETE leaves (AssemblyAI API description: DeleteTranscriptResponse).

    The duration survives; the customer, who stands in the webhook's URL, does not.
    """
    return {
        "id": job.transcript_id,
        "status": job.status,
        "audio_url": DELETED_URL,
        "audio_duration": job.outcome.audio_duration,
        "text": DELETED_TEXT,
        "words": None,
        "utterances": None,
        "confidence": None,
        "language_code": None,
        "language_confidence": None,
        "language_confidence_threshold": None,
        "language_model": "assemblyai_default",
        "acoustic_model": "assemblyai_default",
        "speech_model": None,
        "speech_model_used": job.outcome.speech_model_used,
        "throttled": None,
        "webhook_url": DELETED_URL,
        "webhook_status_code": None,
        "webhook_auth": False,
        "webhook_auth_header_name": None,
        **dict.fromkeys(FLAGS, False),
    }


def _webhook_status_code(job: Job) -> int | None:
    """Return the last answer to the transcript's webhook, as the field's description says."""
    codes = [a.status_code for a in job.attempts if a.kind == "transcript"]
    return codes[-1] if codes else None


def list_document(
    page: Page, limit: int, urls: Sequence[str | None], origin: str
) -> dict[str, Any]:
    """Return one page of `GET /v2/transcript`; `urls` are its current, older and newer URL."""
    current_url, prev_url, next_url = urls
    return {
        "page_details": {
            "limit": limit,
            "result_count": len(page.jobs),
            "current_url": current_url,
            "prev_url": prev_url,
            "next_url": next_url,
        },
        "transcripts": [_list_item(job, origin) for job in page.jobs],
    }


def _list_item(job: Job, origin: str) -> dict[str, Any]:
    unusual = job.outcome.unusual_item
    error = job.outcome.error if job.status == "error" else None
    return {
        "id": job.transcript_id,
        "resource_url": f"{origin}/v2/transcript/{job.transcript_id}",
        "status": job.status,
        "created": _list_time(job.created, with_z=unusual),
        "completed": job.completed and _list_time(job.completed, with_z=unusual),
        "audio_url": DELETED_URL if job.deleted else job.request["audio_url"],
        "error": "" if unusual and error is None else error,
    }


def _list_time(time: datetime, *, with_z: bool) -> str:
    """Write UTC as the list does: mostly without saying that it is UTC."""
    return time.replace(tzinfo=None).isoformat() + ("Z" if with_z else "")
