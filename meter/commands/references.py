"""What a reference may have meant that is no event's id."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meter.journal import Journal

__all__ = ["meant", "unknown"]

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


def unknown(reference: str, journal: Journal) -> str:
    """Say that there is no event of this id, and which ids are nearest."""
    ids = meant(reference, lambda event_id: journal.find(event_id) is not None)
    ids = ids or journal.search.nearest(reference)
    near = f"; did you mean {' or '.join(ids)}?" if ids else ""
    return f"{reference}: no such event{near}"
