"""What a reference may have meant that is no event's id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["meant"]

_IDS: Final = (
    ("transcript", ""),
    ("transcript", ":failed"),
    ("session", ""),
    ("session", ":abandoned"),
)


def meant(reference: str, known: Callable[[str], bool]) -> list[str]:
    """Return the event ids that a provider's own id may stand for.

    Args:
        reference: what somebody wrote.
        known: tells whether there is an event of this id.
    """
    from meter.events import event_id_for

    ids = [event_id_for("assemblyai", noun, reference, suffix) for noun, suffix in _IDS]
    return [event_id for event_id in ids if known(event_id)]
