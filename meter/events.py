"""Events: immutable facts about usage, and their one-line JSON form.

`AsyncCompleted` and `StreamTerminated` are billed. `AsyncFailed` and `StreamAbandoned` never
are: they exist so that an audit finds every input in one place.

Durations are exact `Decimal` **seconds**; times are aware **UTC**. An event's id is derived
from the provider's own fact, never from a clock, chance or the sender, so the same fact
always has the same id (DESIGN §4).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, ClassVar, Final, TypeAlias
from urllib.parse import quote

import msgspec
from msgspec import field
from msgspec.structs import force_setattr

from meter.errors import InvalidEvent

__all__ = [
    "BILLED_KINDS",
    "KINDS",
    "MAX_SECONDS",
    "AnyEvent",
    "AsyncCompleted",
    "AsyncFailed",
    "Event",
    "StreamAbandoned",
    "StreamTerminated",
    "decode_event",
    "encode_event",
    "event_id_for",
    "exact_number",
    "exact_seconds",
    "format_seconds",
    "format_time",
]

MAX_SECONDS: Final = Decimal(10**7)
"""The longest believable duration, seconds (DESIGN §4); about 116 days."""

_NANO: Final = Decimal("1E-9")
_ONE: Final = Decimal(1)
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9_.~-]*")
"""What percent-encoding leaves as it is: most ids, so that most need none."""
_encode_time: Final = msgspec.json.Encoder().encode

UtcTime: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


def exact_number(text: str) -> Decimal:
    """Read a JSON number that has a fraction or an exponent; for a decoder's `float_hook`.

    One beyond what a Decimal can hold is infinite, so that the field it stands in is refused and
    nothing beside it.
    """
    try:
        return Decimal(text)
    except ArithmeticError:
        return Decimal("Infinity")


def exact_seconds(value: object) -> Decimal:
    """Read a provider's duration as exact seconds.

    Args:
        value: an `int` or `Decimal` as it stood in the JSON. Floats are refused, as their
            decimals are already lost; so are null, booleans and text.

    Returns:
        Seconds with at most 9 decimals (half-even beyond) and no trailing zeros.

    Raises:
        InvalidEvent: not a number, negative, or over 10^7 seconds.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        shown = "null" if value is None else f"of type {type(value).__name__}"
        raise InvalidEvent(f"seconds: expected a number, got a value {shown}")
    number = Decimal(value) if isinstance(value, int) else value
    exponent = number.as_tuple().exponent
    if isinstance(exponent, str):
        raise InvalidEvent(f"seconds: expected a finite number, got {number}")
    if not number:
        return Decimal(0)  # so that -0.0 is no other figure
    if number < 0:
        raise InvalidEvent(f"seconds: expected 0 or more, got {number}")
    if number > MAX_SECONDS:
        raise InvalidEvent(f"seconds: expected at most {MAX_SECONDS}, got {number}")
    if exponent == 0:
        return number
    if exponent < -9:  # noqa: PLR2004  nine decimals, as in DESIGN §4
        number = number.quantize(_NANO, rounding=ROUND_HALF_EVEN)
    whole = number.to_integral_value()
    return whole.quantize(_ONE) if whole == number else number.normalize()


def format_seconds(seconds: Decimal) -> str:
    """Write exact seconds as people and billing systems read them: no exponent, no padding."""
    return format(seconds, "f")


def format_time(moment: datetime) -> str:
    """Write a UTC time in a fixed width, so that the order of text is the order of time."""
    text = _encode_time(moment).decode()[1:-1]
    return text if moment.microsecond else f"{text[:-1]}.000000Z"


def event_id_for(provider: str, noun: str, provider_id: str, suffix: str = "") -> str:
    """Derive an event id from the provider's fact.

    The provider's id is percent-encoded, so that no two facts can share an id by way of a
    separator inside one of them.
    """
    plain = _UNRESERVED.fullmatch(provider_id)
    return f"{provider}:{noun}:{provider_id if plain else quote(provider_id, safe='')}{suffix}"


class Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    gc=False,  # holds texts, numbers and times only, so it can be in no reference cycle
):
    """What every event carries. Use one of the four kinds below.

    Attributes:
        event_id: derived by meter; give none, or the very one that meter derives.
        provider: who measured it; part of the event id.
        provider_id: the transcript's or session's id at the provider.
        customer_id: whose usage it is; opaque text, taken exactly as given, never empty.
        dimensions: further text by name (`project_id`, `order_id`, …).
        collector: the collector's name in the pipelines file.
        occurred_at: when the usage happened or became known, UTC; decides its month.
        recorded_at: when meter made the event, UTC.

    Raises:
        InvalidEvent: on construction, when a field cannot be true.
    """

    kind: ClassVar[str] = ""
    _noun: ClassVar[str] = ""
    _suffix: ClassVar[str] = ""

    event_id: str = ""
    provider: str = "assemblyai"
    provider_id: str
    customer_id: str
    dimensions: dict[str, str] = field(default_factory=dict)
    collector: str
    occurred_at: UtcTime
    recorded_at: UtcTime

    def __post_init__(self) -> None:
        """Derive the id, bring times to UTC and refuse what cannot be true."""
        if not self.provider_id:
            raise InvalidEvent("provider_id: expected the provider's id, got empty text")
        if not self.customer_id:
            raise InvalidEvent("customer_id: expected whose usage it is, got empty text")
        if not self.provider or ":" in self.provider:
            raise InvalidEvent("provider: expected a name without a colon")
        derived = event_id_for(self.provider, self._noun, self.provider_id, self._suffix)
        if not self.event_id:
            force_setattr(self, "event_id", derived)
        elif self.event_id != derived:
            raise InvalidEvent(
                f"event_id: meter derives {derived!r} from this fact, the sender says "
                f"{self.event_id!r}; leave event_id out"
            )
        self._to_utc("occurred_at", self.occurred_at)
        self._to_utc("recorded_at", self.recorded_at)

    def _to_utc(self, name: str, moment: datetime | None) -> None:
        if moment is None or moment.tzinfo is UTC:
            return
        if moment.tzinfo is None:
            raise InvalidEvent(f"{name}: expected a time with a zone, such as …Z")
        try:
            force_setattr(self, name, moment.astimezone(UTC))
        except OverflowError:
            raise InvalidEvent(f"{name}: expected a time that can be told in UTC") from None

    def _to_exact(self, name: str, value: Decimal | None) -> None:
        if value is not None:
            exact = exact_seconds(value)
            if exact is not value:
                force_setattr(self, name, exact)

    @property
    def billed_seconds(self) -> Decimal | None:
        """The billed quantity in seconds; None on a kind that is never billed."""
        return None

    def same_substance(self, other: Event) -> bool:
        """Tell whether another event with this id says the same: whose usage, and how much.

        Two such events are duplicates; if this is false they are a conflict (DESIGN §4).
        """
        return self.customer_id == other.customer_id and self.billed_seconds == other.billed_seconds


