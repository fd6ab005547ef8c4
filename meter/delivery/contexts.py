"""What a sink may use of meter, outside deliveries."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from meter.logs import FieldLogger
from meter.sinks import SinkContext

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.config import SinkConfig
    from meter.journal import Journal
    from meter.sinks import Sink

__all__ = ["unopened"]


def unopened(entry: SinkConfig, *, journal: Journal, clock: Clock) -> Sink:
    """Return an instance of a sink that is never opened, for `status`, `explain` and `routes`."""
    context = SinkContext(
        name=entry.name,
        journal_id=journal.journal_id,
        state=journal.sink_state(entry.name, entry.type),
        clock=clock,
        log=FieldLogger(logging.getLogger("meter.sinks"), {"sink": entry.name}),
    )
    sink: Sink = entry.extension.cls(entry.options, context)
    return sink
