"""What a placeholder such as `{customer_id}` or `{occurred_at:unix}` stands for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.events import format_time
from meter_http.quantities import UNITS, digits

if TYPE_CHECKING:
    from meter.events import Event

__all__ = ["MISSING", "BadPlaceholder", "Facts", "NeverBilled", "Slot", "read_slot"]

MISSING: Final = object()
"""What a placeholder gives when the event lacks the field."""

_TEXTS: Final = (
    *("event_id", "kind", "customer_id", "provider", "provider_id", "collector"),
    *("model", "language"),
)
_GIVEN: Final = ("event_type", "customer", "source", "journal_id")
_TIMES: Final = ("occurred_at", "recorded_at", "started_at")
_OTHERS: Final = ("audio_seconds", "channels", "features", "dimensions")
_DIMENSION: Final = "dimension."
NAMES: Final = (*_TEXTS, *_GIVEN, *_TIMES, *UNITS, *_OTHERS)
TIME_FORMATS: Final = ("unix", "unix_ms")
_NOT_IN_TEXT: Final = ("features", "dimensions")


class BadPlaceholder(ValueError):
    """A template holds what is no placeholder; the text says what to write."""


class NeverBilled(Exception):
    """An event without billed seconds met a template that asks for them."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one event when it is sent.

    Attributes:
        event: the event.
        event_type: what the option `event_type` makes of its kind.
        customer: the customer's name at the destination.
        source: the option `source`.
        journal_id: names the journal.
        as_numbers: whether quantities become JSON numbers; otherwise they are JSON texts.
        strict: whether an event without billed seconds is refused when a template asks for them.
    """

    event: Event
    event_type: str
    customer: str
    source: str
    journal_id: str
    as_numbers: bool = False
    strict: bool = True


@dataclass(frozen=True, slots=True)
class Slot:
    """One placeholder: a name, perhaps with a format or with a default for what is missing."""

    name: str
    form: str = ""
    default: str | None = None

    @property
    def may_stand_in_text(self) -> bool:
        """Tell whether it may stand within a longer text."""
        return self.name not in _NOT_IN_TEXT

    def value(self, facts: Facts) -> Any:
        """Return the JSON value: a text, a number of the very digits, a list, a mapping or MISSING.

        Raises:
            NeverBilled: a quantity of an event that has none.
        """
        found = self._found(facts)
        if found is MISSING and self.default is not None:
            return self.default
        if found is MISSING and self.name in UNITS and facts.strict:
            raise NeverBilled(
                f"{facts.event.kind} is never billed, so it has no {self.name}; leave the kind out "
                "of the pipeline's `kinds:`"
            )
        return found

    def text(self, facts: Facts) -> str:
        """Return what stands for it within a longer text; nothing, when the event lacks it."""
        value = self.value(facts)
        if value is MISSING:
            return ""
        return bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)

    def _found(self, facts: Facts) -> Any:
        if self.name == "json":
            return msgspec.Raw(self.form.encode())
        if self.name.startswith(_DIMENSION):
            return facts.event.dimensions.get(self.name.removeprefix(_DIMENSION), MISSING)
        if self.name == "dimensions":
            return dict(sorted(facts.event.dimensions.items()))
        if self.name in _GIVEN:
            return getattr(facts, self.name)
        if self.name in UNITS:
            seconds = facts.event.billed_seconds
            return MISSING if seconds is None else _number(digits(seconds, self.name), facts)
        return self._as_json(getattr(facts.event, self.name, None), facts)

    def _as_json(self, value: Any, facts: Facts) -> Any:
        if value is None or value == ():
            return MISSING
        if isinstance(value, datetime):
            return self._time(value)
        if isinstance(value, Decimal):
            return _number(digits(value, "seconds"), facts)
        return list(value) if isinstance(value, tuple) else value

    def _time(self, moment: datetime) -> Any:
        if not self.form:
            return format_time(moment)
        # From the calendar, not from a float: floats of today have no exact microseconds.
        since = moment - _EPOCH
        seconds = since.days * 86_400 + since.seconds
        return seconds if self.form == "unix" else seconds * 1000 + since.microseconds // 1000


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")


def _number(text: str, facts: Facts) -> Any:
    return msgspec.Raw(text.encode()) if facts.as_numbers else text


def read_slot(inside: str) -> Slot:
    """Read what stands between the braces.

    Raises:
        BadPlaceholder: no such name or format; the text names the nearest one.
    """
    if inside.startswith("json:"):
        return Slot("json", _scalar(inside.removeprefix("json:")))
    body, separator, default = inside.partition(":-")
    given = default if separator else None
    if body.startswith(_DIMENSION):
        if body == _DIMENSION:
            raise BadPlaceholder("dimension. needs a name, as in dimension.team")
        return Slot(body, "", given)
    name, _, form = body.partition(":")
    if name not in NAMES:
        close = difflib.get_close_matches(name, (*NAMES, _DIMENSION + "team"), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(NAMES)}"
        raise BadPlaceholder(f"{name or 'nothing'} is no placeholder; {hint}")
    if form and (name not in _TIMES or form not in TIME_FORMATS):
        formats = f"{name}:unix and {name}:unix_ms" if name in _TIMES else f"{name} alone"
        raise BadPlaceholder(f"{name} has no format {form}; there is {formats}")
    return Slot(name, form, given)


def _scalar(text: str) -> str:
    """Check a JSON scalar that a template holds as it is; its digits stay what was written."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        value = ()
    if not isinstance(value, bool | int | float | str | None):
        raise BadPlaceholder("json: needs a number, true, false, null or a quoted text behind it")
    return text.strip()