class AsyncCompleted(Event, frozen=True, kw_only=True, gc=False, tag="async_completed"):
    """A pre-recorded job is done and billed for its `audio_duration`.

    Attributes:
        seconds: the billed `audio_duration`.
        model: `speech_model_used`: what ran, hence what it is priced by.
        language: the language code, as reported.
        features: names of the add-ons that were on, sorted; each has its own rate.
        channels: how many audio channels, where the provider says.
    """

    kind: ClassVar[str] = "async_completed"
    _noun: ClassVar[str] = "transcript"

    seconds: Decimal
    model: str | None = None
    language: str | None = None
    features: tuple[str, ...] = ()
    channels: int | None = None

    def __post_init__(self) -> None:
        """Check what all events share, then the quantity."""
        Event.__post_init__(self)
        self._to_exact("seconds", self.seconds)

    @property
    def billed_seconds(self) -> Decimal | None:
        """The billed quantity in seconds."""
        return self.seconds


class AsyncFailed(Event, frozen=True, kw_only=True, gc=False, tag="async_failed"):
    """A pre-recorded job failed; AssemblyAI never bills those.

    Attributes:
        error: the provider's words, without addresses of the customer's audio.
    """

    kind: ClassVar[str] = "async_failed"
    _noun: ClassVar[str] = "transcript"
    _suffix: ClassVar[str] = ":failed"

    error: str = ""


class StreamTerminated(Event, frozen=True, kw_only=True, gc=False, tag="stream_terminated"):
    """A streaming session ended and is billed for the time its socket was open.

    Attributes:
        seconds: the billed `session_duration_seconds`.
        audio_seconds: `audio_duration_seconds`, which is *not* what is billed.
        started_at: when the session began, UTC.
        model: the speech model of the session.
    """

    kind: ClassVar[str] = "stream_terminated"
    _noun: ClassVar[str] = "session"

    seconds: Decimal
    audio_seconds: Decimal | None = None
    started_at: UtcTime | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        """Check what all events share, then the quantities."""
        Event.__post_init__(self)
        self._to_exact("seconds", self.seconds)
        self._to_exact("audio_seconds", self.audio_seconds)
        self._to_utc("started_at", self.started_at)

    @property
    def billed_seconds(self) -> Decimal | None:
        """The billed quantity in seconds."""
        return self.seconds


class StreamAbandoned(Event, frozen=True, kw_only=True, gc=False, tag="stream_abandoned"):
    """A streaming session outlived its limit and no Termination was seen: bounds, no figure.

    Attributes:
        lower_seconds: the session lasted at least this long.
        upper_seconds: it cannot have lasted longer.
        started_at: when the session began, UTC.
        model: the speech model of the session.
    """

    kind: ClassVar[str] = "stream_abandoned"
    _noun: ClassVar[str] = "session"
    _suffix: ClassVar[str] = ":abandoned"

    lower_seconds: Decimal
    upper_seconds: Decimal | None = None
    started_at: UtcTime | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        """Check what all events share, then the bounds."""
        Event.__post_init__(self)
        self._to_exact("lower_seconds", self.lower_seconds)
        self._to_exact("upper_seconds", self.upper_seconds)
        self._to_utc("started_at", self.started_at)
        if self.upper_seconds is not None and self.upper_seconds < self.lower_seconds:
            raise InvalidEvent("upper_seconds: expected at least lower_seconds")


AnyEvent: TypeAlias = AsyncCompleted | AsyncFailed | StreamTerminated | StreamAbandoned

KINDS: Final = ("async_completed", "stream_terminated", "async_failed", "stream_abandoned")
BILLED_KINDS: Final = ("async_completed", "stream_terminated")

_encoder: Final = msgspec.json.Encoder(decimal_format="number", order="deterministic")
_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(AnyEvent)


def encode_event(event: Event) -> bytes:
    """Write an event as one line of JSON, without the newline; decimals stay exact.

    Raises:
        InvalidEvent: a text holds what UTF-8 cannot (a lone surrogate).
    """
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"{event.event_id!a}: text that UTF-8 cannot hold") from error


def decode_event(line: bytes | str) -> AnyEvent:
    """Read an event from its JSON form.

    Raises:
        InvalidEvent: not JSON, an unknown kind or field, a missing field, or a value that
            cannot be true; the text says which.
    """
    try:
        return _decoder.decode(line)  # type: ignore[no-any-return]  # mypy cannot see through a union alias
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InvalidEvent):
            raise error.__cause__ from None
        raise InvalidEvent(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"not JSON: {error}") from None
