"""pydantic's errors in words that say what was expected, and never what was found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from meter.config.faults import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from meter.config.document import Value
    from meter.config.shapes import Shape

__all__ = ["closest", "expectation", "found_instead", "masked", "message_of"]

_NUMBER_ERRORS: Final = re.compile(r"(int|float|decimal|greater|less|finite|bool)_?")

_EXPECTED: Final[dict[str, str]] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "bytes_type": "text",
    "dataclass_type": "a mapping",
    "date_from_datetime_parsing": "a date such as 2026-01-31",
    "date_parsing": "a date such as 2026-01-31",
    "date_type": "a date such as 2026-01-31",
    "datetime_from_date_parsing": "a time such as 2026-01-31T08:00:00Z",
    "datetime_parsing": "a time such as 2026-01-31T08:00:00Z",
    "datetime_type": "a time such as 2026-01-31T08:00:00Z",
    "decimal_max_places": "a number with at most {decimal_places} decimals",
    "decimal_parsing": "a number",
    "decimal_type": "a number",
    "dict_type": "a mapping",
    "enum": "one of {expected}",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "frozen_set_type": "a list",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_type": "a whole number",
    "iterable_type": "a list",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "list_type": "a list",
    "literal_error": "one of {expected}",
    "mapping_type": "a mapping",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "multiple_of": "a multiple of {multiple_of}",
    "none_required": "nothing (null)",
    "path_type": "a path",
    "set_type": "a list",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long_one": "text of at most 1 character",
    "string_too_long": "text of at most {max_length} characters",
    "string_too_short_one": "text that is not empty",
    "string_too_short": "text of at least {min_length} characters",
    "string_type": "text",
    "string_unicode": "text in UTF-8",
    "time_delta_parsing": "a duration such as 30s, 15m, 1h30m or 2d",
    "time_delta_type": "a duration such as 30s, 15m, 1h30m or 2d",
    "too_long_one": "at most one item",
    "too_long": "at most {max_length} items",
    "too_short_one": "at least one item",
    "too_short": "at least {min_length} items",
    "tuple_type": "a list",
    "union_tag_invalid": "{discriminator} to be one of {expected_tags}",
    "union_tag_not_found": "a mapping with the key {discriminator}",
    "url_parsing": "a URL such as https://example.com/path",
    "url_scheme": "a URL that begins with {expected_schemes}",
    "url_too_long": "a URL of at most {max_length} characters",
    "url_type": "a URL such as https://example.com/path",
    "uuid_parsing": "a UUID",
    "uuid_type": "a UUID",
}
"""By pydantic's error type; https://docs.pydantic.dev/latest/errors/validation_errors/."""

_PHRASE: Final = re.compile(r"(an?|one of|text|the name of) ")


def expectation(error: ErrorDetails, shapes: list[Shape]) -> str | None:
    """Return what an error says was expected, without "expected"; None if it says otherwise.

    Args:
        error: from `ValidationError.errors()`.
        shapes: what may be meant at the value; a number's whole range comes from here.
    """
    kind, context = error["type"], error.get("ctx", {})
    if _NUMBER_ERRORS.match(kind) and len(shapes) == 1 and shapes[0].is_number():
        return shapes[0].words()
    if kind in _EXPECTED:
        if 1 in (context.get("min_length"), context.get("max_length")):
            kind += "_one" if f"{kind}_one" in _EXPECTED else ""
        return _EXPECTED[kind].format_map(_Context(context))
    if kind in ("value_error", "assertion_error"):
        said = str(context.get("error", "")).strip()
        if _PHRASE.match(said):
            return said
    return None


def message_of(error: ErrorDetails) -> str:
    """Return the text of an error that is not an expectation: a validator's own words."""
    if error["type"] in ("value_error", "assertion_error"):
        said = str(error.get("ctx", {}).get("error", "")).strip()
        return said or "not accepted"
    return error["msg"]


def found_instead(value: Value) -> str:
    """Return the end of a message about a value of the wrong shape; never the value."""
    if isinstance(value, dict):
        return ", not a mapping"
    if isinstance(value, list):
        return ", not a list"
    return ", not an empty value" if value is None else ""


def closest(error: ErrorDetails, value: Value) -> str:
    """Return "; did you mean …?" for a text that must be one of some words."""
    expected = error.get("ctx", {}).get("expected") or error.get("ctx", {}).get("expected_tags")
    if not isinstance(value, str) or not isinstance(expected, str):
        return ""
    close = nearest(value, re.findall(r"'([^']+)'", expected))
    return f"; did you mean {close!r}?" if close else ""


def masked(message: str, texts: set[str]) -> str:
    """Return a message without any of the texts: a validator may have quoted its input."""
    for text in sorted(texts, key=len, reverse=True):
        for form in (text, repr(text)[1:-1]):
            if len(form) >= _SHORTEST:
                message = message.replace(form, "***")
    return message


_SHORTEST: Final = 3
"""Shorter texts are no secrets, and occur in every sentence."""


class _Context(dict[str, Any]):
    """An error's context; a name that this version of pydantic lacks is not worth a crash."""

    def __missing__(self, key: str) -> str:
        return "…"
