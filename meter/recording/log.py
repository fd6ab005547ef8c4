"""How a recorder speaks: an event's name with its fields, readable without meter's own logging.

It runs in the user's process, whose log format seldom shows the fields of a record.
"""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["say"]

_log: Final = logging.getLogger("meter.recording")


def say(level: int, event: str, **fields: object) -> None:
    """Log an event; the fields stand in the text and on the record."""
    if _log.isEnabledFor(level):
        shown = " ".join(f"{name}={value!r}" for name, value in fields.items())
        _log.log(level, "%s", f"{event} {shown}".rstrip(), extra=fields)
