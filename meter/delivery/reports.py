"""Check a sink's report against its batch, and turn it into what the journal stores."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from meter.errors import PluginError
from meter.journal import Retry, Settlement

if TYPE_CHECKING:
    from meter.sinks import Batch, Report

__all__ = ["settlement_for"]

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
            two outcomes, or puts one off to a time without a zone. Guessing would lose or double
            somebody's usage.
    """
    offset_of = {event.event_id: o for event, o in zip(batch.events, batch.offsets, strict=True)}
    outcomes = (report.delivered, report.duplicate, report.held, report.later, report.rejected)
    mentioned: set[str] = set()
    count = 0
    for outcome in outcomes:
        mentioned.update(outcome)
        count += len(outcome)
    foreign = mentioned - offset_of.keys()
    if foreign:
        raise PluginError(f"its report speaks of {min(foreign)!r}, which was not in the batch")
    if count != len(mentioned):
        raise PluginError("its report gives an event more than one outcome")
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
