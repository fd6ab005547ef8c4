"""What every journal backend does; one suite of tests runs against all of them.

A journal is the append-only, durable truth (DESIGN §5). Writes return a `Ticket` that
resolves after the commit; concurrent writes share a commit. Reads see what is committed.
Every method may be called from any thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meter.events import Event
    from meter.journal.acts import Acts
    from meter.journal.aside import Aside
    from meter.journal.bookmarks import Bookmarks
    from meter.journal.carried import Carried
    from meter.journal.exceptions import Exceptions
    from meter.journal.records import (
        JournalTotals,
        NewReceipt,
        Quarantined,
        Receipt,
        Recorded,
        Settlement,
        SinkRow,
        StoredEvent,
        Ticket,
        Watched,
    )
    from meter.journal.rollup import Rollup
    from meter.journal.search import Search
    from meter.journal.sessions import Sessions
    from meter.journal.standing import Commits, Standing
    from meter.sinks import SinkState

__all__ = ["Journal"]


class Journal(ABC):
    """A journal, open. Close it; until then it may hold threads and connections."""

    journal_id: str
    """Names this journal for ever; sinks keep it beside their own checkpoint."""
    sessions: Sessions
    """The streaming sessions."""
    exceptions: Exceptions
    """What is below a sink's checkpoint and not settled."""
    acts: Acts
    """What people did."""
    aside: Aside
    """What is in quarantine, for people."""
    bookmarks: Bookmarks
    """Where commands stopped that can go on later."""
    carried: Carried
    """The way out into a file, and from there into another journal."""
    search: Search
    """Finds events."""
    commits: Commits
    """What this process has committed."""
    rollup: Rollup
    """Billed usage, added up."""

    # -- events ------------------------------------------------------------------------

    @abstractmethod
    def append(self, events: Sequence[Event]) -> Ticket[list[Recorded]]:
        """Record events; the answers are in the same order.

        An event id is recorded once, for ever. A conflict is quarantined in the same
        transaction, and the first one stands.
        """

    @abstractmethod
    def read(self, after: int, limit: int) -> list[StoredEvent]:
        """Return up to `limit` events with an offset beyond `after`, in order."""

    @abstractmethod
    def head(self) -> int:
        """Return the highest offset, 0 when there is no event."""

    @abstractmethod
    def find(self, event_id: str) -> Event | None:
        """Return one event by its id."""

    @abstractmethod
    def locate(self, event_id: str) -> StoredEvent | None:
        """Return one event by its id, and its place in the journal."""

    @abstractmethod
    def on_append(self, callback: Callable[[], None]) -> None:
        """Call back after each commit of this process that recorded events; must not block."""

    # -- receipts ----------------------------------------------------------------------

    @abstractmethod
    def add_receipt(self, receipt: NewReceipt) -> Ticket[None]:
        """Make a webhook delivery durable before it is understood."""

    @abstractmethod
    def due_receipts(
        self, collector: str, now: datetime, *, skip: Iterable[int], limit: int
    ) -> list[Receipt]:
        """Return open receipts whose time has come, oldest first, less those being worked on."""

    @abstractmethod
    def open_receipts(self, collector: str) -> int:
        """Count the receipts that are not settled."""

    @abstractmethod
    def settle_receipt(
        self,
        receipt_id: int,
        outcome: str,
        *,
        event: Event | None = None,
        quarantined: Quarantined | None = None,
        about: str | None = None,
    ) -> Ticket[Recorded | None]:
        """Close a receipt together with what it became, in one transaction.

        `about` is the id of the event that it speaks of, where it became none.
        """

    @abstractmethod
    def retry_receipt(
        self, receipt_id: int, error: str, next_at: datetime, *, counted: bool = True
    ) -> Ticket[None]:
        """Keep a receipt open; it is due again at `next_at`.

        `counted` is false when the failure says nothing about this receipt.
        """

    # -- quarantine, cursors, and what a backfill remembers -------------------------------

    @abstractmethod
    def quarantine(self, items: Sequence[Quarantined]) -> Ticket[int]:
        """Keep things that cannot become events; answers how many were new."""

    @abstractmethod
    def is_quarantined(self, collector: str, provider_id: str) -> bool:
        """Tell whether this transcript or session waits in quarantine, its contents known."""

    @abstractmethod
    def waiting(self, collector: str, provider_id: str) -> list[str]:
        """Return the payloads of what waits in quarantine for a transcript or session."""

    @abstractmethod
    def cursor(self, collector: str) -> str | None:
        """Return how far a collector has walked, in its own words."""

    @abstractmethod
    def set_cursor(self, collector: str, value: str) -> Ticket[None]:
        """Remember how far a collector has walked."""

    @abstractmethod
    def watched(self, collector: str) -> list[Watched]:
        """Return the transcripts that a backfill remembers."""

    @abstractmethod
    def watch(
        self, collector: str, items: Iterable[Watched], forget: Iterable[str]
    ) -> Ticket[None]:
        """Remember transcripts, and forget others by provider id."""

    @abstractmethod
    def set_trouble(self, collector: str, trouble: str | None) -> Ticket[None]:
        """Keep why a collector cannot work (a refused key), for `meter status`; None clears it."""

    # -- sinks -------------------------------------------------------------------------

    @abstractmethod
    def register_sink(
        self, name: str, sink_type: str, *, skip_existing: bool, not_before: datetime | None
    ) -> Ticket[SinkRow]:
        """Return the sink's row, made on first sight; later the start changes nothing."""

    @abstractmethod
    def settle(self, settlement: Settlement) -> Ticket[None]:
        """Write the outcome of a delivery, the checkpoint and the sink's state as one."""

    @abstractmethod
    def rewind_sink(self, name: str, checkpoint: int) -> Ticket[int]:
        """Take a sink back, because its destination knows less than we recorded.

        Everything above is pending again; what was set aside below and then delivered is
        offered again too. Never goes below where the sink started; answers the checkpoint
        from now on.
        """

    @abstractmethod
    def delivered_beyond(self, name: str, checkpoint: int) -> bool:
        """Tell whether we recorded a delivery to this sink above a checkpoint."""

    @abstractmethod
    def park_sink(self, name: str, reason: str | None) -> Ticket[None]:
        """Keep why a sink stopped, or None when it goes on."""

    @abstractmethod
    def set_sink_trouble(self, name: str, trouble: str | None) -> Ticket[None]:
        """Keep why a sink fails while it is tried again, for `meter status`; None clears it."""

    @abstractmethod
    def sink_state(self, name: str, sink_type: str) -> SinkState:
        """Return the public facility for a sink's own durable state."""

    # -- the whole ---------------------------------------------------------------------

    @abstractmethod
    def totals(self) -> JournalTotals:
        """Count everything, from one consistent moment."""

    @abstractmethod
    def standing(self) -> Standing:
        """Tell how it stands, at a cost that does not grow with its events: for gauges."""

    @abstractmethod
    def probe(self) -> Ticket[None]:
        """Commit something harmless: resolves when the journal can be written.

        Raises (on the ticket):
            JournalUnavailable: with the reason.
        """

    @abstractmethod
    def running(self) -> bool:
        """Tell whether a `meter run` works on this journal, this process's own or another's."""

    @abstractmethod
    def close(self) -> None:
        """Finish what was submitted, then let go of everything."""
