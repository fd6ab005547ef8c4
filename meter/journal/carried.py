"""What an export of a journal holds beside events, line by line, and the way in and out.

An export is read by any other meter, into an empty journal or one that has some of it: a line that
is there already changes nothing. It holds what was received; what was done with it (checkpoints,
deliveries, dead letters, sinks' own state, acts) belongs to one journal, and only a copy has that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from meter.journal.records import Ticket
    from meter.journal.search import Wanted

__all__ = [
    "BEGINNING",
    "FORMAT",
    "AnyLine",
    "Begins",
    "Carried",
    "CarriedCollector",
    "CarriedEntry",
    "CarriedReceipt",
    "CarriedSession",
    "CarriedWatched",
    "Ends",
    "Line",
    "Reading",
    "decode_line",
    "encode_line",
]

FORMAT: Final = 1
BEGINNING: Final = b'{"journal":'
"""How every such line begins, and no event's."""

UtcTime: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Line(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="journal", forbid_unknown_fields=True
):
    """A line of an export that is no event; times are UTC."""


class Begins(Line, frozen=True, kw_only=True, tag="export"):
    """The first line: of which journal, from beyond which offset, up to which.

    Attributes:
        whole: it holds everything up to `head` that an export can hold.
    """

    format: int = FORMAT
    journal_id: str
    after: _Count
    head: _Count
    whole: bool


class CarriedSession(Line, frozen=True, kw_only=True, tag="session"):
    """A streaming session, open or ended."""

    provider_id: str
    collector: str
    customer_id: str
    dimensions: dict[str, str]
    model: str | None
    started_at: UtcTime
    expires_at: UtcTime
    lower_micros: _Count
    state: Literal["open", "closed", "abandoned", "quarantined"]
    ended_at: UtcTime | None


class CarriedEntry(Line, frozen=True, kw_only=True, tag="quarantined"):
    """Something in quarantine, or that was."""

    collector: str
    key: str
    reason: str
    provider_id: str | None
    payload: str
    fetched: bool
    state: Literal["open", "recorded", "assigned", "discarded"]
    times: _Count
    first_at: UtcTime
    last_at: UtcTime


class CarriedReceipt(Line, frozen=True, kw_only=True, tag="receipt"):
    """A webhook delivery that is not settled yet."""

    collector: str
    received_at: UtcTime
    query: str
    fields: str
    attempts: _Count
    first_error_at: UtcTime | None
    last_error: str | None


class CarriedCollector(Line, frozen=True, kw_only=True, tag="collector"):
    """How far a collector has walked."""

    name: str
    cursor: str


class CarriedWatched(Line, frozen=True, kw_only=True, tag="watched"):
    """A transcript that a backfill remembers."""

    collector: str
    provider_id: str
    state: Literal["unfinished", "foreign"]
    created: UtcTime


class Ends(Line, frozen=True, kw_only=True, tag="end"):
    """The last line: how many events and other lines there are, without the first and the last."""

    events: _Count
    others: _Count


AnyLine: TypeAlias = (
    Begins
    | CarriedSession
    | CarriedEntry
    | CarriedReceipt
    | CarriedCollector
    | CarriedWatched
    | Ends
)

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(AnyLine)


def encode_line(line: Line) -> bytes:
    """Write a line, without the newline.

    Raises:
        UnicodeEncodeError: a text holds what UTF-8 cannot.
    """
    return _encoder.encode(line)


def decode_line(line: bytes) -> AnyLine:
    """Read a line that begins as `BEGINNING`.

    Raises:
        ValueError: it is none; the text says why.
    """
    return _decoder.decode(line)  # type: ignore[no-any-return]  # mypy cannot see through a union alias


class Reading(ABC):
    """A journal as it stood at one moment."""

    journal_id: str
    head: int
    """The highest offset then."""

    @abstractmethod
    def bodies(self, wanted: Wanted, after: int) -> Iterator[list[tuple[int, str]]]:
        """Yield the events beyond an offset, in order, some at a time: offset and JSON form."""

    @abstractmethod
    def others(self) -> Iterator[Line]:
        """Yield what is carried beside events."""


class Carried(ABC):
    """The way out of a journal and into another."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Reading]:
        """Hold on to one moment, beside whatever is written meanwhile."""

    @abstractmethod
    def take(self, lines: Sequence[Line]) -> Ticket[int]:
        """Take lines in; answers how many were new. What is there already stays as it is."""
