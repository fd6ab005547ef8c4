"""Times and ages, as people read them."""

from __future__ import annotations

from datetime import datetime

__all__ = ["age", "moment"]


def moment(at: datetime | None) -> str:
    """Write a UTC time to the second; nothing for None."""
    return "" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def age(now: datetime, then: datetime) -> str:
    """Say how long ago something was, in its largest whole unit: `3 min`; never negative."""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
