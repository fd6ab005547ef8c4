"""What a sink plugin imports: the interface, its records and the types of its options."""

from __future__ import annotations

from meter.sinks.interface import (
    Batch,
    Guarantee,
    Position,
    Report,
    Sink,
    SinkContext,
    SinkState,
    StateWrite,
)
from meter.sinks.options import Duration, FilePath, Home, Options, Secret, placed

__all__ = [
    "Batch",
    "Duration",
    "FilePath",
    "Guarantee",
    "Home",
    "Options",
    "Position",
    "Report",
    "Secret",
    "Sink",
    "SinkContext",
    "SinkState",
    "StateWrite",
    "placed",
]
