"""Troubles: what a person must see of the sink as a whole, kept until it is over.

Kept in the sink's own state under `trouble/<name>`. What concerns one meter event is a problem of
its ledger instead.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from meter.sinks import SinkState, StateWrite

__all__ = ["Trouble", "dismiss", "trouble", "troubles"]

_PREFIX: Final = "trouble/"
_MOST: Final = 1000


class Trouble(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line for `meter status`.

    Attributes:
        words: what is the matter, and what to do.
        since: when it was noticed first.
        meter_id: of the meter that it is about; None when it is about no one meter.
        ends: `person`: once somebody dismisses it. `compared`: once the days of that meter that
            were asked for are compared. `sink`: once what failed works again.
    """

    words: str
    since: datetime
    meter_id: str | None = None
    ends: str = "person"


def troubles(state: SinkState) -> list[tuple[str, Trouble]]:
    """Return what is the matter now, with the name to dismiss it by."""
    return [
        (key.removeprefix(_PREFIX), msgspec.json.decode(value, type=Trouble))
        for key, value in state.scan(_PREFIX, limit=_MOST)
    ]


def trouble(state: SinkState, name: str, found: Trouble) -> StateWrite:
    """Make the write that shows a trouble."""
    return state.put(_PREFIX + name, msgspec.json.encode(found).decode())


def dismiss(state: SinkState, name: str) -> StateWrite:
    """Make the write that ends a trouble."""
    return state.delete(_PREFIX + name)
