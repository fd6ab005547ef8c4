"""What may be asked of `POST /v2/transcript`, and the words in which a mistake is refused."""

from collections.abc import Mapping
from typing import Any

import httpx

FLAGS = (
    "auto_chapters",
    "auto_highlights",
    "content_safety",
    "disfluencies",
    "entity_detection",
    "filter_profanity",
    "format_text",
    "iab_categories",
    "language_detection",
    "multichannel",
    "punctuate",
    "redact_pii",
    "redact_pii_audio",
    "sentiment_analysis",
    "speaker_labels",
    "summarization",
)
ON_BY_DEFAULT = frozenset({"format_text", "punctuate"})
TEXTS = (
    "domain",
    "language_code",
    "prompt",
    "redact_pii_audio_quality",
    "redact_pii_sub",
    "remove_audio_tags",
    "speech_model",
    "summary_model",
    "summary_type",
)
LISTS = (
    "custom_spelling",
    "keyterms_prompt",
    "language_codes",
    "redact_pii_policies",
    "speech_models",
    "topics",
)
INTEGERS = ("audio_end_at", "audio_start_from", "speakers_expected")
NUMBERS = ("language_confidence_threshold", "speech_threshold", "temperature")
OBJECTS = ("language_detection_options", "redact_pii_audio_options", "speech_understanding")
WEBHOOK = ("webhook_auth_header_name", "webhook_auth_header_value", "webhook_url")

KINDS: Mapping[str, tuple[tuple[str, ...], type | tuple[type, ...]]] = {
    "a Boolean": (FLAGS, bool),
    "a string": ((*TEXTS, *WEBHOOK, "audio_url"), str),
    "an array": (LISTS, list),
    "an integer": (INTEGERS, int),
    "a number": (NUMBERS, (int, float)),
    "an object": (OBJECTS, dict),
}


class InvalidParamsError(ValueError):
    """A request that AssemblyAI answers with 400; the message is the answer's `error`."""


def checked_params(body: object) -> dict[str, Any]:
    """Return the known parameters of a submission; nulls count as not given.

    Parameters that this double does not know are ignored, so that a newer SDK can be used.

    Raises:
        InvalidParamsError: What AssemblyAI refuses: a wrong type, no audio URL, a bad webhook.
    """
    if not isinstance(body, dict):
        raise InvalidParamsError("Invalid JSON: the request body must be an object")
    params: dict[str, Any] = {}
    for kind, (names, types) in KINDS.items():
        for name in names:
            value = body.get(name)
            if value is None:
                continue
            # In Python a bool is an int; in JSON it is not.
            if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
                raise InvalidParamsError(f"{name} must be {kind}")
            params[name] = value
    if "audio_url" not in params:
        raise InvalidParamsError("audio_url is required")
    for name in ("audio_url", "webhook_url"):
        if name in params and not _is_web_url(params[name]):
            raise InvalidParamsError(f"{name} must be a valid URL")
    models = params.get("speech_models")
    if models is not None and not (models and all(isinstance(name, str) for name in models)):
        raise InvalidParamsError("speech_models must be a non-empty array of strings")
    _check_webhook_auth(params)
    return params


def _check_webhook_auth(params: Mapping[str, Any]) -> None:
    name = params.get("webhook_auth_header_name")
    value = params.get("webhook_auth_header_value")
    if (name is None) != (value is None):
        raise InvalidParamsError(
            "webhook_auth_header_name and webhook_auth_header_value must be given together"
        )
    if name is not None and not (name.isascii() and name.replace("-", "").isalnum()):
        raise InvalidParamsError("webhook_auth_header_name must be a valid header name")
    if value is not None and not (value.isascii() and value.isprintable()):
        raise InvalidParamsError("webhook_auth_header_value must be a valid header value")


def _is_web_url(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host)
