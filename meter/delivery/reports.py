"""Check a sink's report against its batch, and turn it into what the journal stores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from meter.errors import PluginError
from meter.journal import Retry, Settlement
from meter.plugins import described
from meter.sinks import Later, Report, StateWrite

if TYPE_CHECKING:
    from meter.sinks import Batch

__all__ = ["settlement_for", "settlement_for_tending"]

NOT_MENTIONED: Final = "the sink did not say what became of it"
SOONEST: Final = timedelta(seconds=0.05)
"""What is put off is offered again after so long at the earliest, whatever the sink names."""


def settlement_for(
    sink: str,
    batch: Batch,
    report: Report,
    *,
    filtered: Iterable[int] = (),
    at: datetime,
    next_at: datetime,
) -> Settlement:
    """Return what to store for a delivery; what the report does not mention is retried.

    Args:
        filtered: offsets below the batch's checkpoint that were never offered.
        next_at: when what is not mentioned is to be offered again.

    Raises:
        PluginError: the report speaks of events that were not in the batch, gives one event
            two outcomes, puts one off to a time without a zone, or holds what could not be
            stored. Guessing would lose or double somebody's usage: nothing is recorded.
    """
    _check(report)
    offset_of = {event.event_id: o for event, o in zip(batch.events, batch.offsets, strict=True)}
    outcomes = (report.delivered, report.duplicate, report.held, report.later, report.rejected)
    mentioned: set[str] = set()
    again: set[str] = set()
    for event_id in chain.from_iterable(outcomes):
        (again if event_id in mentioned else mentioned).add(event_id)
    foreign = mentioned - offset_of.keys()
    if foreign:
        raise PluginError(f"its report speaks of {min(foreign)!r}, which was not in the batch")
    if again:
        raise PluginError(f"its report gives {min(again)!r} more than one outcome")
    if named := offset_of.keys() & report.recall.keys():
        raise PluginError(f"its report recalls {min(named)!r}, which is in the batch itself")
    for event_id, when in report.later.items():
        if when.at.tzinfo is None:
            raise PluginError(f"its report puts {event_id!r} off to a time without a zone")
    missing = offset_of.keys() - mentioned
    return Settlement(
        sink=sink,
        purpose=batch.purpose,
        checkpoint=batch.checkpoint if batch.purpose == "new" else None,
        at=at,
        delivered=[offset_of[i] for i in (*report.delivered, *report.duplicate)],
        filtered=list(filtered),
        held={offset_of[i]: reason for i, reason in report.held.items()},
        retrying={offset_of[i]: Retry(NOT_MENTIONED, next_at) for i in missing},
        later={
            offset_of[i]: Retry(when.reason, max(when.at, at + SOONEST))
            for i, when in report.later.items()
        },
        rejected={offset_of[i]: reason for i, reason in report.rejected.items()},
        recall=report.recall,
        hasten=report.hasten,
        state=report.state,
    )


def settlement_for_tending(sink: str, report: Report, *, at: datetime) -> Settlement | None:
    """Return what to store of what a sink found beside deliveries; None when that is nothing.

    Raises:
        PluginError: the report speaks of a batch, and there was none; or it is no report.
    """
    if not isinstance(report, Report):
        raise PluginError(f"`tend` returned {type(report).__name__}, expected a Report or None")
    _check(report)
    if report.delivered or report.duplicate or report.held or report.later or report.rejected:
        raise PluginError("what it reports from `tend` is about events of a batch")
    if not (report.recall or report.hasten or report.state):
        return None
    return Settlement(
        sink, "tend", None, at, recall=report.recall, hasten=report.hasten, state=report.state
    )


def _check(report: Report) -> None:
    """Refuse what is in the wrong place of a report, before anything is made of it."""
    try:
        faults = [*_misplaced(report)]
    except Exception as error:  # noqa: BLE001  because a plugin's own collections may raise anything
        faults = [f"cannot be read: {described(error)}"]
    if faults:
        raise PluginError(f"its report {faults[0]}")


def _misplaced(report: Report) -> Iterator[str]:
    for name in ("delivered", "duplicate"):
        ids: Any = getattr(report, name)
        if isinstance(ids, str) or not isinstance(ids, Collection):
            yield f"has {type(ids).__name__} as {name}, expected a list or set of event ids"
        elif not all(isinstance(event_id, str) for event_id in ids):
            yield f"has something in {name} that is no event id"
    for name in ("held", "rejected", "recall", "later"):
        found: Any = getattr(report, name)
        if not isinstance(found, Mapping):
            yield f"has {type(found).__name__} as {name}, expected a mapping by event id"
        elif not all(isinstance(event_id, str) for event_id in found):
            yield f"has something in {name} that is no event id"
        else:
            yield from _bad_reasons(name, found)
    write: Any
    for write in report.state:
        if not isinstance(write, StateWrite) or not all(
            map(_can_be_stored, (write.scope, write.key, write.value or ""))
        ):
            yield "has something in state that `SinkState` did not make"


def _bad_reasons(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    for event_id, value in found.items():
        if name == "later" and not (isinstance(value, Later) and isinstance(value.at, datetime)):
            yield f"does not say with a Later until when it puts {event_id!r} off"
        elif not _can_be_stored(value.reason if name == "later" else value):
            yield f"gives a reason for {event_id!r} in {name} that is no text"


def _can_be_stored(text: object) -> bool:
    """Tell text from anything else; half of a surrogate pair is none."""
    if not isinstance(text, str):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
