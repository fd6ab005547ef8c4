"""What a sink plugin imports: the interface, its records and the types of its options."""

from __future__ import annotations

from meter.http import BodyTooLarge, Request, Response, Route
from meter.sinks.interface import (
    Batch,
    Guarantee,
    Later,
    Position,
    Report,
    Sink,
    SinkContext,
    SinkState,
    StateWrite,
)
from meter.sinks.options import Duration, FilePath, Home, Options, Secret, placed
from meter.sinks.places import room_for
from meter.sinks.reading import (
    Comparison,
    Deliveries,
    Discrepancy,
    Elsewhere,
    Standing,
    Total,
    Written,
)

__all__ = [
    "Batch",
    "BodyTooLarge",
    "Comparison",
    "Deliveries",
    "Discrepancy",
    "Duration",
    "Elsewhere",
    "FilePath",
    "Guarantee",
    "Home",
    "Later",
    "Options",
    "Position",
    "Report",
    "Request",
    "Response",
    "Route",
    "Secret",
    "Sink",
    "SinkContext",
    "SinkState",
    "Standing",
    "StateWrite",
    "Total",
    "Written",
    "placed",
    "room_for",
]
