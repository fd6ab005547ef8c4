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
    Total,
)
from meter.sinks.options import Duration, FilePath, Home, Options, Secret, placed

__all__ = [
    "Batch",
    "BodyTooLarge",
    "Duration",
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
    "StateWrite",
    "Total",
    "placed",
]
