"""Batches: made of what the journal has, and split until the poison event stands alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from meter.delivery.outcomes import describe
from meter.errors import JournalError, PluginError, SinkError
from meter.sinks import Batch

if TYPE_CHECKING:
    from meter.journal import SetAside, StoredEvent
    from meter.logs import FieldLogger
    from meter.sinks import Report

__all__ = ["batch_of", "offered"]


def batch_of(
    entries: Sequence[StoredEvent | SetAside],
    checkpoint: int,
    purpose: Literal["new", "retry", "replay"],
) -> Batch:
    """Return a batch of these events, in this order."""
    return Batch(
        [entry.event for entry in entries],
        [entry.offset for entry in entries],
        checkpoint,
        purpose,
    )


def offered(
    deliver: Callable[[Batch], Report], batch: Batch, log: FieldLogger
) -> Iterator[tuple[Batch, Report | Exception]]:
    """Deliver a batch, in order; split it on an error until the poison event stands alone.

    What a sink says about itself (`SinkError`) is not about an event: it is raised.
    """
    try:
        report = deliver(batch)
    except (SinkError, PluginError, JournalError):
        raise
    except Exception as error:  # noqa: BLE001  not classed by the sink: look for the event
        if len(batch.events) == 1:
            yield batch, error
            return
        log.warning("delivery.split", extra={"events": len(batch.events), "error": describe(error)})
        for half in _halves(batch):
            yield from offered(deliver, half, log)
    else:
        yield batch, report


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    """Split a batch; the first half's checkpoint is its own last offset."""
    middle = len(batch.events) // 2
    first_end = batch.offsets[middle - 1] if batch.purpose == "new" else batch.checkpoint
    return (
        Batch(batch.events[:middle], batch.offsets[:middle], first_end, batch.purpose),
        Batch(batch.events[middle:], batch.offsets[middle:], batch.checkpoint, batch.purpose),
    )
