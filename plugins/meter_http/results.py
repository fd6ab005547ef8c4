"""Answers that speak of single events: what each of them says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from meter_http.client import Answer
    from meter_http.options import ResultsOptions

__all__ = ["Results", "is_later", "read_results"]

_MOST_DIGITS: Final = 10


@dataclass(slots=True)
class Results:
    """What an answer says of the events of its request, by their place in it.

    Attributes:
        taken: they are at the destination.
        refused: and the destination's words for each.
        later: it asks for them again.
        complete: every event has an entry of its own, so one without is not known of.
        stray: an entry is about no event of the request, so the others may be about none either.
    """

    taken: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    later: set[int] = field(default_factory=set)
    complete: bool = False
    stray: bool = False

    @property
    def named(self) -> set[int]:
        """The events that the answer speaks of."""
        return self.taken | self.refused.keys() | self.later


def read_results(
    options: ResultsOptions, answer: Answer, event_ids: Sequence[str]
) -> Results | None:
    """Read an answer's word on each event.

    Returns:
        None when it has none: no JSON, or nothing at the path. Then the answer is about the
        request as a whole.
    """
    try:
        node: Any = msgspec.json.decode(answer.body) if answer.whole else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for step in options.path.split("."):
        node = node.get(step) if isinstance(node, dict) else None
    if not isinstance(node, dict | list):
        return None
    places = {name: place for place, name in enumerate(event_ids)}
    results = Results(complete=bool(options.error_field or options.status_field))
    for name, entry in _entries(options, node):
        text = str(name)
        place = places.get(text) if options.key == "id" else _index(text, len(event_ids))
        if place is None:
            return Results(stray=True)
        _sort(options, entry, place, results)
    results.taken -= results.refused.keys() | results.later
    results.later -= results.refused.keys()
    return results


def is_later(status: int) -> bool:
    """Tell whether a status says that the same may well be taken at another time."""
    return (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.MISDIRECTED_REQUEST)
        or status in (HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
    )


def _entries(options: ResultsOptions, node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif options.key_field is None:
        yield from enumerate(node)
    else:
        for entry in node:
            yield (entry.get(options.key_field) if isinstance(entry, dict) else None), entry


def _index(text: str, count: int) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS):
        return None
    return int(text) if int(text) < count else None


def _sort(options: ResultsOptions, entry: Any, place: int, results: Results) -> None:
    fields = entry if isinstance(entry, dict) else {}
    error = fields.get(options.error_field) if options.error_field else entry
    if options.status_field:
        status = fields.get(options.status_field)
        if not isinstance(status, int) or is_later(status):
            results.later.add(place)
        elif HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            results.taken.add(place)
        else:
            results.refused[place] = f"{status} {_words(error)}"
    elif error:
        results.refused[place] = _words(error)
    else:
        results.taken.add(place)


def _words(error: Any) -> str:
    return error if isinstance(error, str) else msgspec.json.encode(error).decode()
