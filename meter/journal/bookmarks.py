"""Where a command stopped that can go on later, in its own words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meter.journal.records import Ticket

__all__ = ["Bookmarks"]


class Bookmarks(ABC):
    """The bookmarks in one journal. Methods may be called from any thread."""

    @abstractmethod
    def get(self, name: str) -> str | None:
        """Return what was written down under a name, or None."""

    @abstractmethod
    def put(self, name: str, words: str | None) -> Ticket[None]:
        """Write something down under a name; None takes it away."""
